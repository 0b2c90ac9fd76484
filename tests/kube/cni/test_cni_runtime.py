"""Lists of plugins: the specification's own example call by call, failure half-way, and what the runtime checks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from cni_doubles import CAPABILITIES, DBNET, MAC, MAPPINGS, Call, Failing, Passing, machine
from emu.errors import InputError, Undecided
from emu.kernel import boot
from emu.kube.cni import invoke
from emu.kube.cni.config import NetworkConfigList, expand
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import (
    VERSIONS,
    Attachment,
    CniError,
    Config,
    Host,
    Interface,
    Result,
    failure,
    plugins,
)

CHAINED = {"portmap": "must be called as chained plugin", "firewall": "missing prevResult from earlier plugin"}


def test_the_specifications_example_step_by_step() -> None:
    calls: list[Call] = []
    runtime, attachment = Runtime(), machine(calls)
    result = runtime.add(DBNET, attachment, CAPABILITIES)

    (_, one, bridge), (_, two, ipam), (_, three, tuning), (_, four, portmap) = calls
    assert [one, two, three, four] == ["bridge", "host-local", "tuning", "portmap"]
    assert {"runtimeConfig", "prevResult"}.isdisjoint(bridge)
    assert bridge == {**DBNET.plugins[0], "name": "dbnet", "cniVersion": "1.1.0"}
    assert ipam == bridge
    assert tuning["runtimeConfig"] == {"mac": MAC}
    assert portmap["runtimeConfig"] == {"portMappings": MAPPINGS}

    first, final = tuning["prevResult"], portmap["prevResult"]
    names = [(each["name"], each.get("sandbox")) for each in first["interfaces"]]
    assert names[0] == ("cni0", None)
    assert names[1][0].startswith("veth") and len(names[1][0]) == 12 and names[1][1] is None
    assert names[2] == ("eth0", "/var/run/netns/blue")
    assert first["ips"] == [{"address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 2}]
    assert first["routes"] == [{"dst": "0.0.0.0/0"}]
    assert first["dns"] == {"nameservers": ["10.1.0.1"]}
    assert first["interfaces"][2]["mac"] != MAC
    assert final["interfaces"][2]["mac"] == MAC
    assert result.to_json() == final

    calls.clear()
    runtime.check(DBNET, attachment)
    assert [(word, name) for word, name, _ in calls] == [
        ("CHECK", "bridge"), ("CHECK", "host-local"), ("CHECK", "tuning"), ("CHECK", "portmap"),
    ]  # fmt: skip
    assert all(config["prevResult"] == final for _, _, config in calls)

    calls.clear()
    runtime.delete(DBNET, attachment)
    assert [(word, name) for word, name, _ in calls] == [
        ("DEL", "portmap"), ("DEL", "tuning"), ("DEL", "bridge"), ("DEL", "host-local"),
    ]  # fmt: skip
    assert all(config["prevResult"] == final for _, _, config in calls)
    assert calls[0][2]["runtimeConfig"] == {"portMappings": MAPPINGS}
    assert runtime.cache == {}


def test_a_plugin_that_fails_has_the_whole_list_deleted() -> None:
    calls: list[Call] = []
    runtime, attachment = Runtime(), machine(calls, {"tuning": Failing})
    with pytest.raises(CniError) as caught:
        runtime.add(DBNET, attachment, CAPABILITIES)
    assert (caught.value.code, caught.value.msg) == (11, 'plugin type="tuning" failed (add): not now')
    assert caught.value.to_json()["details"] == "try later"
    deleted = [(name, config.get("prevResult")) for word, name, config in calls if word == "DEL"]
    assert deleted == [("portmap", None), ("tuning", None), ("bridge", None), ("host-local", None)]
    assert attachment.netns is not None
    assert list(attachment.netns.devices) == ["lo"]
    assert list(attachment.host.netns.devices) == ["lo", "cni0"]
    assert runtime.cache == {}
    working = replace(attachment, host=Host(attachment.host.netns, machine().host.plugins, attachment.host.disk))
    # round robin: the address that was given back is not the next one
    assert runtime.add(DBNET, working, CAPABILITIES).ips[0].address == "10.1.0.3/16"


def test_a_second_add_fails_and_leaves_the_first_alone() -> None:
    runtime, attachment = Runtime(), machine()
    runtime.add(DBNET, attachment, CAPABILITIES)
    with pytest.raises(CniError, match=r'container veth name \("eth0"\) peer provided \("veth\w{8}"\) already exists'):
        runtime.add(DBNET, attachment, CAPABILITIES)
    runtime.check(DBNET, attachment)


def test_del_is_idempotent_and_needs_no_namespace() -> None:
    runtime, attachment = Runtime(), machine()
    runtime.delete(DBNET, attachment)
    runtime.add(DBNET, attachment, CAPABILITIES)
    runtime.delete(DBNET, attachment)
    runtime.delete(DBNET, attachment)
    runtime.delete(DBNET, replace(attachment, netns=None))


def test_a_sandbox_gets_lo_too() -> None:
    runtime, attachment = Runtime(), machine()
    assert attachment.netns is not None
    attachment.netns.set_link("lo", up=False)
    assert not attachment.netns.device("lo").up
    result = runtime.set_up(DBNET, attachment, CAPABILITIES)
    assert result.interfaces[2].name == "eth0"
    assert attachment.netns.device("lo").up
    assert attachment.netns.ipv4.addr_type(0x7F000001) == "LOCAL"
    assert runtime.cache["cni-loopback", "c0ffee", "lo"].result == {
        "cniVersion": "0.3.1",
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/var/run/netns/blue"}],
        "ips": [{"version": "4", "address": "127.0.0.1/8", "interface": 0}],
        "dns": {},
    }
    runtime.tear_down(DBNET, attachment)
    assert not attachment.netns.device("lo").up
    assert runtime.cache == {}


def test_a_sandbox_whose_network_fails_keeps_nothing() -> None:
    runtime, attachment = Runtime(), machine(more={"tuning": Failing})
    with pytest.raises(CniError):
        runtime.set_up(DBNET, attachment, CAPABILITIES)
    assert runtime.cache == {}


def test_loopback_hands_on_the_result_before_it_and_checks_its_link() -> None:
    attachment = machine()
    before = Result((Interface("eth9"),))
    config: dict[str, Any] = {"name": "n", "cniVersion": "1.0.0", "prevResult": before.to_json("1.0.0")}
    assert invoke.add("loopback", config, attachment) == before
    invoke.check("loopback", config, attachment)
    assert attachment.netns is not None
    attachment.netns.set_link("lo", up=False)
    with pytest.raises(CniError, match="loopback interface is down"):
        invoke.check("loopback", config, attachment)
    invoke.delete("loopback", config, replace(attachment, netns=None))


def test_check_without_an_add_before_it() -> None:
    with pytest.raises(CniError, match=r"^host-local: Failed to find address added by container c0ffee$"):
        Runtime().check(DBNET, machine())


def test_check_below_0_4_and_where_it_is_switched_off() -> None:
    attachment = machine()
    with pytest.raises(CniError, match=r'version "0\.3\.1" does not support the CHECK command') as caught:
        Runtime().check(replace(DBNET, version="0.3.1"), attachment)
    assert caught.value.code == 1
    Runtime().check(replace(DBNET, disable_check=True), attachment)


def test_below_0_4_del_gets_no_result() -> None:
    calls: list[Call] = []
    runtime, attachment, old = Runtime(), machine(calls), replace(DBNET, version="0.3.1")
    runtime.add(old, attachment, CAPABILITIES)
    runtime.delete(old, attachment)
    assert {name: "prevResult" in config for word, name, config in calls if word == "DEL"} == {
        "portmap": False, "tuning": False, "bridge": False, "host-local": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"container_id": ""}, 3, "missing containerID"),
        ({"container_id": "a/b"}, 4, "invalid characters in containerID; a/b"),
        ({"ifname": ""}, 4, "interface name is empty"),
        ({"ifname": "a" * 16}, 4, "interface name is too long"),
        ({"ifname": ".."}, 4, "interface name is . or .."),
        ({"ifname": "eth0:1"}, 4, "interface name contains / or : or whitespace characters"),
        ({"netns": None}, 4, "required env variables [CNI_NETNS] missing"),
        ({"args": "IP"}, 999, 'ARGS: invalid pair "IP"'),
        ({"args": "K8S_POD_NAME=a"}, 999, 'ARGS: unknown args ["K8S_POD_NAME=a"]'),
    ],
)
def test_what_is_wrong_with_an_attachment(change: dict[str, Any], code: int, text: str) -> None:
    with pytest.raises(CniError) as caught:
        Runtime().add(DBNET, replace(machine(), **change), CAPABILITIES)
    assert caught.value.code == code
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "config", "code", "text"),
    [
        ("nosuch", {"name": "n"}, 999, 'failed to find plugin "nosuch": emu has '),
        ("bridge", {}, 7, "missing network name"),
        ("bridge", {"name": "a b"}, 7, "invalid characters found in network name"),
        ("bridge", {"name": "n", "cniVersion": "9.9.9"}, 1, "incompatible CNI versions"),
        ("bridge", {"name": "n", "mtu": "big"}, 999, "failed to load netconf"),
    ],
)
def test_what_a_plugin_refuses_before_it_works(kind: str, config: Config, code: int, text: str) -> None:
    with pytest.raises(CniError) as caught:
        invoke.add(kind, config, machine())
    assert caught.value.code == code
    assert text in caught.value.msg


# these want a device, or an interface of another plugin, or keep nothing: `test_plugins_kernel` has them beside the real ones
ELSEWHERE = {"bandwidth", "host-device", "sbr", "static", "tuning", "vrf"}
# these ask the agent of their network for addresses: `tests/contracts/test_cni_leaves.py` has them with it
OF_NETWORKS = {"aws-cni", "calico", "calico-ipam", "egress-cni", "flannel"}


@pytest.mark.parametrize("kind", sorted({*plugins} - ELSEWHERE - OF_NETWORKS))
def test_every_plugin_keeps_the_specifications_word(kind: str) -> None:
    """What a file dropped into the folder must do, whatever it is for: ADD, CHECK, DEL twice, DEL without a namespace,
    GC and STATUS. A plugin that refuses to be the first of its list gets a result of one before it."""
    ipam = {"type": "host-local", "subnet": "10.0.0.0/24"}
    config: Config = {"name": "n", "cniVersion": "1.0.0", "type": kind, "ipam": ipam, "anUnknownKey": {"x": [1]}}
    config = {**config, "runtimeConfig": {"portMappings": MAPPINGS}, "master": "eth0", "vlanId": 5}
    attachment = machine(more=plugins)
    lan = boot.namespace(attachment.host.netns.clock, "lan")
    boot.veth(attachment.host.netns, "eth0", lan, "eth0", "02:00:00:00:00:0a", "02:00:00:00:00:0b")
    if kind in CHAINED:
        with pytest.raises(CniError) as refused:
            invoke.add(kind, config, attachment)
        assert refused.value.msg == CHAINED[kind]
        config = {**config, "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]}}
    with pytest.raises(CniError) as caught:
        invoke.add(kind, {**config, "cniVersion": "0.9.9"}, attachment)
    assert caught.value.code == 1
    invoke.delete(kind, config, attachment)
    result = invoke.add(kind, config, attachment)
    newest: Config = {**config, "cniVersion": "1.1.0", "cni.dev/valid-attachments": []}
    invoke.status(kind, newest, attachment.host)
    final = {**config, "prevResult": result.to_json("1.0.0")}
    assert Result.from_json(final["prevResult"]) == result
    invoke.check(kind, final, attachment)
    for _ in range(2):
        invoke.delete(kind, final, attachment)
    invoke.gc(kind, newest, attachment.host)
    invoke.delete(kind, final, replace(attachment, netns=None))
    invoke.delete(kind, config, replace(attachment, netns=None))
    with pytest.raises(CniError):
        invoke.check(kind, final, attachment)


def test_an_error_of_ours_leaves_nothing_either() -> None:
    bad = NetworkConfigList.from_json(
        {
            "name": "n",
            "cniVersion": "1.0.0",
            "plugins": [{**DBNET.plugins[0], "ipMasq": True, "ipMasqBackend": "nftables"}],
        }
    )
    attachment = machine()
    with pytest.raises(Undecided, match="'ipMasqBackend: nftables' is not modelled"):
        Runtime().set_up(bad, attachment)
    assert list(attachment.host.netns.devices) == ["lo"]


def test_the_machines_own_namespace_is_no_containers() -> None:
    attachment = machine()
    with pytest.raises(CniError) as caught:
        Runtime().add(DBNET, replace(attachment, netns=attachment.host.netns))
    assert caught.value.code == 8


def test_an_ipam_that_fails_speaks_for_itself() -> None:
    class Empty(Passing):
        def add(self, config: Config, attachment: Attachment) -> Result:
            return Result()

    class Broken(Passing):
        def add(self, config: Config, attachment: Attachment) -> Result:
            raise failure("out of order")

    for make, text in ((Empty, "IPAM plugin returned missing IP config"), (Broken, "out of order")):
        with pytest.raises(CniError) as caught:
            Runtime().add(DBNET, machine(more={"host-local": make}), CAPABILITIES)
        assert caught.value.msg == f'plugin type="bridge" failed (add): {text}'


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_survives_the_form_of_every_version(version: str) -> None:
    given: Config = {
        "interfaces": [{"name": "eth0", "mac": MAC, "sandbox": "/s"}],
        "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 0}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "10.9.0.0/16"}],
        "dns": {"nameservers": ["10.1.0.1"], "search": ["local"]},
    }
    result = Result.from_json(given)
    back = Result.from_json(result.to_json(version))
    if version < "0.3":
        assert "interfaces" not in result.to_json(version)
        interfaceless = tuple(msgspec.structs.replace(each, interface=None) for each in result.ips)
        result = msgspec.structs.replace(result, interfaces=(), ips=interfaceless)
    assert back == result


def test_what_only_1_1_has() -> None:
    result = Result.from_json(
        {"interfaces": [{"name": "e", "mtu": 9, "pciID": "p"}], "routes": [{"dst": "0/0", "mtu": 9}]}
    )
    assert result.to_json("1.1.0")["interfaces"] == [{"name": "e", "mtu": 9, "pciID": "p"}]
    assert result.to_json("1.0.0")["interfaces"] == [{"name": "e"}]
    assert result.to_json("1.0.0")["routes"] == [{"dst": "0/0"}]
    with pytest.raises(CniError, match="could not parse the result"):
        Result.from_json({"ips": [{"gateway": "10.0.0.1"}]})


PLUGIN = {"type": "bridge"}


@pytest.mark.parametrize(
    ("given", "version"),
    [
        ({}, "0.1.0"),
        ({"cniVersion": "0.4.0"}, "0.4.0"),
        ({"cniVersion": "0.4.0", "cniVersions": ["0.3.1", "1.0.0", "2.0.0"]}, "1.0.0"),
        ({"cniVersion": "9.0.0", "cniVersions": ["0.3.1"]}, "0.3.1"),
    ],
)
def test_the_version_that_is_used(given: Config, version: str) -> None:
    assert NetworkConfigList.from_json({"name": "n", "plugins": [PLUGIN], **given}).version == version


@pytest.mark.parametrize(
    ("given", "where", "text"),
    [
        ({}, "name", "no name"),
        ({"name": "-n"}, "name", "not a network's name"),
        ({"name": 1}, "name", "name is 1"),
        ({"cniVersion": "7"}, "cniVersion", "'7' is unknown"),
        ({"cniVersions": "1.0.0"}, "cniVersions", "cniVersions is '1.0.0'"),
        ({"cniVersions": ["7"]}, "cniVersions", "none of the CNI versions"),
        ({"disableCheck": "perhaps"}, "disableCheck", "'perhaps'"),
        ({"disableGC": 1}, "disableGC", "disableGC is 1"),
        ({"plugins": []}, "plugins", "no plugins"),
        ({"plugins": None, "loadOnlyInlinedPlugins": "True"}, "plugins", "inlined"),
        ({"plugins": [PLUGIN, 5]}, "plugins[1]", "a plugin is 5"),
        ({"plugins": [{}]}, "plugins[0].type", "type is None"),
        ({"plugins": [{"type": "a/b"}]}, "plugins[0].type", "'a/b'"),
        ({"plugins": [{"type": "a", "capabilities": ["mac"]}]}, "plugins[0].capabilities", "not switches"),
        ({"plugins": [{"type": "a", "ipam": {"type": 1}}]}, "plugins[0].ipam", "no readable type"),
    ],
)
def test_what_is_wrong_with_a_list(given: Config, where: str, text: str) -> None:
    base: dict[str, Any] = {"name": "n", "plugins": [PLUGIN]} if given else {"plugins": [PLUGIN]}
    with pytest.raises(InputError) as caught:
        NetworkConfigList.from_json({**base, **given})
    assert caught.value.path == where
    assert text in caught.value.what


def test_a_list_read_from_text() -> None:
    text = '{"name": "n", "disableCheck": "TRUE", "plugins": [{"type": "bridge", "myKey": {"a": 1}}]}'
    read = NetworkConfigList.parse(text)
    assert read.disable_check
    assert read.plugins[0]["myKey"] == {"a": 1}
    single = NetworkConfigList.parse('{"name": "n", "cniVersion": "1.0.0", "type": "ptp", "mtu": 9}')
    assert (single.name, single.version, [each["mtu"] for each in single.plugins]) == ("n", "1.0.0", [9])
    with pytest.raises(InputError, match=r"x\.conflist:2: not JSON"):
        NetworkConfigList.parse('{"name":\n oops}', "x.conflist")


def test_containerds_template() -> None:
    words: dict[str, str | tuple[str, ...]] = {"PodCIDR": "10.1.0.0/24", "Ranges": ("a", "b"), "None": ()}
    assert expand('"{{.PodCIDR}}" {{ .PodCIDR }}', words) == '"10.1.0.0/24" 10.1.0.0/24'
    loop = '[{{range $i, $r := .Ranges}}{{if $i}}, {{end}}{"subnet": "{{$r}}"}{{end}}]'
    assert expand(loop, words) == '[{"subnet": "a"}, {"subnet": "b"}]'
    assert expand(loop.replace(".Ranges", ".None"), words) == "[]"
    with pytest.raises(InputError, match="no word 'Podcidr'") as caught:
        expand("\n{{.Podcidr}}", words)
    assert caught.value.line == 2
    with pytest.raises(InputError, match=r"cannot read '\{\{end}}'"):
        expand("{{end}}", words)
