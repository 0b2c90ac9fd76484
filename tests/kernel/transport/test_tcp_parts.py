"""The small parts of TCP: sequence numbers, the table of states, options as bytes, resets; Scapy and Linux's layout as judges."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.kernel.transport.seqnum import MASK, distance, expand
from emu.kernel.transport.tcp_options import Segment, options_bytes, parse_options, parse_segment, reset_for
from emu.kernel.transport.tcp_sock import TcpConfig, TcpSock
from emu.kernel.transport.tcp_states import TRANSITIONS, Event, State, next_state
from emu.kernel.transport.tcp_timer import patience_ns
from emu.wire.tcp import ACK, FIN, PSH, RST, SYN

u32 = st.integers(0, MASK)


@given(st.integers(0, 1 << 40), st.integers(-(1 << 31), (1 << 31) - 1))
def test_expand_finds_the_near_number(near: int, offset: int) -> None:
    number = near + offset
    assert expand(number & MASK, near) == number
    assert distance(near & MASK, number & MASK) == offset


FIGURE_5 = {
    "active open, then the server's side closes first": (
        "CLOSE",
        ["active open", "rcv SYN,ACK", "rcv FIN", "close", "rcv ACK of FIN"],
        "CLOSE",
    ),
    "simultaneous open": ("CLOSE", ["active open", "rcv SYN", "rcv ACK of SYN"], "ESTABLISHED"),
    "passive open, active close": (
        "CLOSE",
        ["passive open", "rcv SYN", "rcv ACK of SYN", "close", "rcv ACK of FIN", "rcv FIN", "timeout"],
        "CLOSE",
    ),
    "simultaneous close": ("ESTABLISHED", ["close", "rcv FIN", "rcv ACK of FIN"], "TIME_WAIT"),
    "FIN and ACK of FIN in one": ("FIN_WAIT1", ["rcv FIN,ACK of FIN"], "TIME_WAIT"),
    "what is not in the figure changes nothing": ("LISTEN", ["rcv FIN", "rcv RST", "timeout"], "LISTEN"),
}


@pytest.mark.parametrize(("start", "events", "end"), FIGURE_5.values(), ids=FIGURE_5)
def test_figure_5(start: State, events: list[Event], end: State) -> None:
    state = start
    for event in events:
        state = next_state(state, event)
    assert state == end


def test_the_table_uses_only_its_words_and_everything_can_end() -> None:
    states, events = set(get_args(State)), set(get_args(Event))
    assert {s for s, _ in TRANSITIONS} | set(TRANSITIONS.values()) == states
    assert {e for _, e in TRANSITIONS} == events
    for state in states - {"CLOSE", "LISTEN"}:
        assert {TRANSITIONS[state, event] for event in ("rcv RST", "abort", "timeout")} == {"CLOSE"}


@pytest.mark.parametrize(
    ("segment", "layout"),
    [
        (Segment(0, 0, SYN, 0, mss=1460, wscale=7, sack_ok=True), "020405b4 01010402 01030307"),
        (
            Segment(0, 0, SYN, 0, mss=1460, wscale=7, sack_ok=True, ts=(1, 2)),
            "020405b4 0402080a 00000001 00000002 01030307",
        ),
        (Segment(0, 0, SYN, 0, mss=1460, ts=(1, 2)), "020405b4 0101080a 00000001 00000002"),
        (Segment(0, 0, SYN, 0, mss=536), "02040218"),
        (Segment(0, 0, ACK, 0, ts=(1, 2)), "0101080a 00000001 00000002"),
        (Segment(0, 0, ACK, 0, sack=((1, 2), (3, 4))), "01010512 00000001 00000002 00000003 00000004"),
        (
            Segment(0, 0, ACK, 0, ts=(1, 2), sack=((3, 4),)),
            "0101080a 00000001 00000002 0101050a 00000003 00000004",
        ),
        (Segment(0, 0, ACK, 0), ""),
    ],
)
def test_layout_of_options(segment: Segment, layout: str) -> None:
    data = options_bytes(segment)
    assert data == bytes.fromhex(layout)
    assert len(data) % 4 == 0
    assert parse_options(data) == (segment.mss, segment.wscale, segment.sack_ok, segment.ts, segment.sack)


@given(st.binary(max_size=40))
def test_options_never_raise(data: bytes) -> None:
    found = parse_options(data)
    assert found.wscale is None or found.wscale <= 14


def test_scapy_reads_what_we_write_and_we_read_what_scapy_writes() -> None:
    tcp: Any = pytest.importorskip("scapy.layers.inet").TCP
    segment = Segment(5, 6, SYN | ACK, 64240, b"", 1460, 7, True, (8, 9))
    options = options_bytes(segment)
    header = tcp(sport=1, dport=2, seq=5, ack=6, flags="SA", window=64240, dataofs=5 + len(options) // 4)
    raw = bytes(header) + options + b"payload"
    parsed = parse_segment(raw)
    assert parsed == Segment(5, 6, SYN | ACK, 64240, b"payload", 1460, 7, True, (8, 9))
    again = tcp(raw)
    assert dict(o for o in again.options if o[0] != "NOP") == {
        "MSS": 1460,
        "SAckOK": b"",
        "Timestamp": (8, 9),
        "WScale": 7,
    }
    assert parse_segment(bytes(tcp(seq=1, ack=2, flags="PA", window=3) / b"x")) == Segment(1, 2, PSH | ACK, 3, b"x")


@pytest.mark.parametrize(
    ("segment", "answer"),
    [
        (Segment(100, 0, SYN, 1), (0, 101, RST | ACK)),
        (Segment(100, 0, FIN, 1, b"abc"), (0, 104, RST | ACK)),
        (Segment(MASK, 0, SYN, 1), (0, 0, RST | ACK)),
        (Segment(100, 7, ACK, 1, b"abc"), (7, 0, RST)),
        (Segment(100, 7, SYN | ACK, 1), (7, 0, RST)),
    ],
)
def test_reset_for(segment: Segment, answer: tuple[int, int, int]) -> None:
    reset = reset_for(segment)
    assert reset is not None
    assert (reset.seq, reset.ack, reset.flags) == answer
    assert reset.window == 0
    assert reset.stateless


def test_no_reset_for_a_reset() -> None:
    assert reset_for(Segment(1, 2, RST, 0)) is None


@pytest.mark.parametrize(("retries", "seconds"), [(15, 924.6), (8, 102.2), (9, 204.6), (3, 3.0)])
def test_patience(retries: int, seconds: float) -> None:
    tp = TcpSock(TcpConfig(), 1460, 0, 0, 0, nodelay=False)
    assert patience_ns(tp, retries) == pytest.approx(seconds * 1e9)
