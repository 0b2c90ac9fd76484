"""The CNI specification 1.1.0 and libcni, point by point: the runtime, results, the cache. One test a point of the
checklist, named after its content; the first twenty are in `test_specification.py`.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cni_doubles import (
    BRIDGE,
    CAPABILITIES,
    CONFIG,
    DBNET,
    IPAM,
    MAC,
    MAPPINGS,
    Call,
    Failing,
    caring,
    failed,
    machine,
    network,
    words,
    write,
)
from emu.errors import InputError
from emu.kernel import boot
from emu.kube.api.loader import load_documents, read
from emu.kube.cluster import Cluster
from emu.kube.cni import invoke
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.runtime import Cached, Runtime
from emu.kube.cni.spec import VERSIONS, CniError, Config, Result
from emu.scenario import build
from emu.scenario.kinds import ClusterPart
from linux import Linux


def c21_a_failed_add_is_followed_by_a_del(folder: Path) -> None:
    calls: list[Call] = []
    runtime, at = Runtime(), machine(calls, {"tuning": Failing})
    chain = network({"type": "tuning"}, {"type": "portmap"})
    assert failed(lambda: runtime.add(chain, at))[0] == 11
    assert words(calls) == [
        "ADD bridge", "ADD host-local", "ADD tuning", "DEL portmap", "DEL tuning", "DEL bridge", "DEL host-local",
    ]  # fmt: skip
    assert runtime.cache == {}
    plain = machine()
    result = runtime.add(network(), plain)
    assert [each.result for each in runtime.cache.values()] == [result.to_json()]


def c22_how_a_plugins_configuration_is_built(folder: Path) -> None:
    calls: list[Call] = []
    Runtime().add(DBNET, machine(calls), CAPABILITIES)
    bridge, _, tuning, portmap = (config for _, _, config in calls)
    assert {bridge["name"], portmap["name"]} == {"dbnet"}
    assert {"runtimeConfig", "prevResult"}.isdisjoint(bridge)
    assert tuning["runtimeConfig"] == {"mac": MAC}
    assert portmap["runtimeConfig"] == {"portMappings": MAPPINGS}
    calls.clear()
    off = {"type": "portmap", "capabilities": {"portMappings": False}}
    Runtime().add(network(off), machine(calls), CAPABILITIES)
    assert "runtimeConfig" not in calls[-1][2]


def c23_each_add_gets_the_result_before_it(folder: Path) -> None:
    calls: list[Call] = []
    final = Runtime().add(DBNET, machine(calls), CAPABILITIES).to_json()
    before = calls[2][2]["prevResult"]
    assert before != final
    assert calls[3][2]["prevResult"] == final


def c24_del_in_reverse_check_in_order_with_the_final_result(folder: Path) -> None:
    calls: list[Call] = []
    runtime, at = Runtime(), machine(calls)
    final = runtime.add(DBNET, at, CAPABILITIES).to_json()
    calls.clear()
    runtime.check(DBNET, at)
    runtime.delete(DBNET, at)
    assert words(calls) == [
        "CHECK bridge", "CHECK host-local", "CHECK tuning", "CHECK portmap",
        "DEL portmap", "DEL tuning", "DEL bridge", "DEL host-local",
    ]  # fmt: skip
    assert all(config["prevResult"] == final for _, _, config in calls)
    calls.clear()
    ordered = caring(calls, CniError(51, "no network"))
    chain = network({"type": "tuning"}, {"type": "portmap"})
    assert failed(lambda: Runtime().status(chain, ordered.host)) == (51, "no network")
    assert words(calls) == ["STATUS tuning"]


def c25_delegation(folder: Path) -> None:
    calls: list[Call] = []
    Runtime().add(network(), machine(calls))
    assert calls[1] == ("ADD", "host-local", calls[0][2])
    assert Runtime().add(network(), machine()).ips[0].interface == 2
    alone = invoke.add("host-local", CONFIG, machine())
    assert (alone.interfaces, alone.ips[0].interface) == ((), None)
    missing = replace(network(), plugins=({**BRIDGE, "ipam": {"type": "nosuch"}},))
    assert 'failed to find plugin "nosuch": emu has' in failed(lambda: Runtime().add(missing, machine()))[1]
    calls.clear()
    # the bridge's own failure after the address was given
    clash = replace(network(), plugins=({**BRIDGE, "isDefaultGateway": True},))
    failed(lambda: Runtime().add(clash, machine(calls)))
    assert words(calls)[:3] == ["ADD bridge", "ADD host-local", "DEL host-local"]


def c26_a_results_keys(folder: Path) -> None:
    full: Config = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "e", "mac": MAC, "mtu": 9, "sandbox": "/s", "socketPath": "/p", "pciID": "1"}],
        "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 0}],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "10.9.0.1", "mtu": 1, "advmss": 2, "priority": 3, "table": 4, "scope": 5}
        ],
        "dns": {"nameservers": ["1.1.1.1"], "domain": "d", "search": ["s"], "options": ["o"]},
    }
    assert Result.from_json(full).to_json() == full
    older = Result.from_json(full).to_json("1.0.0")
    assert older["interfaces"] == [{"name": "e", "mac": MAC, "sandbox": "/s"}]
    assert older["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}]
    assert "version" not in older["ips"][0]
    assert Result.from_json(full).to_json("0.4.0")["ips"][0]["version"] == "4"
    six = Result.from_json({"ips": [{"address": "fd00::2/64"}]})
    assert six.to_json("0.3.1")["ips"][0]["version"] == "6"
    at = machine()
    result = Runtime().add(network(), at)
    assert result.interfaces[0].sandbox == result.interfaces[1].sandbox == ""
    assert result.routes[0].gw == ""
    assert at.netns is not None
    texts = [each.text() for each in at.netns.ipv4.fib.table(254)]
    assert any("via 10.9.0.1 dev eth0" in text for text in texts), texts


def c27_a_chained_plugin_hands_on_the_result(folder: Path) -> None:
    at = machine()
    before = Runtime().add(network(), at)
    assert invoke.add("loopback", {**CONFIG, "prevResult": before.to_json()}, at) == before
    assert Result().to_json() == {"cniVersion": "1.1.0"}
    assert Result().to_json("1.0.0") == {"cniVersion": "1.0.0"}
    assert Result().to_json("0.4.0") == {"cniVersion": "0.4.0", "dns": {}}
    both = Result.from_json({
        "ips": [{"address": "10.0.0.2/8"}, {"address": "fd00::2/64", "gateway": "fd00::1"}, {"address": "10.0.0.3/8"}],
        "routes": [{"dst": "::/0"}, {"dst": "0.0.0.0/0", "gw": "10.0.0.1"}],
    })  # fmt: skip
    old = {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.0.0.2/8", "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}]},
        "ip6": {"ip": "fd00::2/64", "gateway": "fd00::1", "routes": [{"dst": "::/0"}]},
        "dns": {},
    }
    assert both.to_json("0.2.0") == old
    assert Result.from_json(old).to_json("0.2.0") == old


def c28_results_come_in_the_configurations_version(folder: Path) -> None:
    code, text = failed(
        lambda: Runtime().add(replace(network(version="0.2.0"), plugins=({"type": "bridge"},)), machine())
    )
    assert (code, text) == (999, 'plugin type="bridge" failed (add): cannot convert: no valid IP addresses')
    assert VERSIONS == ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
    for version in VERSIONS:
        calls: list[Call] = []
        runtime, chain = Runtime(), network({"type": "portmap"}, version=version)
        runtime.add(chain, machine(calls))
        previous = calls[-1][2]["prevResult"]
        assert previous["cniVersion"] == version
        assert ("ip4" in previous) is (version < "0.3")
        assert next(iter(runtime.cache.values())).result == previous


def c29_the_cached_result_as_a_file(folder: Path) -> None:
    runtime, at = Runtime(), machine()
    result = runtime.add(DBNET, at, CAPABILITIES)
    (cached,) = runtime.cache.values()
    assert cached.file_name == "dbnet-c0ffee-eth0"
    made = cached.to_json()
    assert json.loads(base64.b64decode(made.pop("config"))) == DBNET.to_json()
    assert made == {
        "kind": "cniCacheV1",
        "containerId": "c0ffee",
        "ifName": "eth0",
        "networkName": "dbnet",
        "netns": "/var/run/netns/blue",
        "cniArgs": [["argA", "foo"], ["IgnoreUnknown", "1"]],
        "capabilityArgs": CAPABILITIES,
        "result": result.to_json(),
    }
    failing = machine(more={"tuning": Failing})
    other = Runtime()
    failed(lambda: other.add(DBNET, failing, CAPABILITIES))
    assert other.cache == {}


def c30_del_with_a_cached_result(folder: Path) -> None:
    calls: list[Call] = []
    chain = network({"type": "portmap"})

    def deleted(version: str, text: bytes | None = None) -> list[Any]:
        runtime, at = Runtime(), machine(calls)
        runtime.add(chain, at)
        ((key, cached),) = runtime.cache.items()
        if text is not None:
            runtime.cache[key] = Cached(cached.network, cached.attachment, cached.capability_args, text)
        calls.clear()
        runtime.delete(replace(chain, version=version), at)
        assert runtime.cache == {}
        return [config.get("prevResult", {}).get("cniVersion") for _, _, config in calls]

    assert deleted("1.1.0") == ["1.1.0"] * 3
    assert deleted("0.4.0") == ["0.4.0"] * 3, "in the form of the list's version"
    assert deleted("0.3.1") == [None] * 3
    for text in (b"{", b"[]", b'{"cniVersion": "9.9.9"}', b'{"cniVersion": "1.0.0", "ips": 5}', b'{"ip4": 5}'):
        assert deleted("1.1.0", text) == [None] * 3, text
    # a DEL that fails keeps what can be read, and drops at once what cannot
    for broken, kept in ((None, 1), (b"{", 0)):
        runtime, at = Runtime(), machine()
        runtime.add(chain, at)
        ((key, cached),) = runtime.cache.items()
        if broken is not None:
            runtime.cache[key] = Cached(cached.network, at, {}, broken)
        failed(partial(runtime.delete, network({"type": "nosuch"}), at))
        assert len(runtime.cache) == kept


def c31_check_by_version_switch_and_cache(folder: Path) -> None:
    at = machine()
    text = 'configuration version "0.3.1" does not support the CHECK command'
    assert failed(lambda: Runtime().check(network(version="0.3.1", disableCheck=True), at)) == (1, text)
    Runtime().check(network(disableCheck=True), at)
    runtime = Runtime()
    runtime.add(network(), at)
    assert failed(lambda: Runtime().check(network(), at)) == (999, "Required prevResult missing")
    ((key, cached),) = runtime.cache.items()
    runtime.check(network(version="0.4.0"), at)
    runtime.cache[key] = Cached(cached.network, at, {}, b"[]")
    assert failed(lambda: runtime.check(network(), at))[1].startswith('failed to get network "net" cached result: ')


def c32_gc_deletes_what_is_cached_and_not_valid(folder: Path) -> None:
    calls: list[Call] = []
    base = caring(calls)
    runtime, chain = Runtime(), network({"type": "portmap"})
    for number in range(3):
        name = f"c{number}"
        there = replace(base, container_id=name, netns=boot.namespace(base.host.netns.clock, name))
        runtime.add(chain, replace(there, ifname=f"eth{number}"))
    other = NetworkConfigList.from_json({**network().to_json(), "name": "other"})
    ninth = replace(base, container_id="c9", netns=boot.namespace(base.host.netns.clock, "c9"), ifname="eth9")
    runtime.add(other, ninth)
    runtime.gc(network({"type": "portmap"}, disableGC=True), (), base.host)
    assert (len(runtime.cache), calls) == (4, [])
    runtime.gc(chain, [("c1", "eth1"), ("c0", "eth7")], base.host)
    assert sorted(runtime.cache) == [("net", "c1", "eth1"), ("other", "c9", "eth9")]
    assert words(calls) == ["GC portmap"]
    calls.clear()
    runtime.gc(replace(chain, version="1.0.0"), (), base.host)
    assert (list(runtime.cache), calls) == ([("other", "c9", "eth9")], [])
    runtime.status(replace(chain, version="1.0.0"), base.host)
    assert calls == []
    runtime.add(chain, base)
    gone = replace(chain, plugins=(*chain.plugins, {"type": "nosuch"}))
    code, text = failed(lambda: runtime.gc(gone, (), base.host))
    assert code == 999
    first, second = text.split("\n")
    assert first.startswith(
        'failed to delete stale attachment c0ffee eth0: plugin type="nosuch" failed (delete): failed'
    )
    assert second.startswith('failed to GC plugin nosuch: failed to find plugin "nosuch": emu has aws-cni, ')


def c33_names_are_checked_at_add_and_errors_name_the_plugin(folder: Path) -> None:
    at = machine()
    bad = replace(at, container_id="a/b")
    code, text = failed(lambda: Runtime().add(network(), bad))
    assert (code, text) == (4, 'plugin type="bridge" failed (add): invalid characters in containerID; a/b')
    named = replace(network(), plugins=({**BRIDGE, "type": "nosuch", "name": "mine"},))
    assert failed(lambda: Runtime().add(named, at))[1].startswith(
        'plugin type="nosuch" name="mine" failed (add): failed'
    )
    assert failed(lambda: Runtime().delete(named, at))[1].startswith(
        'plugin type="nosuch" name="mine" failed (delete): '
    )
    assert Result.from_json({"ips": [{"address": "10.0.0.1/8"}]}).to_json("0.4.0")["cniVersion"] == "0.4.0"


def c34_capabilities_reach_the_plugin_that_declares_them(folder: Path) -> None:
    args: Config = {
        "portMappings": MAPPINGS,
        "ipRanges": [[{"subnet": "10.7.0.0/24"}]],
        "bandwidth": {"ingressRate": 1, "ingressBurst": 1, "egressRate": 1, "egressBurst": 1},
        "dns": {"servers": ["1.1.1.1"]},
        "ips": ["10.7.0.9/24"],
        "mac": "02:00:00:00:00:09",
        **dict.fromkeys(("infinibandGUID", "deviceID", "cgroupPath"), "x"),
        "aliases": {"net": ["web"]},
    }
    calls: list[Call] = []
    ranges = {"ipam": {"type": "host-local"}}
    declared = {**BRIDGE, **ranges, "capabilities": dict.fromkeys(("ipRanges", "ips", "mac"), True)}
    passing = {"type": "portmap", "capabilities": dict.fromkeys(args, True)}
    at = machine(calls)
    result = Runtime().add(NetworkConfigList.from_json({**CONFIG, "plugins": [declared, passing]}), at, args)
    assert calls[-1][2]["runtimeConfig"] == args
    assert calls[0][2]["runtimeConfig"] == {key: args[key] for key in ("ipRanges", "ips", "mac")}
    assert (result.interfaces[2].mac, result.ips[0].address) == ("02:00:00:00:00:09", "10.7.0.9/24")
    inline = {**CONFIG, "args": {"cni": {"mac": "02:00:00:00:00:08", "ips": ["10.9.0.77"]}}}
    result = invoke.add("bridge", inline, replace(machine(), args="IgnoreUnknown=1;MAC=02:00:00:00:00:07"))
    assert (result.interfaces[2].mac, result.ips[0].address) == ("02:00:00:00:00:08", "10.9.0.77/24")


def c35_what_containerd_does_for_a_sandbox(folder: Path) -> None:
    write(folder, zz_conf={"name": "n", "type": "third"}, b_conflist={"name": "n", "plugins": [{"type": "second"}]})
    write(folder, a_json={"name": "n", "type": "first"}, a_txt={})
    assert NetworkConfigList.find(folder).plugins[0]["type"] == "first"
    with pytest.raises(InputError, match=r"the folder has no network configuration"):
        NetworkConfigList.find(folder / "nothing")
    pod = write(folder, pod_yaml={
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]},
    })  # fmt: skip
    cluster = Cluster(build.config(ClusterPart(nodes=1)), load_documents(list(read(pod / "pod.yaml"))).objects)
    cached = {key[0]: value for key, value in cluster.kubelets[0].runtime.cache.items()}
    assert {name: each.attachment.ifname for name, each in cached.items()} == {"cni-loopback": "lo", "bridge": "eth0"}
    attachment = cached["bridge"].attachment
    assert re.fullmatch(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;"
        rf"K8S_POD_INFRA_CONTAINER_ID={attachment.container_id};K8S_POD_UID=[0-9a-f-]+",
        attachment.args,
    )


CHECKLIST = {name: point for name, point in list(globals().items()) if re.match(r"c\d\d_", name)}


def test_no_point_is_left_out() -> None:
    assert [name[:3] for name in CHECKLIST] == [f"c{number:02}" for number in range(21, 36)]


@pytest.mark.parametrize("point", CHECKLIST)
def test_the_specification(point: str, tmp_path: Path) -> None:
    CHECKLIST[point](tmp_path)


BEFORE_1_1 = VERSIONS[:-1]
"""The versions of the real plugins' build."""


