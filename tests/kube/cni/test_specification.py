"""The CNI specification 1.1.0, point by point: configuration, the protocol of a plugin, its operations. One test a point
of the checklist, named after its content; the rest is in `test_specification_runtime.py`.
"""

from __future__ import annotations

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
    CONFIG,
    IPAM,
    Call,
    Caring,
    caring,
    failed,
    machine,
    network,
    words,
    write,
    wrong,
)
from emu.errors import InputError
from emu.kube.cni import invoke, spec
from emu.kube.cni.config import LIST_KEYS, NetworkConfigList
from emu.kube.cni.keys import remarks
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import VERSIONS, Attachment, CniError, Config, Interface, Result, plugins
from linux import Linux


def c01_the_keys_of_a_list(folder: Path) -> None:
    assert set(LIST_KEYS) == {
        "cniVersion", "cniVersions", "name", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "plugins",
    }  # fmt: skip
    plain = network()
    assert (plain.disable_check, plain.disable_gc, plain.unknown) == (False, False, ())
    full = network(disableCheck=True, disableGC=True, loadOnlyInlinedPlugins=True, cniVersions=["1.0.0"], other=1)
    assert (full.disable_check, full.disable_gc, full.version, full.unknown) == (True, True, "1.1.0", ("other",))
    again = NetworkConfigList.from_json(full.to_json())
    assert again == replace(full, unknown=())


def c02_which_names_are_taken(folder: Path) -> None:
    for name in ("a", "9", "a_b.c-D"):
        assert NetworkConfigList.from_json({"name": name, "plugins": [BRIDGE]}).name == name
    for name in ("", "-a", ".a", "a b", "a/b", "é", "a\n"):
        assert wrong({"name": name, "plugins": [BRIDGE]}) == "name"
        if name:
            assert failed(partial(spec.check_container_id, name))[0] == 4
    for name in ("eth0", "a" * 15, "...", "é" * 7):
        spec.check_ifname(name)
    for name in ("", "a" * 16, "é" * 8, ".", "..", "a/b", "a:b", "a b", "a\t", "a\u2003"):
        assert failed(partial(spec.check_ifname, name))[0] == 4


def c03_the_highest_known_version_is_used(folder: Path) -> None:
    def used(**keys: Any) -> str:
        return NetworkConfigList.from_json({"name": "n", "plugins": [BRIDGE], **keys}).version

    assert used() == "0.1.0"
    assert used(cniVersion="0.4.0") == "0.4.0"
    assert used(cniVersion="0.3.1", cniVersions=["1.0.0", "0.4.0", "9.9.9"]) == "1.0.0"
    assert used(cniVersion="9.9.9", cniVersions=["1.1.0"]) == "1.1.0"


def c04_a_plugins_object_goes_through_unchanged(folder: Path) -> None:
    for kind in ("", "a/b", "a\\b", 5, None):
        assert wrong({"name": "n", "plugins": [BRIDGE, {"type": kind}]}) == "plugins[1].type"
    given = {**BRIDGE, "myKey": {"a": [1]}, "ipMasq": False, "dns": {"search": ["x"]}, "capabilities": {"mac": False}}
    config = NetworkConfigList.from_json({"name": "n", "plugins": [given]})
    calls: list[Call] = []
    Runtime().add(config, machine(calls))
    assert calls[0][2] == {**given, "name": "n", "cniVersion": "0.1.0"}
    found = dict.fromkeys(text for _, text in remarks(network({"type": "bridge", "cni.dev/x": 1, "ipam": IPAM})))
    assert list(found) == ['"cni.dev/x" is a reserved key: the runtime sets it']


def c05_switches_are_booleans_or_their_names(folder: Path) -> None:
    for value, meant in ((True, True), (False, False), ("TRUE", True), ("False", False)):
        made = network(disableCheck=value, disableGC=value, loadOnlyInlinedPlugins=value)
        assert (made.disable_check, made.disable_gc) == (meant, meant)
    for key in ("disableCheck", "disableGC", "loadOnlyInlinedPlugins"):
        odd: tuple[Any, ...] = (1, 0, "yes", "", None, [])
        for each in odd:
            assert wrong({"name": "n", "plugins": [BRIDGE], key: each}) == key


