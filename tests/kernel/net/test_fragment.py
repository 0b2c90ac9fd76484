"""Reassembly in any order, cutting, and what a device without offloads makes of a large segment; Scapy is the judge."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.l2 import Ether

from emu.clock import Clock
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.wire.frame import Frame
from emu.wire.offload import segments
from emu.wire.rewrite import leave_checksum, set_destination, set_source
from emu.wire.tcp import plain_of

ETHER = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")


def frames(size: int, step: int, flags: str = "") -> list[Frame]:
    packet = IP(src="10.0.0.1", dst="10.0.0.2", id=7, flags=flags) / UDP(sport=1, dport=2) / bytes(size)
    return [Frame.parse(bytes(ETHER / each)) for each in fragment(packet, step)]


def namespace() -> Netns:
    return boot.namespace(Clock(1), "host")


@settings(max_examples=40, deadline=None)
@given(st.integers(1500, 4000), st.integers(30, 180), st.data())
def test_any_order_makes_the_same_datagram_and_leaves_as_it_came(size: int, eighths: int, data: st.DataObject) -> None:
    net, parts = namespace(), frames(size, eighths * 8)
    whole = None
    for part in data.draw(st.permutations(parts)):
        assert whole is None
        whole = net.ipv4.ops.defragment(part)
    assert whole is not None
    assert IP(bytes(whole.buf[14:]))[UDP].len == size + 8
    assert whole.frag_max_size == max(part.tot_len for part in frames(size, eighths * 8))
    assert [bytes(each.buf) for each in net.ipv4.ops.pieces(whole, 1500)] == [
        bytes(each.buf) for each in frames(size, eighths * 8)
    ]
    assert not net.ipv4.reassembly.waiting


@pytest.mark.parametrize(
    ("order", "reasons"),
    [
        ((0, 1, 1, 2), {"DUP_FRAG": 1}),
        ((0, 0, 1, 2), {"DUP_FRAG": 1}),
        ((0, 1), {"FRAG_REASM_TIMEOUT": 2}),
    ],
)
def test_twice_and_never(order: tuple[int, ...], reasons: dict[str, int]) -> None:
    net = namespace()
    clock = net.clock
    made = [net.ipv4.ops.defragment(frames(3000, 1480)[number]) for number in order]
    clock.run_until(31 * 10**9)
    assert (made[-1] is not None) is (2 in order)
    assert dict(net.drops) == reasons


def test_an_overlap_ends_the_datagram() -> None:
    net, (first, second, third) = namespace(), frames(3000, 1480)
    overlapping = Frame.parse(bytes(second.buf))
    overlapping.frag -= 1
    for part in (first, overlapping, third):
        assert net.ipv4.ops.defragment(part) is None
    assert net.drops["NOT_SPECIFIED"] == 2
    assert net.ipv4.reassembly.waiting == 1  # the third begins anew


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=1, max_size=5000), st.integers(400, 1460), st.integers(0, 2**32 - 1), st.integers(1, 65535))
def test_a_large_segment_becomes_what_scapy_builds(payload: bytes, size: int, addr: int, port: int) -> None:
    head = IP(src="10.0.0.1", dst="10.0.0.2", id=65534, flags="DF")
    frame = Frame.parse(bytes(ETHER / head / TCP(sport=1, dport=2, seq=2**32 - 50, flags="PA") / payload))
    frame.plain = plain_of(frame)  # as a host does that built it
    leave_checksum(frame)
    frame.gso_size = size if len(payload) > size else 0
    set_source(frame, addr, port)
    set_destination(frame, addr ^ 1, 80)
    cut = segments(frame)
    assert all(each.plain == plain_of(Frame.parse(each.buf)) for each in cut)
    made = [IP(bytes(each.buf[14:])) for each in cut]
    assert b"".join(bytes(each[TCP].payload) for each in made) == payload
    for number, each in enumerate(made):
        sums = (each.chksum, each[TCP].chksum, each.len)
        again = each.copy()
        del again.chksum, again[TCP].chksum, again.len
        again = IP(bytes(again))
        assert (again.chksum, again[TCP].chksum, again.len) == sums
        assert each.id == (65534 + number) % 65536
        assert each[TCP].seq == (2**32 - 50 + number * size) % 2**32
        assert str(each[TCP].flags) == ("PA" if number == len(made) - 1 else "A")
