"""The token bucket beside the kernel's: what leaves, what is dropped, and when; and an ifb device in the way in."""

from __future__ import annotations

import socket
import time
from itertools import pairwise
from typing import NamedTuple

import pytest

from emu.clock import MS, US
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.ifb import Ifb
from emu.kernel.link.tbf import RateConfig, Tbf, buffer_ticks, limit_bytes, text
from emu.lab import Lab
from emu.trail import Note
from emu.twin.space import Space, TwinError
from emu.wire.frame import Frame
from twins import needs_twin

TRIES = 3
A, B = bytes((2, 0, 0, 0, 0, 1)), bytes((2, 0, 0, 0, 0, 2))


class Shape(NamedTuple):
    """Bytes per second, bytes, bytes; and the frames that are sent at once, by their sizes."""

    rate: int
    burst: int
    limit: int
    sizes: tuple[int, ...]


SHAPES = [
    Shape(100_000, 5_000, 12_000, (1000,) * 40),
    Shape(125_000, 3_000, 3_000, (100, 1400, 1400, 60, 1400, 60, 60, 60, 1400) * 3),
    Shape(50_000, 1_000, 4_000, (999, 1000, 1001, 1500, 100)),
    Shape(1_000_000, 60_000, 20_000, (1514,) * 60),
    Shape(20_000, 2_000, 2_000, (64,) * 90),
]


def frame(size: int) -> bytes:
    return B + A + b"\x88\xb5" + bytes(size - 14)


def shaped(shape: Shape) -> tuple[list[tuple[int, float]], Tbf]:
    """The frames that arrive (size, seconds after the first) in the emulator."""
    lab = Lab()
    a, b = lab.host("a"), lab.host("b")
    near, _ = boot.veth(a, "eth0", b, "eth0", A, B)
    near.qdisc = Tbf(shape.rate, buffer_ticks(shape.rate, shape.burst), shape.limit, now=lab.clock.now)
    assert isinstance(near.qdisc, Tbf)
    for size in shape.sizes:
        a.born += 1
        near.transmit(Frame.parse(frame(size), 0, []))
    lab.run(5)
    got = lab.frames("b/eth0")
    return [(len(each.data), (each.time_ns - got[0].time_ns) / 1e9) for each in got], near.qdisc


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("_mark", [pytest.param("", marks=needs_twin)])
def test_the_kernel_lets_the_same_frames_through(shape: Shape, _mark: str) -> None:
    ours, tbf = shaped(shape)
    wanted = [size for size, _ in ours], tbf.dropped
    for _ in range(TRIES):  # a sender that a busy machine holds up gives the bucket time to fill
        seen = let_through(shape, ours[-1][1] + 0.1)
        if seen == wanted:
            break
    assert seen == wanted


def let_through(shape: Shape, wait_s: float) -> tuple[list[int], int]:
    """The sizes of the frames that come through the kernel's bucket, and how many it dropped."""
    a, b = Space("a"), Space("b")
    try:
        a.run("ip", "link", "add", "eth0", "address", A.hex(":"), "type", "veth", "peer", "name", "eth0", "address", B.hex(":"), "netns", b.path)  # fmt: skip
        for space in (a, b):
            space.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
            space.run("ip", "link", "set", "eth0", "up")
        bucket = f"rate {shape.rate * 8}bit burst {shape.burst} limit {shape.limit}".split()
        try:
            a.run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *bucket)
        except TwinError as error:
            pytest.skip(f"skipped: {error}")
        with b.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as receiver:
            receiver.bind(("eth0", 0x88B5))
            receiver.setblocking(False)
            with a.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
                sender.setsockopt(263, 20, 0)  # PACKET_QDISC_BYPASS off
                sender.bind(("eth0", 0))
                for size in shape.sizes:
                    try:
                        sender.send(frame(size))
                    except OSError:  # ENOBUFS: the queue dropped it
                        continue
            time.sleep(wait_s)
            theirs = []
            while True:
                try:
                    theirs.append(len(receiver.recv(65536)))
                except BlockingIOError:
                    break
        counted = a.run("tc", "-s", "qdisc", "show", "dev", "eth0")
    finally:
        a.close()
        b.close()
    return theirs, int(counted.partition("(dropped ")[2].partition(",")[0])