def c06_the_networks_folder_holds_more_plugins(folder: Path) -> None:
    plain = {"name": "net", "cniVersion": "1.0.0"}
    write(folder, net__20_conf={"type": "b"}, net__10_conf={"type": "a"}, net__30_json={"type": "c"})
    write(folder, x_conflist={**plain, "plugins": [BRIDGE]}, y_conflist=plain)
    write(folder, z_conflist={**plain, "plugins": [BRIDGE], "loadOnlyInlinedPlugins": True}, s_conf={**plain, **BRIDGE})

    def kinds(name: str) -> list[str]:
        return [each["type"] for each in NetworkConfigList.load(folder / name).plugins]

    assert kinds("x.conflist") == ["bridge", "a", "b"]
    assert kinds("y.conflist") == ["a", "b"]
    assert kinds("z.conflist") == ["bridge"]
    assert kinds("s.conf") == ["bridge"], "a single plugin's file has no folder"
    assert wrong({**plain, "loadOnlyInlinedPlugins": True}) == "plugins"
    assert wrong(plain) == "plugins"
    write(folder, net__40_conf={"name": "no type"})
    with pytest.raises(InputError, match=r"net/40\.conf: type: the plugin's type is None"):
        kinds("x.conflist")


def c07_a_network_is_found_by_its_name(folder: Path) -> None:
    write(folder, b_conflist={"name": "n", "plugins": [{"type": "second"}]})
    write(folder, a_conflist={"name": "n", "plugins": [{"type": "first"}]})
    write(folder, a_conf={"name": "n", "type": "third"}, c_json={"name": "m", "type": "fourth"})
    assert NetworkConfigList.find(folder, "n").plugins == ({"type": "first"},)
    assert NetworkConfigList.find(folder, "m").plugins == ({"name": "m", "type": "fourth"},)
    with pytest.raises(InputError, match=r"no network configuration has the name 'x' \(expected n, n, n, m\)"):
        NetworkConfigList.find(folder, "x")


def c08_args_are_pairs_that_the_plugin_knows(folder: Path) -> None:
    def args(text: str) -> dict[str, str]:
        return replace(machine(), args=text).known_args("IP", "MAC")

    assert args("") == {}
    assert args("IP=10.0.0.5;MAC=") == {"IP": "10.0.0.5"}
    for ignore in ("1", "true", "TRUE"):
        assert args(f"IgnoreUnknown={ignore};K8S_POD_NAME=a;IP=1") == {"IP": "1"}
    for text, error in (
        ("IP", 'ARGS: invalid pair "IP"'),
        ("IP=1;", 'ARGS: invalid pair ""'),
        ("IP=1=2", 'ARGS: invalid pair "IP=1=2"'),
        ("A=1;IP=2;B=2", 'ARGS: unknown args ["A=1" "B=2"]'),
        ("IgnoreUnknown=0;A=1", 'ARGS: unknown args ["A=1"]'),
        (
            "IgnoreUnknown=maybe",
            'ARGS: error parsing value of pair "IgnoreUnknown=maybe": boolean unmarshal error: invalid input maybe',
        ),
    ):
        assert failed(partial(args, text)) == (999, error)


def c09_what_each_command_requires(folder: Path) -> None:
    empty = replace(machine(), container_id="", netns=None, ifname="")
    every = "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"
    assert failed(lambda: invoke.add("bridge", CONFIG, empty)) == (4, every)
    assert failed(lambda: invoke.check("bridge", CONFIG, empty)) == (4, every)
    fewer = "required env variables [CNI_CONTAINERID,CNI_IFNAME] missing"
    assert failed(lambda: invoke.delete("bridge", CONFIG, empty)) == (4, fewer)
    invoke.delete("bridge", CONFIG, replace(machine(), netns=None))
    host = machine().host
    invoke.gc("bridge", CONFIG, host)
    invoke.status("bridge", CONFIG, host)
    assert invoke.version("bridge", host)["cniVersion"] == "1.1.0"
    # a value that may not be is reported before those that are missing
    assert failed(lambda: invoke.add("bridge", CONFIG, replace(empty, container_id="a/b")))[1].startswith(
        "invalid char"
    )


def c10_a_plugin_gets_one_configuration_and_gives_one_result(folder: Path) -> None:
    calls: list[Call] = []
    result = Runtime().add(network({"type": "portmap"}), machine(calls))
    assert [config["type"] for _, name, config in calls if name != "host-local"] == ["bridge", "portmap"]
    assert all(not isinstance(config.get("plugins"), list) for _, _, config in calls)
    assert json.loads(json.dumps(result.to_json())) == result.to_json()


