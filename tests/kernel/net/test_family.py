"""Address families: one without its operations cannot be made, and two in one namespace do not meet.

The second family here is a toy: addresses of 64 bits, an ethertype of its own. It joins a namespace as IPv6 will, by
`join`, and nothing of `netns.py` or of a frame knows it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attributes import attributes
from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.device import Device
from emu.kernel.link.loopback import Loopback
from emu.kernel.net import neighbour
from emu.kernel.net.family import KEPT, Family, Ops
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.hooks import (
    FORWARD,
    LOCAL_IN,
    POST_ROUTING,
    PRE_ROUTING,
    STOLEN,
    STOP,
    Drop,
    HookState,
    Reject,
)
from emu.kernel.transport.ports import Ports
from emu.wire.addr import Prefix
from emu.wire.frame import AF_INET, UDP, Frame

AF_TOY, ETH_P_TOY, WIDTH = 77, 0x88B5, 64
ADDR = 0x0A000001  # 10.0.0.1, and a number of the toy's


class Toy:
    """The toy's operations write down what they were asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.waiting = 0

    def add(self, frame: Frame, user: int = 0) -> Frame | None:
        return frame

    def hook(self, frame: Frame, state: HookState) -> None:
        return None

    def ops(self) -> Ops:
        def note(name: str) -> Any:
            return lambda *args: self.asked.append((name, *args))

        return Ops(
            constructor=note("constructor"), solicit=note("solicit"), error_report=note("error_report"),
            reject=note("reject"), duplicate=note("duplicate"), fragment=note("fragment"), pieces=lambda frame, size: [frame], defragment=self.add,
            to_many=lambda dst, src, mark, oif, flow: None, conf=lambda device, variable: 0, kind_of=lambda addr: "",
            resolves=lambda hop: True, came_up=lambda device: None,
        )  # fmt: skip

    def family(self, net: Netns) -> Family:
        table = net.ipv4.neighbours
        return Family(net, AF_TOY, ETH_P_TOY, WIDTH, "toy", "net.ipv4.ip_default_ttl", self.ops(), self, table)


def host() -> tuple[Netns, Family, Toy, Device]:
    """A namespace of both families, with one device that has an address of each."""
    net, toy = Netns(Clock(), "host"), Toy()
    net.join(boot.inet(net))
    family = net.join(toy.family(net))
    device = net.attach(Loopback(net.clock))
    net.ipv4.add_address(device, ADDR, 24)
    family.add_address(device, ADDR, 48)
    return net, family, toy, device


def frame(family: int) -> Frame:
    made = Frame(bytearray(64))
    made.family, made.proto, made.valid = family, UDP, True
    made.src, made.dst, made.sport, made.dport = ADDR, ADDR + 1, 1000, 53
    return made


def test_a_family_without_its_operations_cannot_be_made() -> None:
    whole = Toy().ops()
    for missing in attributes(Ops):
        rest = {name: getattr(whole, name) for name in attributes(Ops) if name != missing}
        with pytest.raises(TypeError, match=missing):
            Ops(**rest)
    with pytest.raises(TypeError):
        Family(Netns(Clock(), "n"), AF_TOY, ETH_P_TOY, WIDTH, "toy", "net.ipv4.ip_default_ttl")  # type: ignore[call-arg]  # that is the test


def test_a_family_joins_once_and_before_the_devices() -> None:
    net, _family, toy, _device = host()
    with pytest.raises(InputError, match="toy cannot join now"):
        net.join(toy.family(net))
    bare = Netns(Clock(), "bare")
    bare.join(boot.inet(bare))
    bare.attach(Loopback(bare.clock))
    with pytest.raises(InputError, match="toy cannot join now"):
        bare.join(toy.family(bare))


def test_routes_and_addresses_keep_apart() -> None:
    net, family, _toy, device = host()
    assert [str(each) for each in net.addresses] == ["10.0.0.1/24", "0xa000001/48"]
    assert net.ipv4.is_local(ADDR) and family.is_local(ADDR)
    for address in list(family.addresses):
        family.remove_address(address)
    assert net.ipv4.is_local(ADDR) and not family.is_local(ADDR)
    family.fib.add(Route(Prefix(0, 0, WIDTH), device=device, gateway=7))
    found = family.route(1 << 63)
    assert found is not None and found.gateway == 7
    assert net.ipv4.route(0x08080808) is None


def test_a_device_that_goes_takes_the_addresses_of_all_families() -> None:
    net, family, _toy, device = host()
    neighbour.lookup(family, device, 5)
    net.detach(device)
    assert net.addresses == [] and list(net.neighbours) == []


