"""What a bridge forgets when a port loses its carrier, goes down or leaves, and when the bridge has a carrier itself.

Each row is asked of the emulator and of this machine's kernel.
"""

from __future__ import annotations

import json
import time
from typing import Any, Protocol

import pytest

from emu.kernel.link.bridge import FdbEntry
from emu.lab import Lab
from linux import Linux

MACS = {name: f"02:00:00:00:00:1{number}" for number, name in enumerate(("a", "b"))}
# changes, one behind the other; then the hosts whose MACs the bridge knows, the ports that forward, the bridge's carrier
ROWS: dict[str, tuple[list[str], set[str], set[str], bool]] = {
    "nothing": ([], {"a", "b"}, {"a", "b"}, True),
    "carrier lost": (["down a/eth0"], {"b"}, {"b"}, True),
    "carrier back": (["down a/eth0", "up a/eth0"], {"b"}, {"a", "b"}, True),
    "port down": (["down sw/a"], {"b"}, {"b"}, True),
    "port down and up": (["down sw/a", "up sw/a"], {"b"}, {"a", "b"}, True),
    "port leaves": (["leave a"], {"b"}, {"b"}, True),
    "no carrier at all": (["down a/eth0", "down sw/b"], set(), set(), False),
    "all leave": (["leave a", "leave b"], set(), set(), False),
    "bridge down": (["down sw/br0"], set(), set(), False),
    "bridge down and up": (["down sw/br0", "up sw/br0"], set(), {"a", "b"}, True),
    "port without carrier when the bridge comes up": (
        ["down sw/br0", "down b/eth0", "up sw/br0"],
        set(),
        {"a"},
        True,
    ),
}  # fmt: skip


class Side(Protocol):
    def link(self, host: str, device: str, up: bool) -> None: ...
    def leave(self, port: str) -> None: ...


def change(side: Side, words: str) -> None:
    verb, _, what = words.partition(" ")
    if verb == "leave":
        side.leave(what)
    else:
        host, _, device = what.partition("/")
        side.link(host, device, verb == "up")


class Emulated:
    def __init__(self) -> None:
        self.lab = Lab(capture=False)
        switch = self.lab.host("sw")
        self.bridge = self.lab.bridge(switch)
        assert not self.bridge.carrier, "until a port forwards"
        for name in MACS:
            self.lab.cable(self.lab.host(name), "", self.bridge, "")
        self.names = {"a": "eth0", "b": "eth1"}
        for name, mac in MACS.items():
            raw = bytes.fromhex(mac.replace(":", ""))
            self.bridge.fdb[raw] = FdbEntry(raw, self.bridge.port(self.names[name]), self.lab.clock.now)

    def link(self, host: str, device: str, up: bool) -> None:
        self.lab.namespaces[host].set_link(self.names.get(device, device), up=up)

    def leave(self, port: str) -> None:
        self.bridge.remove_port(self.bridge.port(self.names[port]).device)

    def state(self) -> tuple[set[str], set[str], bool]:
        known = {entry.mac.hex(":") for entry in self.bridge.learned()}
        forwarding = {port.device.name for port in self.bridge.ports if port.forwarding}
        return (
            {name for name, mac in MACS.items() if mac in known},
            {name for name, device in self.names.items() if device in forwarding},
            self.bridge.carrier,
        )


def _port_state(link: dict[str, Any]) -> str:
    """The state of a port, of a link as `ip -j -d link` has it; "" for what is no port."""
    state: str = link.get("linkinfo", {}).get("info_slave_data", {}).get("state", "")
    return state


