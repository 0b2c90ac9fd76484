"""TCP's states, timeouts and windows. Expectations were read off a Linux 6.18 that forwarded the same segments.

A script is words of direction and segment: `>S` the client's SYN, `<SA` the server's answer, `>PA:10` ten
bytes; sequence numbers count on by themselves; `>A@-100` shifts the sequence, `>A^+1000` the acknowledgement.
"""

from __future__ import annotations

import re
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attributes import attributes
from emu.clock import SECOND, TICK_NS, Clock
from emu.kernel.netfilter import conntrack_tcp
from emu.kernel.netfilter.conn import ASSURED, Conn
from emu.kernel.netfilter.conntrack import Conntrack
from emu.kernel.netfilter.conntrack_list import render
from emu.kernel.netfilter.conntrack_tcp_window import NAMES, Side, TcpHeader, _sack, options
from emu.kernel.netfilter.hooks import POST_ROUTING, PRE_ROUTING
from emu.kernel.sysctl import Sysctls
from emu.wire import tcp
from emu.wire.frame import TCP, Frame
from rules import FakeNetns, ct_state

CLIENT, SERVER = (0x0A000001, 40001), (0x0A000002, 80)
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}
WORD = re.compile(r"([<>])([FSRPA]*)(?::(\d+))?(?:@([+-]\d+))?(?:\^([+-]\d+))?")
SYN_OPTIONS = bytes.fromhex("020405b40101040203030700")


class Wire:
    """Both ends of one connection and the namespace between them."""

    def __init__(self, **sysctls: int) -> None:
        self.clock = Clock()
        self.hooks = FakeNetns(self.clock, "n").hooks
        sysctl = Sysctls({f"net.netfilter.nf_conntrack_{name}": value for name, value in sysctls.items()})
        self.ct = Conntrack("n", self.clock, sysctl, self.hooks)
        self.ct.enable()
        self.next = [1000, 0xFFFFFFF0]  # the server's numbers wrap

    def segment(self, word: str) -> Frame:
        match = WORD.fullmatch(word)
        assert match is not None, word
        arrow, letters, length, seq_shift, ack_shift = match.groups()
        me = int(arrow == "<")
        size, flags = int(length or 0), sum(FLAGS[letter] for letter in letters)
        seq = self.next[me] + int(seq_shift or 0)
        ack = self.next[1 - me] + int(ack_shift or 0) if flags & 16 else 0
        if seq_shift is None:
            self.next[me] += size + (flags & 1) + (flags >> 1 & 1)
        (src, sport), (dst, dport) = (SERVER, CLIENT) if me else (CLIENT, SERVER)
        options = SYN_OPTIONS if flags & 2 else b""
        buf = bytearray(14 + 20 + 20 + len(options) + size)
        buf[12:14] = b"\x08\x00"
        buf[14] = 0x45
        buf[16:18] = (len(buf) - 14).to_bytes(2, "big")
        buf[22:24] = bytes((64, TCP))
        buf[26:34] = src.to_bytes(4, "big") + dst.to_bytes(4, "big")
        buf[34:38] = sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
        buf[38:46] = (seq % 2**32).to_bytes(4, "big") + (ack % 2**32).to_bytes(4, "big")
        buf[46:50] = bytes((20 + len(options) << 2, flags)) + (502).to_bytes(2, "big")
        buf[54 : 54 + len(options)] = options
        frame = Frame.parse(buf)
        frame.valid = True
        return frame

    def send(self, word: str) -> Frame:
        frame = self.segment(word)
        assert self.hooks.run(PRE_ROUTING, frame) is None
        if frame.ct is not None:
            assert self.hooks.run(POST_ROUTING, frame) is None
        return frame

    def play(self, script: str) -> Frame:
        for word in script.split():
            frame = self.send(word)
        return frame

    @property
    def conn(self) -> Conn | None:
        return next(iter(self.ct), None)

    def left(self) -> int:
        assert self.conn is not None
        return (self.conn.expires_ns - self.clock.now) // SECOND


OPEN = ">S <SA >A"


