"""Cables, lo and impairments: what gets through, what a border forgets, when a delayed frame is seen."""

from __future__ import annotations

import pytest

from emu.clock import MS, US, Clock
from emu.kernel.link.device import IN, OUT, Device
from emu.kernel.link.loopback import LOOPBACK_MTU, Loopback
from emu.kernel.link.netem import Netem
from emu.kernel.link.veth import Veth, pair
from emu.wire.addr import BROADCAST_MAC
from emu.wire.frame import BROADCAST, HOST, MULTICAST, OTHERHOST, Frame
from sinks import pkt_type

ONE, OTHER = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"


class Cable:
    """A veth pair in no namespace; `got` lists what the far end took: (ns, frame), `lost` (device, reason)."""

    def __init__(self, mtu: int = 1500) -> None:
        self.clock = Clock(seed=1)
        self.near, self.far = pair(self.clock, "near", ONE, "far", OTHER, mtu)
        self.got: list[tuple[int, Frame]] = []
        self.lost: list[tuple[str, str]] = []
        self.far.rx_handler = lambda frame, device: self.got.append((self.clock.now, frame))
        for device in (self.near, self.far):
            device.drop = lambda device, frame, reason: self.lost.append((device.name, reason))

    def send(self, dmac: bytes = OTHER, size: int = 60) -> Frame:
        frame = Frame.parse(dmac + ONE + b"\x88\xb5" + bytes(size - 14))
        self.near.transmit(frame)
        return frame


@pytest.mark.parametrize(
    ("dmac", "kind"),
    [(OTHER, HOST), (BROADCAST_MAC, BROADCAST), (b"\1\0\x5e\0\0\1", MULTICAST), (b"\2\0\0\0\0\x09", OTHERHOST)],
)
def test_what_a_frame_is_to_the_far_end(dmac: bytes, kind: int) -> None:
    cable = Cable()
    cable.send(dmac)
    assert cable.got == []
    cable.clock.drain()
    ((now, frame),) = cable.got
    assert (now, frame.pkt_type, frame.indev) == (US, kind, cable.far)
    assert pkt_type(frame.dmac, OTHER) == kind


def test_a_border_forgets_what_the_kernel_scrubs() -> None:
    cable = Cable()
    frame = Frame.parse(OTHER + ONE + b"\x88\xb5" + bytes(46), flow=5, trail=[])
    forgotten = (
        "mark",
        "ct",
        "ctdir",
        "ctinfo",
        "route",
        "outdev",
        "physin",
        "physout",
        "sock",
        "frag_max_size",
        "ignore_df",
        "bridged_dnat",
    )
    for name in forgotten:
        setattr(frame, name, True)
    cable.near.transmit(frame)
    cable.clock.drain()
    assert [name for name in forgotten if getattr(frame, name)] == []
    assert (frame.flow, frame.trail) == (5, [])


@pytest.mark.parametrize(
    ("near", "far", "lost"),
    [(True, True, []), (False, True, [("near", "DEV_READY")]), (True, False, [("near", "DEV_READY")])],
)
def test_links_that_are_down(near: bool, far: bool, lost: list[tuple[str, str]]) -> None:
    cable = Cable()
    cable.near.up, cable.far.up = near, far
    cable.send()
    cable.clock.drain()
    assert cable.lost == lost
    assert bool(cable.got) is (not lost)


def test_a_link_that_goes_down_while_a_frame_is_on_it() -> None:
    cable = Cable()
    cable.send()
    cable.far.up = False
    cable.clock.drain()
    assert (cable.got, cable.lost) == ([], [("far", "DEV_READY")])


@pytest.mark.parametrize(("size", "lost"), [(1514, []), (1518, []), (1519, [("far", "PKT_TOO_BIG")])])
def test_frames_longer_than_the_far_end_takes(size: int, lost: list[tuple[str, str]]) -> None:
    cable = Cable()
    cable.send(size=size)
    cable.clock.drain()
    assert cable.lost == lost


def test_an_unknown_protocol_and_a_device_alone() -> None:
    cable = Cable()
    cable.far.rx_handler = None
    cable.send()
    cable.clock.drain()
    assert cable.lost == [("far", "UNHANDLED_PROTO")]
    alone = Veth(cable.clock, "alone", ONE)
    alone.drop = cable.near.drop
    alone.transmit(Frame.parse(bytes(60)))
    assert cable.lost[1:] == [("alone", "DEV_READY")]
    with pytest.raises(NotImplementedError):
        Device(cable.clock, "bare").transmit(Frame.parse(bytes(60)))


def test_netem_delays_before_the_tap() -> None:
    cable = Cable()
    seen: list[tuple[int, int]] = []
    cable.near.tap = cable.far.tap = lambda frame, direction: seen.append((cable.clock.now, direction))
    cable.near.netem = Netem(delay_ns=10 * MS)
    cable.send()
    cable.clock.run()
    assert seen == [(10 * MS, OUT), (10 * MS + US, IN)]


def test_netem_jitter_stays_in_its_bounds_and_may_reorder() -> None:
    cable = Cable()
    cable.near.netem = Netem(delay_ns=10 * MS, jitter_ns=5 * MS)
    for size in range(60, 110):
        cable.send(size=size)
    cable.clock.run()
    times, sizes = [now for now, _ in cable.got], [len(frame.buf) for _, frame in cable.got]
    assert all(10 * MS <= now <= 15 * MS + 50 * US for now in times)
    assert sorted(sizes) == list(range(60, 110)) != sizes


@pytest.mark.parametrize("lose", [frozenset(), frozenset((0,)), frozenset((1, 3))])
def test_netem_loses_named_frames(lose: frozenset[int]) -> None:
    cable = Cable()
    cable.near.netem = Netem(lose=lose)
    for size in range(60, 65):
        cable.send(size=size)
    cable.clock.run()
    assert [len(frame.buf) - 60 for _, frame in cable.got] == [number for number in range(5) if number not in lose]
    assert cable.lost == [("near", "QDISC_DROP")] * len(lose)


def test_netem_loses_by_chance_and_the_seed_decides_which() -> None:
    def survivors() -> list[int]:
        cable = Cable()
        cable.near.netem = Netem(loss=0.3)
        for size in range(60, 260):
            cable.send(size=size)
        cable.clock.run()
        return [len(frame.buf) for _, frame in cable.got]

    assert survivors() == survivors()
    assert 110 < len(survivors()) < 170


def test_loopback_keeps_route_connection_and_mark() -> None:
    clock = Clock()
    lo = Loopback(clock)
    got: list[Frame] = []
    lo.rx_handler = lambda frame, device: got.append(frame)
    frame = Frame.parse(bytes(12) + b"\x08\0" + bytes(40))
    frame.route, frame.ct, frame.mark, frame.sock, frame.outdev = "route", "ct", 7, "sock", lo
    lo.transmit(frame)
    clock.drain()
    assert got == [frame]
    assert (frame.route, frame.ct, frame.mark, frame.sock, frame.outdev, frame.pkt_type) == (
        "route",
        "ct",
        7,
        None,
        None,
        HOST,
    )
    assert (lo.noarp, lo.mtu) == (True, LOOPBACK_MTU)


def test_promiscuity_is_counted() -> None:
    device = Device(Clock(), "d")
    for on, wanted in ((False, False), (True, True), (True, True), (False, True), (False, False)):
        device.set_promisc(on)
        assert device.promisc is wanted