def c11_the_error_object(folder: Path) -> None:
    assert CniError(7, "what", "more").to_json() == {"code": 7, "msg": "what", "details": "more"}
    assert list(CniError(7, "what").to_json()) == ["code", "msg"]


def c12_the_codes(folder: Path) -> None:
    assert [
        spec.INCOMPATIBLE_VERSION, spec.UNSUPPORTED_FIELD, spec.UNKNOWN_CONTAINER, spec.INVALID_ENV, spec.IO_FAILURE,
        spec.DECODING, spec.INVALID_CONFIG, spec.INVALID_NETNS, spec.TRY_AGAIN, spec.NOT_AVAILABLE,
        spec.LIMITED_CONNECTIVITY, spec.INTERNAL,
    ] == [1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51, 999]  # fmt: skip
    assert failed(lambda: spec.check_container_id("")) == (3, "missing containerID")
    bad = replace(network(), plugins=({**BRIDGE, "ipam": {"type": "host-local"}},))
    assert failed(lambda: Runtime().add(bad, machine()))[0] == 999


def c13_the_order_of_a_plugins_checks(folder: Path) -> None:
    at = machine()

    def answer(attachment: Attachment = at, **keys: Any) -> tuple[int, str]:
        return failed(lambda: invoke.add("bridge", {**CONFIG, **keys}, attachment))

    bad: dict[str, Any] = {"name": "a b", "cniVersion": "9.9.9"}
    assert answer(replace(at, ifname="a:b"), **bad)[0] == 4
    assert answer(name=5, cniVersion="9.9.9") == (6, "error unmarshall network config: name is 5")
    assert answer(name="", cniVersion="9.9.9") == (7, "missing network name")
    assert answer(**bad) == (7, "invalid characters found in network name; a b")
    code, text = answer(cniVersion="9.9.9", mtu="big")
    known = '"0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"'
    assert (code, text) == (1, f'incompatible CNI versions; config is "9.9.9", plugin supports [{known}]')
    assert answer(cniVersion="1.0")[0] == 1, "a version is listed exactly"
    assert answer(mtu="big")[1].startswith("failed to load netconf")
    host = at.host
    assert not isinstance(host.plugins["host-local"](), spec.Collecting | spec.Reporting)
    invoke.gc("host-local", CONFIG, host)
    invoke.status("host-local", CONFIG, host)


def c14_what_a_version_allows(folder: Path) -> None:
    at = machine()

    def answer(command: str, version: object) -> tuple[int, str]:
        config = {**CONFIG, "cniVersion": version}
        if command == "CHECK":
            return failed(lambda: invoke.check("bridge", config, at))
        return failed(lambda: {"GC": invoke.gc, "STATUS": invoke.status}[command]("bridge", config, at.host))

    for command, below in (("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")):
        assert answer(command, below) == (1, f"config version does not allow {command}")
        assert answer(command, "9.9.9") == (1, f"plugin version does not allow {command}")
        text = 'failed to convert major version part "x": strconv.Atoi: parsing "x": invalid syntax'
        assert answer(command, "x") == (6, text)
        assert answer(command, "1.1.0.0") == (6, 'invalid version "1.1.0.0": too many parts')
        assert answer(command, 5) == (6, "decoding version from network config: cniVersion is 5")
    own = replace(at, netns=at.host.netns)
    same = "plugin's netns and netns from CNI_NETNS should not be the same"
    assert failed(lambda: invoke.add("bridge", CONFIG, own)) == (8, same)
    assert "eth0" in at.host.netns.devices, "the plugin looks only after its work"
    assert failed(lambda: invoke.delete("bridge", CONFIG, own)) == (8, same)
    assert "eth0" not in at.host.netns.devices


def c15_an_add_of_what_is_there_fails(folder: Path) -> None:
    runtime, at = Runtime(), machine()
    runtime.add(network(), at)
    code, text = failed(lambda: runtime.add(network(), at))
    assert code == 999
    assert re.search(r'container veth name \("eth0"\) peer provided \("veth\w+"\) already exists', text)
    runtime.check(network(), at)
    runtime.delete(network(), at)
    before = Result((Interface("x", sandbox="/s"),)).to_json()
    runtime.add(network(), at)
    assert invoke.add("loopback", {**CONFIG, "prevResult": before}, at) == Result.from_json(before)