@pytest.mark.parametrize("kind", ["bridge", "host-local", "bridge of layer 2"])
@pytest.mark.parametrize("version", BEFORE_1_1)
def test_the_real_plugin_prints_the_same(kind: str, version: str, linux: Linux, tmp_path: Path) -> None:
    binary = Path("/usr/lib/cni") / kind.split(maxsplit=1)[0]
    if not binary.is_file():
        pytest.skip(f"skipped: no real kernel to ask (no CNI plugin {binary})")
    config = {**CONFIG, "cniVersion": version, "ipam": {**IPAM, "dataDir": str(tmp_path)}}
    if kind != binary.name:
        del config["ipam"]
    at = replace(machine(), args="", container_id="c1")
    try:
        mine = invoke.add(binary.name, config, at).to_json(version)
    except CniError as error:
        mine = error.to_json()
    node, blue = linux.namespace("node"), linux.namespace("blue")
    given = [f"CNI_PATH={binary.parent}", "CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0"]
    theirs = json.loads(
        subprocess.run(
            ["nsenter", f"--net=/run/netns/{node}", "env", *given, f"CNI_NETNS=/run/netns/{blue}", str(binary)],
            input=json.dumps(config),
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    )
    # chance, and the names that the two sides gave
    for result in (mine, theirs):
        for interface in result.get("interfaces", ()):
            interface.pop("mac")
            interface["name"] = re.sub("^veth.*", "veth", interface["name"])
            if "sandbox" in interface:
                interface["sandbox"] = "blue"
    # that build prints an empty `dns` from 1.0.0 on, too
    if version == "1.0.0":
        assert theirs.pop("dns") == {}
    assert mine == theirs
