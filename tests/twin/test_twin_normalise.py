"""Numbers that a kernel draws become words; a wrong one must not become the right word."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Ether

from emu.twin.normalise import Normaliser


def syn(seq: int) -> IP:
    return IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=4000, dport=80, flags="S", seq=seq)


def lines(*packets: IP) -> list[str]:
    normaliser = Normaliser({})
    frames = [bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet) for packet in packets]
    return [normaliser.render(frame, length=len(frame), loopback=False) for frame in frames]


def rejected(seq: int) -> IP:
    return IP(src="10.0.0.2", dst="10.0.0.1") / ICMP(type=3, code=3) / syn(seq)


def test_a_quoted_syn_counts_from_its_own_beginning() -> None:
    assert "[S] seq=0 " in lines(syn(5000), rejected(5000))[1]


def test_a_quote_with_a_wrong_number_is_not_taken_for_the_right_one() -> None:
    right, wrong = lines(syn(5000), rejected(5000))[1], lines(syn(5000), rejected(5001))[1]
    assert right != wrong


def test_a_syn_that_only_a_quote_shows_has_no_relative_number() -> None:
    """Near another connection's beginning or far from it, the words are the same."""
    near, far = lines(syn(5000), rejected(6000))[1], lines(syn(5000), rejected(5000 + (1 << 30)))[1]
    assert near == far
    assert "[S] seq=seq1 " in near