def c16_a_del_of_what_is_gone_succeeds(folder: Path) -> None:
    runtime, at = Runtime(), machine()
    runtime.delete(network(), at)
    first = runtime.add(network(), at)
    runtime.delete(network(), replace(at, netns=None))
    runtime.delete(network(), at)
    # the address was given back without the namespace
    runtime.gc(network(), (), at.host)
    config = {
        **CONFIG,
        "ipam": {**IPAM, "rangeStart": first.ips[0].address[:-3], "rangeEnd": first.ips[0].address[:-3]},
    }
    assert invoke.add("host-local", config, replace(at, container_id="other")).ips[0].address == first.ips[0].address


def c17_check_compares_with_the_result(folder: Path) -> None:
    runtime, at = Runtime(), machine()
    runtime.add(network(), at)
    assert failed(lambda: invoke.check("bridge", CONFIG, at)) == (999, "Required prevResult missing")
    runtime.check(network(), at)
    assert at.netns is not None
    at.netns.ipv4.remove_address(next(each for each in at.netns.ipv4.addresses if each.device.name == "eth0"))
    assert failed(lambda: runtime.check(network(), at))[0] == 999


def c18_status_is_forwarded(folder: Path) -> None:
    calls: list[Call] = []
    at = machine(more={"host-local": lambda: Caring(calls, "host-local", CniError(50, "no addresses"))})
    assert failed(lambda: Runtime().status(network(), at.host)) == (50, "no addresses")
    assert calls == [("STATUS", "host-local", CONFIG)]
    Runtime().status(network(), machine().host)


def c19_gc_lists_what_is_valid_and_goes_on_after_errors(folder: Path) -> None:
    calls: list[Call] = []
    at = caring(calls, CniError(11, "not now"))
    chain = network({"type": "tuning"}, {"type": "portmap"})
    code, text = failed(lambda: Runtime().gc(chain, [("c1", "eth0")], at.host))
    assert (code, text) == (11, "failed to GC plugin tuning: not now")
    assert words(calls) == ["GC tuning", "GC portmap"]
    for _, _, config in calls:
        assert config["cni.dev/valid-attachments"] == [{"containerID": "c1", "ifname": "eth0"}]
        assert config["cni.dev/attachments"] == config["cni.dev/valid-attachments"]


def c20_version(folder: Path) -> None:
    host = machine().host
    answer = {"cniVersion": "1.1.0", "supportedVersions": list(VERSIONS)}
    for kind, first in {
        **dict.fromkeys(plugins, "0.1.0"),
        "bandwidth": "0.3.0",
        "firewall": "0.4.0",
        "vrf": "0.3.1",
    }.items():
        known = answer["supportedVersions"][answer["supportedVersions"].index(first) :]
        assert invoke.version(kind, host) == {**answer, "supportedVersions": known}
    assert Runtime().version(network(version="0.3.1"), host) == answer, "whatever the configuration's"
    assert failed(lambda: invoke.version("nosuch", host))[0] == 999


CHECKLIST = {name: point for name, point in list(globals().items()) if re.match(r"c\d\d_", name)}


def test_no_point_is_left_out() -> None:
    assert [name[:3] for name in CHECKLIST] == [f"c{number:02}" for number in range(1, 21)]


@pytest.mark.parametrize("point", CHECKLIST)
def test_the_specification(point: str, tmp_path: Path) -> None:
    CHECKLIST[point](tmp_path)