class Real:
    def __init__(self, linux: Linux) -> None:
        self.linux = linux
        self.names = {name: linux.namespace(name) for name in ("sw", *MACS)}
        self.ip("sw", "link add br0 type bridge mcast_snooping 0 forward_delay 0")
        self.ip("sw", "link set br0 up")
        for name in MACS:
            self.ip("sw", f"link add name {name} type veth peer name eth0 netns {self.names[name]}")
            self.ip("sw", f"link set dev {name} master br0 up")
            self.ip(name, "link set eth0 up")
        self.settle()
        for name, mac in MACS.items():
            linux.run(self.names["sw"], "bridge", "fdb", "add", mac, "dev", name, "master", "dynamic")

    def ip(self, host: str, text: str) -> None:
        self.linux.run(self.names[host], "ip", *text.split(" "))

    def link(self, host: str, device: str, up: bool) -> None:
        self.ip(host, f"link set dev {device} {'up' if up else 'down'}")
        self.settle()

    def leave(self, port: str) -> None:
        self.ip("sw", f"link set dev {port} nomaster")
        self.settle()

    def settle(self) -> None:
        """A worker carries the change of a carrier over to the bridge (linkwatch): ports and bridge follow."""
        for _ in range(100):
            time.sleep(0.02)
            links = json.loads(self.linux.run(self.names["sw"], "ip", "-j", "-d", "link", "show"))
            ports = {each["ifname"]: each for each in links if each.get("master") == "br0"}
            forwarding = {name for name, each in ports.items() if _port_state(each) == "forwarding"}
            (bridge,) = (each for each in links if each["ifname"] == "br0")
            carried = {name for name, each in ports.items() if "LOWER_UP" in each["flags"] and "UP" in bridge["flags"]}
            if forwarding == carried and ("LOWER_UP" in bridge["flags"]) is bool(forwarding):
                break

    def state(self) -> tuple[set[str], set[str], bool]:
        switch = self.names["sw"]
        known = {each["mac"] for each in json.loads(self.linux.run(switch, "bridge", "-j", "fdb", "show"))}
        links = json.loads(self.linux.run(switch, "ip", "-j", "-d", "link", "show"))
        forwarding = {each["ifname"] for each in links if _port_state(each) == "forwarding"}
        (bridge,) = (each for each in links if each["ifname"] == "br0")
        return {name for name, mac in MACS.items() if mac in known}, forwarding, "LOWER_UP" in bridge["flags"]


@pytest.mark.parametrize("row", ROWS)
def test_what_is_forgotten(row: str) -> None:
    changes, *wanted = ROWS[row]
    side = Emulated()
    for each in changes:
        change(side, each)
    assert side.state() == tuple(wanted)


@pytest.mark.parametrize("row", ROWS)
def test_the_kernel_forgets_the_same(row: str, linux: Linux) -> None:
    changes, *wanted = ROWS[row]
    side = Real(linux)
    for each in changes:
        change(side, each)
    assert side.state() == tuple(wanted)


def test_a_frame_to_a_host_behind_a_port_without_carrier_is_flooded() -> None:
    lab = Lab()
    switch = lab.bridge(lab.host("switch"))
    for number, name in enumerate("abc", 1):
        lab.cable(lab.host(name), f"10.0.0.{number}/24", switch, "")
    lab.namespaces["a"].sockets.udp().sendto(b"x", ("10.0.0.2", 9))
    lab.run(1)
    lab.namespaces["switch"].set_carrier("eth1", on=False)
    before = len(lab.frames("switch/eth2"))
    lab.namespaces["a"].sockets.udp().sendto(b"y", ("10.0.0.2", 9))
    lab.run(0.1)
    assert [each.direction for each in lab.frames("switch/eth2")[before:]] == ["out"]
    assert not lab.namespaces["switch"].drops


def test_a_cable_that_is_pulled_stays_pulled_when_the_link_goes_down_and_up() -> None:
    lab = Lab(capture=False)
    one, other = lab.host("one"), lab.host("other")
    near, far = lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    one.set_carrier("eth0", on=False)
    one.set_link("eth0", up=False)
    assert not far.carrier
    one.set_link("eth0", up=True)
    assert (near.carrier, far.carrier) == (False, False)
    one.set_carrier("eth0", on=True)
    assert near.carrier
    assert far.carrier