def test_neighbours_of_one_number_are_two_entries() -> None:
    net, family, toy, device = host()
    ours, theirs = neighbour.lookup(net.ipv4, device, ADDR), neighbour.lookup(family, device, ADDR)
    assert ours is not None and theirs is not None
    assert ours is not theirs and list(net.neighbours) == [ours, theirs]
    assert neighbour.lookup(family, device, ADDR) is theirs
    assert toy.asked == [("constructor", theirs)]
    waiting = frame(AF_TOY)
    theirs.output(waiting)
    assert toy.asked[1:] == [("solicit", theirs, waiting)]
    theirs.update(b"\x02" * 6, neighbour.REACHABLE)
    assert bytes(waiting.buf[12:14]) == ETH_P_TOY.to_bytes(2, "big"), "the family's ethertype is in front"
    assert ours.state != theirs.state


def test_connections_of_one_tuple_are_two_entries() -> None:
    net, family, _toy, _device = host()
    boot.netfilter(net)
    track, confirm = net.conntrack.track, net.conntrack.confirm
    made = []
    for number, state in ((AF_INET, net.ipv4.hooks.states[PRE_ROUTING]), (AF_TOY, family.hooks.states[PRE_ROUTING])):
        packet = frame(number)
        assert track(packet, state) is None and confirm(packet, state) is None
        made.append(packet.ct)
    ours, theirs = made
    assert ours is not theirs and ours.orig == theirs.orig
    assert (ours.family, theirs.family) == (AF_INET, AF_TOY)
    assert net.conntrack.find(ours.orig) is ours and net.conntrack.find(ours.orig, AF_TOY) is theirs
    net.conntrack.kill(theirs)
    assert net.conntrack.find(ours.orig) is ours and net.conntrack.find(ours.orig, AF_TOY) is None


def test_what_is_remembered_of_hosts_keeps_apart() -> None:
    net, family, _toy, _device = host()
    assert net.ipv4.peers[ADDR] is not family.peers[ADDR]
    net.ipv4.idents.next(ADDR, ADDR, UDP)
    before = family.idents.next(ADDR, ADDR, UDP)
    net.ipv4.idents.next(ADDR, ADDR, UDP)
    assert family.idents.next(ADDR, ADDR, UDP) == before % 0xFFFF + 1


def test_a_hook_accepts_keeps_or_refuses() -> None:
    net, family, toy, _device = host()
    seen: list[Frame] = []
    family.hooks.register(PRE_ROUTING, 0, lambda frame, state: STOP)
    family.hooks.register(PRE_ROUTING, 1, lambda frame, state: Drop("NETFILTER_DROP"))
    family.hooks.register(LOCAL_IN, 0, lambda frame, state: STOLEN)
    family.hooks.register(FORWARD, 0, lambda frame, state: Drop("PKT_TOO_BIG"))
    family.hooks.register(POST_ROUTING, 0, lambda frame, state: Reject("toy-unreachable"))
    net.ipv4.hooks.register(PRE_ROUTING, 0, lambda frame, state: seen.append(frame))
    packet = frame(AF_TOY)
    assert family.nf_hook(PRE_ROUTING, packet) == "", "STOP accepts, and skips the rest"
    assert family.nf_hook(LOCAL_IN, packet) == KEPT and not net.drops
    assert family.nf_hook(FORWARD, packet) == "EPERM" and net.drops == {"PKT_TOO_BIG": 1}
    assert family.nf_hook(POST_ROUTING, packet) == "EPERM"
    assert toy.asked == [("reject", packet, "toy-unreachable", POST_ROUTING)]
    assert net.drops == {"PKT_TOO_BIG": 1, "NETFILTER_DROP": 1}
    assert seen == [], "the other family's hooks were not run"


def test_operations_are_replaced_in_the_open() -> None:
    net, family, toy, _device = host()
    asked: list[Any] = []
    family.ops = replace(family.ops, solicit=lambda entry, waiting: asked.append(entry))
    entry = neighbour.lookup(family, net.devices["lo"], 9)
    assert entry is not None
    entry.output(frame(AF_TOY))
    assert asked == [entry] and [name for name, *_ in toy.asked] == ["constructor"]


def test_a_port_that_is_bound_in_one_family_is_free_in_another() -> None:
    net, toy, _, _ = host()
    inet, other = Ports(net, net.ipv4, "udp"), Ports(net, toy, "udp-toy")
    assert inet.bind(ADDR, 80, "four") == other.bind(ADDR, 80, "toy") == 80
    assert (inet.lookup(ADDR, 80), other.lookup(ADDR, 80)) == ("four", "toy")


def test_listeners_of_addresses_learn_the_family() -> None:
    net, toy, _, device = host()
    seen: list[tuple[int, int]] = []
    net.on_address(lambda family, address: seen.append((family, address.addr)))
    toy.add_address(device, ADDR + 1, 48)
    assert seen == [(AF_INET, ADDR), (AF_TOY, ADDR), (AF_TOY, ADDR + 1)]