ATTACHED = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/NAME", "CNI_IFNAME": "eth0"}
ASKED: dict[str, tuple[str, str, Config, dict[str, str]]] = {
    "add without anything": ("ADD", "bridge", {}, dict.fromkeys(ATTACHED, "")),
    "check without anything": ("CHECK", "bridge", {}, dict.fromkeys(ATTACHED, "")),
    "del without anything": ("DEL", "bridge", {}, dict.fromkeys(ATTACHED, "")),
    "add without a namespace": ("ADD", "bridge", {}, {"CNI_NETNS": ""}),
    "no name": ("ADD", "bridge", {"name": ""}, {}),
    "a bad name": ("ADD", "bridge", {"name": "a b"}, {}),
    "a bad container": ("ADD", "bridge", {}, {"CNI_CONTAINERID": "a/b"}),
    "a long interface": ("ADD", "bridge", {}, {"CNI_IFNAME": "a" * 16}),
    "a long interface in bytes": ("DEL", "bridge", {}, {"CNI_IFNAME": "\u00e9" * 8}),
    "an interface of dots": ("CHECK", "bridge", {}, {"CNI_IFNAME": ".."}),
    "a bad interface": ("ADD", "bridge", {}, {"CNI_IFNAME": "eth0:1"}),
    "an interface with a space": ("ADD", "bridge", {}, {"CNI_IFNAME": "eth\u20030"}),
    "an unknown version": ("ADD", "bridge", {"cniVersion": "9.9.9"}, {}),
    "a version by two parts": ("DEL", "bridge", {"cniVersion": "1.0"}, {}),
    "check below 0.4.0": ("CHECK", "bridge", {"cniVersion": "0.3.1"}, {}),
    "check without a version": ("CHECK", "bridge", {"cniVersion": ""}, {}),
    "check above what is known": ("CHECK", "bridge", {"cniVersion": "9.9.9"}, {}),
    "check of no version": ("CHECK", "bridge", {"cniVersion": "x"}, {}),
    "check of half a version": ("CHECK", "bridge", {"cniVersion": "1.x"}, {}),
    "check of a long version": ("CHECK", "bridge", {"cniVersion": "1.0.0.0"}, {}),
    "check without a delegate": ("CHECK", "bridge", {"ipam": {}}, {}),
    "check without an address": ("CHECK", "bridge", {}, {}),
    "no delegate": ("DEL", "bridge", {"ipam": {"type": "nosuch"}}, {"CNI_NETNS": ""}),
    "half a pair": ("ADD", "host-local", {}, {"CNI_ARGS": "IP"}),
    "an empty pair": ("ADD", "host-local", {}, {"CNI_ARGS": "IP=;"}),
    "unknown args": ("ADD", "host-local", {}, {"CNI_ARGS": "A=1;B=2"}),
    "args half ignored": ("ADD", "host-local", {}, {"CNI_ARGS": "IgnoreUnknown=maybe"}),
}
"""What is asked of emu's plugin and of the real one: command, plugin, changed keys, changed environment."""


def emulated(command: str, kind: str, config: Config, environment: dict[str, str]) -> CniError:
    there = machine()
    at = replace(
        there,
        container_id=environment["CNI_CONTAINERID"],
        netns=there.netns if environment["CNI_NETNS"] else None,
        ifname=environment["CNI_IFNAME"],
        args=environment.get("CNI_ARGS", ""),
    )
    with pytest.raises(CniError) as caught:
        {"ADD": invoke.add, "CHECK": invoke.check, "DEL": invoke.delete}[command](kind, config, at)
    return caught.value


@pytest.mark.parametrize("case", ASKED)
def test_the_real_plugin_refuses_in_the_same_words(case: str, linux: Linux, tmp_path: Path) -> None:
    command, kind, keys, changed = ASKED[case]
    binary = Path("/usr/lib/cni") / kind
    if not binary.is_file():
        pytest.skip(f"skipped: no real kernel to ask (no CNI plugin {binary})")
    environment = {**ATTACHED, **changed}
    config = {**CONFIG, "cniVersion": "1.0.0", **keys}
    if config["ipam"] is IPAM:
        config["ipam"] = {**IPAM, "dataDir": str(tmp_path)}
    mine = emulated(command, kind, config, environment)
    blue = linux.namespace("blue")
    given = [f"{name}={value.replace('NAME', blue)}" for name, value in environment.items()]
    given += [f"CNI_COMMAND={command}", f"CNI_PATH={binary.parent}"]
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{linux.namespace('node')}", "env", *given, str(binary)],
        input=json.dumps(config),
        capture_output=True,
        text=True,
        check=False,
    )
    theirs = json.loads(done.stdout)
    assert done.returncode == 1
    # that build is of the specification before 1.1.0; it looked into a folder, emu has no folders
    answer = mine.to_json()
    if "details" in answer:
        answer["details"] = answer["details"].replace(' "1.1.0"]', "]")
    answer["msg"] = re.sub(": emu has .*", f" in path [{binary.parent}]", answer["msg"])
    assert answer == theirs