@pytest.mark.parametrize(
    ("script", "state", "seconds", "assured"),
    [
        (">S", "SYN_SENT", 120, False),
        (">S <SA", "SYN_RECV", 60, False),
        (OPEN, "ESTABLISHED", 432000, True),
        (f"{OPEN} >PA:10", "ESTABLISHED", 300, True),  # unacknowledged data
        (f"{OPEN} >PA:10 <A", "ESTABLISHED", 432000, True),
        (f"{OPEN} >FA", "FIN_WAIT", 120, True),
        (f"{OPEN} >FA <A", "CLOSE_WAIT", 60, True),
        (f"{OPEN} >FA <A <FA", "LAST_ACK", 30, True),
        (f"{OPEN} >FA <FA", "LAST_ACK", 30, True),
        (f"{OPEN} >FA <FA >A", "TIME_WAIT", 120, True),
        (f"{OPEN} <FA >A >FA <A", "TIME_WAIT", 120, True),
        (f"{OPEN} >R", "CLOSE", 10, True),
        (f"{OPEN} <RA", "CLOSE", 10, True),
        (">S <S", "SYN_SENT2", 120, False),
        (">A", "ESTABLISHED", 300, False),  # picked up in the middle
        (">A <A", "ESTABLISHED", 300, False),
        (">A <A >A", "ESTABLISHED", 432000, True),
        (f"{OPEN} >A >A >A >A", "ESTABLISHED", 300, True),  # the same three times over
    ],
)
def test_states(script: str, state: str, seconds: int, assured: bool) -> None:
    wire = Wire()
    wire.play(script)
    conn = wire.conn
    assert conn is not None and conn.tcp is not None
    assert (conn.tcp.name, wire.left(), bool(conn.status & ASSURED)) == (state, seconds, assured)


def test_a_reset_that_answers_a_syn_leaves_nothing() -> None:
    wire = Wire()
    syn = wire.send(">S")
    reset = wire.send("<RA@-4294967280")
    assert wire.conn is None and reset.ct is syn.ct and ct_state(reset) == "ESTABLISHED"


def test_a_repeated_syn_does_not_renew() -> None:
    wire = Wire()
    wire.send(">S")
    wire.clock.now += 100 * SECOND
    wire.send(">S@-1")
    assert wire.left() == 20


def test_a_repeated_syn_is_not_counted() -> None:
    wire = Wire(acct=1)
    wire.send(">S")
    wire.send(">S@-1")
    assert wire.conn is not None and wire.conn.packets == [1, 0]
    wire.send("<SA")
    wire.send(">A")
    assert wire.conn.packets == [2, 1]


def test_a_new_syn_after_time_wait_is_a_new_connection() -> None:
    wire = Wire()
    old = wire.play(f"{OPEN} >FA <FA >A").ct
    again = wire.send(">S")
    assert again.ct is not old and ct_state(again) == "NEW" and len(wire.ct) == 1


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ("<SA", "INVALID"),
        (">FA", "INVALID"),
        (">RA", "INVALID"),
        (">SF", "INVALID"),  # flags that no stack combines
        (">", "INVALID"),
        (">P", "INVALID"),
        (">S >A", "INVALID"),
        (">S <SA <S", "INVALID"),
        (f"{OPEN} >SA", "INVALID"),
        (f"{OPEN} >S", "ESTABLISHED"),  # ignored
        (f"{OPEN} >A@+100000", "INVALID"),  # over the window
        (f"{OPEN} >A^+1", "INVALID"),  # acknowledges data that was never sent
        (f"{OPEN} >A@-100", "ESTABLISHED"),  # a keepalive's kin
        (f"{OPEN} >A@-90000", "ESTABLISHED"),  # ignored
        (f"{OPEN} <R@-1", "INVALID"),  # before what the other side acknowledged
        (f"{OPEN} <R@+1", "ESTABLISHED"),  # let through, but not believed
    ],
)
def test_verdicts(script: str, verdict: str) -> None:
    assert ct_state(Wire().play(script)) == verdict


def test_what_is_not_believed_changes_nothing() -> None:
    wire = Wire()
    wire.play(OPEN)
    for word in ("<R@+1", ">S@+5", ">A@-90000", "<SA@-1"):
        wire.send(word)
        assert wire.conn is not None and wire.conn.tcp is not None and wire.conn.tcp.name == "ESTABLISHED"


