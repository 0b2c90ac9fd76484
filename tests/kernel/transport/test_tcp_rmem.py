"""What a receiver is charged: the numbers that `ss -m` showed on Linux 6.18, for a stream that no program reads."""

from __future__ import annotations

import pytest

from emu.kernel.transport.tcp_options import Segment, bursts, coalesced
from emu.kernel.transport.tcp_rmem import RxSkb
from emu.wire.tcp import ACK, FIN, PSH, RST

# written one at a time, acknowledged one at a time; offloads off
ALONE = {
    (1,): 833,
    (64,): 896,
    (500,): 1332,
    (1448,): 2280,
    (8948,): 9780,
    (100, 100, 100): 932,  # into the room that the first was given
    (60, 4): 892,
    (60, 5): 1729,
    (384, 128): 1216,
    (384, 129): 2177,
    (1408, 129): 3201,
    (1409, 129): 2241,
    (1448, 1448, 688): 2280,
    (1448, 1448, 689): 3801,
    (1000, 100, 100, 600): 3264,
}
# one write, cut into segments by software GSO
CUT = {
    (1448, 1): 2304,
    (1448, 88): 2304,
    (1448, 89): 3584,
    (1448, 512): 3584,
    (1448, 513): 4608,
    (1448, 1448): 4608,
    (548, 548): 2304,
    (548, 548, 548): 4608,
    (512, 40): 2112,
    (512, 65): 2560,
    (8948, 1): 16640,
}
# segments whose payload stays in pages: by lo, or devices with offloads
PAGED = {(100, 100, 100): 1132, (3000,): 3832, (3000, 3000): 6832, (1448,) * 17: 25448, (1448,) * 18: 27728}


def charged(sizes: tuple[int, ...], cut: bool, gso: bool) -> int:
    queue: list[RxSkb] = []
    for size in sizes:
        skb = RxSkb(bytes(size), cut, size if gso else 0)
        if not queue or queue[-1].join(skb) is None:
            queue.append(skb)
    assert sum(len(skb.data) for skb in queue) == sum(sizes)
    return sum(skb.truesize for skb in queue)


@pytest.mark.parametrize("sizes", ALONE)
def test_segments_sent_alone(sizes: tuple[int, ...]) -> None:
    assert charged(sizes, cut=False, gso=False) == ALONE[sizes]


@pytest.mark.parametrize("sizes", CUT)
def test_segments_of_one_burst(sizes: tuple[int, ...]) -> None:
    assert charged(sizes, cut=True, gso=False) == CUT[sizes]


@pytest.mark.parametrize("sizes", PAGED)
def test_segments_in_pages(sizes: tuple[int, ...]) -> None:
    assert charged(sizes, cut=False, gso=True) == PAGED[sizes]


def test_a_condensed_buffer_costs_its_head() -> None:
    skb = RxSkb(bytes(1448), cut=False, gso_size=0)
    skb.condense()
    assert skb.truesize == 4096 + 256


def ack(number: int, flags: int = ACK, window: int = 500, ts: tuple[int, int] = (7, 8)) -> Segment:
    return Segment(1000, number, flags, window, ts=ts)


def test_acks_that_wait_for_a_call_to_end_become_one() -> None:
    tail = ack(2000)
    assert coalesced(tail, ack(3000, window=400))
    assert (tail.ack, tail.window) == (3000, 400)
    assert coalesced(tail, ack(3000, ACK | FIN))
    assert tail.flags == ACK | FIN
    tail = ack(2000)
    for other in (ack(3000, ts=(8, 8)), ack(3000, ACK | RST), Segment(1000, 3000, ACK, 1, b"x", ts=(7, 8))):
        assert not coalesced(tail, other)
    assert (tail.ack, tail.window) == (2000, 500)


def test_bursts_of_one_call_are_kept_apart() -> None:
    sizes = [Segment(at * 10, 0, ACK | (PSH if at in (2, 5) else 0), 1, bytes(10), burst=True) for at in range(6)]
    assert [len(run) for run in bursts(sizes)] == [3, 3]
