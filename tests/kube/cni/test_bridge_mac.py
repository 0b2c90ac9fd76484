"""Which MAC a bridge of the CNI plugin `bridge` bears while containers come and go: emu's plugin beside the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from emu.clock import Clock
from emu.kernel import boot
from emu.kernel.link.bridge import Bridge
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.runtime import Runtime
from emu.kube.cni.spec import Attachment, Host
from linux import Linux
from linux import run as command

PLUGINS = Path("/usr/lib/cni")
IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24"}]]}
CONFIGS: dict[str, dict[str, Any]] = {
    "gateway": {"isGateway": True, "ipam": IPAM},
    "no gateway": {"isGateway": False, "ipam": IPAM},
    "layer 2": {"isGateway": False, "ipam": {}},
}
CONTAINERS = 4


class State(NamedTuple):
    """The bridge after a step. `named`: its MAC is what the result names. `zero`: it is all zero."""

    a_ports: bool
    lowest: bool
    changed: bool
    named: bool
    zero: bool


class Watch:
    """Makes states of what a side reads of its bridge."""

    def __init__(self) -> None:
        self.last = ""

    def state(self, mac: str, ports: list[str], result: dict[str, Any] | None) -> State:
        changed, self.last = self.last not in ("", mac), mac
        named = result is None or result["interfaces"][0]["mac"] == mac
        return State(mac in ports, bool(ports) and mac == min(ports), changed, named, mac == "00:00:00:00:00:00")


def emulated(keys: dict[str, Any], seed: int) -> list[State]:
    plugin = {"type": "bridge", **keys}
    network = NetworkConfigList.from_json({"name": "net", "cniVersion": "1.0.0", "plugins": [plugin]})
    clock, runtime, watch = Clock(seed), Runtime(), Watch()
    host = Host(boot.namespace(clock, "node"))
    attachments = [
        Attachment(f"c{number}", boot.namespace(clock, f"c{number}"), "eth0", host) for number in range(CONTAINERS)
    ]

    def state(result: dict[str, Any] | None) -> State:
        bridge = host.netns.device("cni0")
        assert isinstance(bridge, Bridge)
        static = {entry.mac for entry in bridge.fdb.values() if entry.static}
        assert static == {bridge.mac, *(port.device.mac for port in bridge.ports)}
        return watch.state(bridge.mac.hex(":"), [port.device.mac.hex(":") for port in bridge.ports], result)

    states = []
    for attachment in attachments:
        states.append(state(runtime.add(network, attachment, {}).to_json("1.0.0")))
    for attachment in attachments:
        runtime.delete(network, attachment)
        states.append(state(None))
    return states


def real(keys: dict[str, Any], linux: Linux, folder: Path) -> list[State]:
    node, watch, states = linux.namespace("node"), Watch(), []
    ipam = {**keys["ipam"], "dataDir": str(folder)} if keys["ipam"] else {}
    config = json.dumps({"name": "net", "cniVersion": "1.0.0", "type": "bridge", **keys, "ipam": ipam})

    def plugin(verb: str, number: int) -> dict[str, Any]:
        words = [f"CNI_COMMAND={verb}", f"CNI_CONTAINERID=c{number}", f"CNI_NETNS=/run/netns/{spaces[number]}"]
        given = ["env", *words, "CNI_IFNAME=eth0", f"CNI_PATH={PLUGINS}", str(PLUGINS / "bridge")]
        text = command("nsenter", f"--net=/run/netns/{node}", *given, stdin=config)
        return dict(json.loads(text)) if text else {}

    def state(result: dict[str, Any] | None) -> State:
        links = json.loads(linux.run(node, "ip", "-j", "link", "show"))
        (mac,) = (each["address"] for each in links if each["ifname"] == "cni0")
        return watch.state(mac, [each["address"] for each in links if each.get("master") == "cni0"], result)

    spaces = [linux.namespace(f"c{number}") for number in range(CONTAINERS)]
    for number in range(CONTAINERS):
        states.append(state(plugin("ADD", number)))
    for number in range(CONTAINERS):
        plugin("DEL", number)
        states.append(state(None))
    return states


@pytest.mark.parametrize("seed", range(3))
def test_a_bridge_with_an_address_keeps_the_mac_of_its_creation(seed: int) -> None:
    own = State(a_ports=False, lowest=False, changed=False, named=True, zero=False)
    assert emulated(CONFIGS["gateway"], seed) == [own] * 2 * CONTAINERS


@pytest.mark.parametrize("name", ["no gateway", "layer 2"])
@pytest.mark.parametrize("seed", range(3))
def test_a_bridge_without_one_bears_its_lowest_ports(name: str, seed: int) -> None:
    *states, last = emulated(CONFIGS[name], seed)
    assert all(state.lowest and state.a_ports and state.named for state in states)
    assert last == State(a_ports=False, lowest=False, changed=True, named=True, zero=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_real_plugin_does_the_same(name: str, linux: Linux, tmp_path: Path) -> None:
    if not (PLUGINS / "bridge").exists():
        pytest.skip(f"skipped: no real kernel to ask (no CNI plugins in {PLUGINS})")

    def without_chance(states: list[State]) -> list[State]:
        """Which port has the lowest MAC is drawn, and with it when the bridge's changes."""
        return [each._replace(changed=each.changed and not each.lowest) for each in states]

    theirs = without_chance(real(CONFIGS[name], linux, tmp_path))
    assert theirs == without_chance(emulated(CONFIGS[name], 1))
