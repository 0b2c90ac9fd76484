"""A learning bridge beside a naive one: ports come and go, MACs move and age, hairpin, isolation, promiscuity, floods."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from emu.clock import SECOND, Clock
from emu.kernel.link.bridge import Bridge, Port
from emu.kernel.link.device import Device
from emu.kernel.link.edge import Edge
from emu.kernel.net.netns import Netns
from emu.testing.strategies import examples
from emu.wire.addr import BROADCAST_MAC
from emu.wire.frame import Frame
from sinks import bring, sink, take

OWN = b"\2\0\0\0\0\1"
HOSTS = [b"\2\0\0\0\1" + bytes((number,)) for number in range(3)]
PORTS = [OWN, *(b"\2\0\0\0\2" + bytes((number,)) for number in range(3))]
GROUP = b"\1\0\x5e\0\0\1"
TO = st.sampled_from([*HOSTS, *HOSTS, OWN, PORTS[1], BROADCAST_MAC, GROUP, b"\2\0\0\0\xff\xff"])
AGEING_S = 300


def edge(port: Port) -> Edge:
    assert isinstance(port.device, Edge)
    return port.device


@dataclass
class Seen:
    """Where the naive bridge saw a MAC, and when."""

    port: Port
    at_ns: int


class Bridging(RuleBasedStateMachine):
    """Every frame is judged when it comes: which ports send it, and whether the namespace gets it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.net = Netns(self.clock, "n")
        self.up: list[Frame] = []
        self.net.packet_types[0x88B5] = self.took
        self.bridge = Bridge(self.clock, "br0", OWN, ageing_ns=AGEING_S * SECOND)
        self.net.attach(self.bridge)
        self.ports: list[Port] = []  # oldest first
        self.seen: dict[bytes, Seen] = {}
        self.number = 0

    def took(self, frame: Frame, device: Device) -> None:
        assert device is self.bridge
        self.up.append(frame)

    @initialize()
    def two_ports(self) -> None:
        self.plug(PORTS[0])
        self.plug(PORTS[1])

    @precondition(lambda self: len(self.ports) < 4)
    @rule(mac=st.sampled_from(PORTS))
    def plug(self, mac: bytes) -> None:
        self.number += 1
        device = sink(self.clock, f"p{self.number}", mac)
        self.net.attach(device)
        self.ports.append(self.bridge.add_port(device))
        self.seen.pop(mac, None)

    @precondition(lambda self: self.ports)
    @rule(at=st.integers(0, 3))
    def unplug(self, at: int) -> None:
        port = self.ports.pop(at % len(self.ports))
        self.net.detach(port.device)
        self.forget(port)

    @precondition(lambda self: self.ports)
    @rule(at=st.integers(0, 3), flag=st.sampled_from(("hairpin", "isolated")))
    def turn(self, at: int, flag: str) -> None:
        port = self.ports[at % len(self.ports)]
        setattr(port, flag, not getattr(port, flag))

    def forget(self, port: Port) -> None:
        self.seen = {mac: seen for mac, seen in self.seen.items() if seen.port is not port}

    @precondition(lambda self: self.ports)
    @rule(at=st.integers(0, 3))
    def state(self, at: int) -> None:
        port = self.ports[at % len(self.ports)]
        port.set_state(not port.forwarding)
        if not port.forwarding:
            self.forget(port)

    @precondition(lambda self: self.ports)
    @rule(at=st.integers(0, 3))
    def link(self, at: int) -> None:
        port = self.ports[at % len(self.ports)]
        self.net.set_link(port.device.name, up=not port.device.up)
        assert port.forwarding is port.device.up
        if not port.device.up:
            self.forget(port)

    @rule(on=st.booleans())
    def promisc(self, on: bool) -> None:
        if on is not self.bridge.promisc:
            self.bridge.set_promisc(on)

    @rule(seconds=st.sampled_from((1, AGEING_S - 1, AGEING_S, AGEING_S + 1)))
    def wait(self, seconds: int) -> None:
        self.clock.run_until(self.clock.now + seconds * SECOND)

    @rule()
    def flush(self) -> None:
        self.bridge.flush()
        self.seen.clear()

    def own(self, mac: bytes) -> bool:
        return mac == OWN or any(port.device.mac == mac for port in self.ports)

    def known(self, mac: bytes) -> Port | None:
        seen = self.seen.get(mac)
        return seen.port if seen is not None and self.clock.now - seen.at_ns <= AGEING_S * SECOND else None

    def may_leave(self, port: Port, ingress: Port | None) -> bool:
        isolated = ingress is not None and ingress.isolated and port.isolated
        return port.forwarding and port.device.up and not isolated and (port is not ingress or port.hairpin)

    def expect(self, dmac: bytes, ingress: Port | None) -> tuple[list[Port], bool]:
        """The naive bridge: the ports that send the frame, newest first, and whether it is handed up."""
        all_ports = [port for port in reversed(self.ports) if self.may_leave(port, ingress)]
        if dmac[0] & 1:
            return all_ports, ingress is not None
        promisc = self.bridge.promisc and ingress is not None
        if self.own(dmac):
            if ingress is not None:
                return [], True
            # of the namespace's own: to the port with that address, and nowhere for the bridge's (br_dev_xmit)
            owner = next((port for port in reversed(self.ports) if port.device.mac == dmac), None)
            return [owner] if owner in all_ports and dmac != OWN and owner is not None else [], False
        port = self.known(dmac)
        return (all_ports if port is None else [p for p in [port] if self.may_leave(p, ingress)]), promisc

    def judge(self, data: bytes, ports: list[Port], up: bool) -> None:
        sent = [(port, frame) for port in self.ports for frame in take(edge(port))]
        assert {port.device.name for port, _ in sent} == {port.device.name for port in ports}
        frames = [frame for _, frame in sent] + self.up
        assert len(frames) == len(ports) + up, "one copy each"
        assert all(frame.buf == data for frame in frames)
        assert len({id(frame.buf) for frame in frames}) == len(frames), "each copy has bytes of its own"
        assert bool(self.up) is up
        self.up.clear()

    @precondition(lambda self: self.ports)
    @rule(at=st.integers(0, 3), smac=st.sampled_from([*HOSTS, *HOSTS, PORTS[2], OWN, GROUP, bytes(6)]), dmac=TO)
    def comes(self, at: int, smac: bytes, dmac: bytes) -> None:
        port = self.ports[at % len(self.ports)]
        data = dmac + smac + b"\x88\xb5data"
        dropped = not port.device.up or not port.forwarding or smac in (GROUP, bytes(6))
        if not dropped and not self.own(smac):
            self.seen[smac] = Seen(port, self.clock.now)
        ports, up = ([], False) if dropped else self.expect(dmac, port)
        bring(edge(port), data)
        self.judge(data, ports, up)

    @rule(dmac=TO)
    def leaves(self, dmac: bytes) -> None:
        """A frame of the namespace's own."""
        data = dmac + OWN + b"\x88\xb5data"
        ports, up = self.expect(dmac, None)
        self.net.born += 1
        self.bridge.transmit(Frame.parse(data))
        self.judge(data, ports, up)

    @invariant()
    def the_fdb_lists_what_was_seen(self) -> None:
        listed = {entry.mac: entry.port for entry in self.bridge.learned()}
        assert listed == {mac: seen.port for mac, seen in self.seen.items() if self.known(mac)}

    @invariant()
    def a_bridge_has_a_carrier_while_a_port_forwards(self) -> None:
        assert self.bridge.carrier is any(port.forwarding for port in self.ports)

    @invariant()
    def own_addresses_stay(self) -> None:
        static = {entry.mac for entry in self.bridge.fdb.values() if entry.static}
        assert static == {OWN, *(port.device.mac for port in self.ports)}


TestBridging = Bridging.TestCase
TestBridging.settings = examples(150, stateful_step_count=40)