def test_when_frames_leave() -> None:
    """A burst at once; then each when the rate has filled the bucket for it."""
    ours, tbf = shaped(SHAPES[0])
    times = [at for _, at in ours]
    assert len(ours) == 17 and (tbf.sent, tbf.dropped) == (17, 23)
    assert all(at < 0.001 for at in times[:5])
    assert times[5:] == pytest.approx([0.01 * number for number in range(1, 13)], abs=0.0005)


def test_the_arithmetic_of_the_kernel() -> None:
    """psched_ratecfg_precompute's factor has its highest bit set; a rate of 125000 bytes per second: 8000 ns a byte."""
    rate = RateConfig.of(125_000)
    assert rate.mult & 1 << 31 and rate.l2t_ns(1) == 8000 and rate.l2t_ns(1514) == 1514 * 8000
    assert rate.ns_t2l(12_112_000) == 1514
    assert buffer_ticks(125_000, 125_000) == 15_625_000
    assert limit_bytes(125_000, 125_000) == 128_125
    assert text(Tbf(125_000, buffer_ticks(125_000, 125_000), 128_125)) == "tbf rate 125000 burst 125000 lat 24999"
    with pytest.raises(InputError, match="invalid argument"):
        Tbf(10**9, 0, 1000)


def test_a_peak_rate_spreads_the_burst() -> None:
    lab = Lab()
    a, b = lab.host("a"), lab.host("b")
    near, _ = boot.veth(a, "eth0", b, "eth0", A, B)
    mtu = buffer_ticks(1_000_000, 1_000)
    near.qdisc = Tbf(100_000, buffer_ticks(100_000, 5_000), 12_000, peak=1_000_000, mtu=mtu, now=lab.clock.now)
    for _ in range(6):
        near.transmit(Frame.parse(frame(1000), 0, []))
    lab.run(1)
    times = [each.time_ns // US for each in lab.frames("b/eth0")]
    gaps = [after - before for before, after in pairwise(times)]
    assert all(gap == pytest.approx(1000, abs=3) for gap in gaps[:4]) and gaps[4] > 5000


def test_what_waits_is_gone_with_the_link() -> None:
    lab = Lab()
    a, b = lab.host("a"), lab.host("b")
    near, _ = boot.veth(a, "eth0", b, "eth0", A, B)
    near.qdisc = Tbf(1_000, buffer_ticks(1_000, 1_000), 5_000, now=lab.clock.now)
    for _ in range(3):
        a.born += 1
        near.transmit(Frame.parse(frame(1000), 0, []))
    assert near.qdisc.backlog == 2000 and a.absorbed == 0
    a.set_link("eth0", up=False)
    assert near.qdisc.backlog == 0 and a.absorbed == 2
    lab.run(5)
    assert len(lab.frames("b/eth0")) == 1


def test_an_ifb_device_delays_what_comes_in() -> None:
    """The other device's taps see a frame when it comes in, the ifb's when it leaves; then it goes on."""
    lab = Lab()
    a, b = lab.host("a"), lab.host("b")
    near, far = boot.veth(a, "eth0", b, "eth0", A, B)
    boot.address(a, "eth0", "10.0.0.1/24")
    boot.address(b, "eth0", "10.0.0.2/24")
    ifb = Ifb(lab.clock, "ifb0", bytes((2, 0, 0, 0, 0, 9)))
    b.attach(ifb)
    far.ingress = ifb.redirect
    ifb.qdisc = Tbf(10_000, buffer_ticks(10_000, 100), 1_000, now=lab.clock.now)
    for _ in range(2):
        a.sockets.send_packet(frame(100), device="eth0")
    lab.run(1)
    came = [each.time_ns for each in lab.frames("b/eth0")]
    left = [each.time_ns for each in lab.frames("b/ifb0")]
    assert len(came) == len(left) == 2 and came[1] - came[0] < 1 * MS and left[1] - left[0] > 9 * MS
    assert near.up


def test_a_drop_has_its_reason() -> None:
    lab = Lab(capture=False)
    a, b = lab.host("a"), lab.host("b")
    near, _ = boot.veth(a, "eth0", b, "eth0", A, B)
    near.qdisc = Tbf(1_000, buffer_ticks(1_000, 500), 5_000, now=lab.clock.now)
    seen: list[str] = []
    a.drop_listeners.append(lambda dropped, fact: seen.append(fact.reason))
    sent = Frame.parse(frame(600), 0, [])
    near.transmit(sent)
    assert seen == ["QDISC_DROP"]
    assert Note("eth0 drops the frame: longer than the bucket of 500 bytes (tbf)") in (sent.trail or [])