def test_loose_and_liberal() -> None:
    assert ct_state(Wire(tcp_loose=0).play(">A")) == "INVALID"
    assert ct_state(Wire(tcp_be_liberal=1).play(f"{OPEN} >A@+100000")) == "ESTABLISHED"


def test_the_line_after_a_clean_close() -> None:
    wire = Wire()
    wire.play(f"{OPEN} >PA:6 <A <PA:3 >A >FA <FA >A")
    wire.clock.now += TICK_NS
    assert wire.conn is not None
    assert render(wire.conn, wire.clock.now) == (
        "ipv4     2 tcp      6 119 TIME_WAIT src=10.0.0.1 dst=10.0.0.2 sport=40001 dport=80 "
        "src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40001 [ASSURED] mark=0 use=1"
    )


def test_the_trail_has_moves_only() -> None:
    wire = Wire()
    states: list[str] = []
    for word in f"{OPEN} >PA:6 <A >FA".split():
        frame = wire.segment(word)
        frame.trail = []
        wire.hooks.run(PRE_ROUTING, frame)
        wire.hooks.run(POST_ROUTING, frame)
        states.append(" ".join(fact.state for fact in frame.trail))
    assert states == ["NEW", "SYN_RECV", "ESTABLISHED", "", "", "FIN_WAIT"]


WORDS = st.builds(
    lambda arrow, flags, size, seq, ack: f"{arrow}{flags}:{size}{seq}{ack}",
    st.sampled_from("<>"),
    st.sampled_from(["A", "A", "PA", "PA", "FA", "R", "S", "SA"]),
    st.sampled_from([0, 0, 1, 1448, 60000]),
    st.sampled_from(["", "", "", "", "@-1", "@-1448", "@+70000"]),
    st.sampled_from(["", "", "", "^-1448", "^-70000", "^+1"]),
)


def facts(wire: Wire) -> list[object]:
    conn = wire.conn
    if conn is None or conn.tcp is None:
        return []
    tcp = conn.tcp
    own = [getattr(tcp, name) for name in attributes(type(tcp)) if name != "sides"]
    return [conn.expires_ns, conn.status, *own, *(getattr(s, name) for s in tcp.sides for name in attributes(type(s)))]


@given(st.lists(WORDS, max_size=15))
def test_the_short_path_is_the_long_one(words: list[str]) -> None:
    short, long = Wire(), Wire()
    for word in [*OPEN.split(), *words]:
        one = short.send(word)
        with patch.object(conntrack_tcp, "next_in_order", return_value=False):
            two = long.send(word)
        assert ct_state(one) == ct_state(two) and facts(short) == facts(long)


@given(st.lists(WORDS, max_size=12))
def test_every_segment_leaves_a_state_that_has_a_name(words: list[str]) -> None:
    wire = Wire()
    for word in words:
        frame = wire.send(word)
        assert (frame.ct is None) == (ct_state(frame) == "INVALID")
        for conn in wire.ct:
            assert conn.tcp is not None and conn.tcp.name in NAMES[1:]
            assert conn.expires_ns > wire.clock.now


LINUX_SYN = bytes.fromhex("020405b4 0402 080a 01020304 00000000 01 03030e")
OTHER_ORDER = bytes.fromhex("020405b4 01 03030e 0402 080a 01020304 00000000")
WITH_SACK = bytes.fromhex("0101 050a 00000001 00000009 01010101 01010101")


@pytest.mark.parametrize(
    "given",
    [LINUX_SYN, LINUX_SYN[:-1] + b"\xff", OTHER_ORDER, WITH_SACK, bytes(20), LINUX_SYN[:16] + b"\x01\x03\x02\x07"],
    ids=["as Linux sends it", "too large a scale", "another order", "SACK blocks", "no options", "no scale"],
)
def test_the_options_of_a_usual_syn_are_read_as_all_are(given: bytes) -> None:
    header = TcpHeader(0, 5, 7, 6, 100, 2, bytearray(20) + bytearray(given), 0, 20 + len(given))

    def read() -> tuple[int, int, int]:
        side = Side()
        options(side, header)
        return side.scale, side.flags, _sack(header)

    found = read()
    with patch.object(tcp, "usual_scale", return_value=-1):
        assert read() == found
    assert (tcp.usual_scale(header.buf, 0) >= 0) == (given.startswith(LINUX_SYN[:19]))
