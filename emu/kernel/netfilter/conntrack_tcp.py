"""TCP as connection tracking sees it from the middle: the state table, the windows, the timeouts.

Laid out to be read beside net/netfilter/nf_conntrack_proto_tcp.c; the window rules are those of the
paper named there (Guido van Rooij, Real Stateful TCP Packet Filtering). Must not know hooks, NAT or
what an endpoint does.
"""

from __future__ import annotations

from typing import Protocol

from emu.clock import TICK_NS, Clock
from emu.kernel.netfilter.conn import ASSURED, CONFIRMED, SEEN_REPLY, Conn
from emu.kernel.netfilter.conntrack_tcp_window import (
    ACCEPT,
    ACK,
    BE_LIBERAL,
    CHALLENGE_ACK,
    CL,
    CLOSE_INIT,
    CW,
    ES,
    FIN,
    FW,
    HALF,
    IG,
    IGNORE,
    INVALID,
    IV,
    LA,
    MASK,
    MAXACK_SET,
    NAMES,
    NO,
    REPEAT,
    RETRANS,
    RST,
    S2,
    SACK_PERM,
    SIMULTANEOUS_OPEN,
    SR,
    SS,
    SYN,
    SYNACK,
    TW,
    UNACK,
    UNACKNOWLEDGED,
    UNCOUNTED,
    Side,
    TcpHeader,
    TcpState,
    in_window,
    next_in_order,
    options,
)
from emu.trail import DESTROYED, Recorder, Tracked
from emu.wire.frame import ETH_HLEN, Frame
from emu.wire.tcp import ACK as TH_ACK
from emu.wire.tcp import FIN as TH_FIN
from emu.wire.tcp import HLEN, STAMPED_HLEN, TIMESTAMP_ONLY, head
from emu.wire.tcp import PSH as TH_PSH
from emu.wire.tcp import RST as TH_RST
from emu.wire.tcp import SYN as TH_SYN
from emu.wire.tcp import URG as TH_URG

# By direction, packet and state.
TABLE = (
    (  # original
        # NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
        (SS, SS, IG, IG, IG, IG, IG, SS, SS, S2),  # SYN
        (IV, IV, SR, IV, IV, IV, IV, IV, IV, SR),  # SYN-ACK
        (IV, IV, FW, FW, LA, LA, LA, TW, CL, IV),  # FIN
        (ES, IV, ES, ES, CW, CW, TW, TW, CL, IV),  # ACK
        (IV, CL, CL, CL, CL, CL, CL, CL, CL, CL),  # RST
        (IV, IV, IV, IV, IV, IV, IV, IV, IV, IV),  # none of these
    ),
    (  # reply
        # NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
        (IV, S2, IV, IV, IV, IV, IV, SS, IV, S2),  # SYN
        (IV, SR, IG, IG, IG, IG, IG, IG, IG, SR),  # SYN-ACK
        (IV, IV, FW, FW, LA, LA, LA, TW, CL, IV),  # FIN
        (IV, IG, SR, ES, CW, CW, TW, TW, CL, IG),  # ACK
        (IV, CL, CL, CL, CL, CL, CL, CL, CL, CL),  # RST
        (IV, IV, IV, IV, IV, IV, IV, IV, IV, IV),  # none of these
    ),
)
_PLAIN = frozenset((ES, FW, CW, LA))  # new states that need no second thought before the windows
_IN_ORDER = frozenset((ACK, FIN))

# Combinations that a sound stack sends; PSH, ECE and CWR may go with any
_VALID = {
    TH_SYN: SYN, TH_SYN | TH_URG: SYN, TH_SYN | TH_ACK: SYNACK, TH_RST: RST, TH_RST | TH_ACK: RST,
    TH_FIN | TH_ACK: FIN, TH_FIN | TH_ACK | TH_URG: FIN, TH_ACK: ACK, TH_ACK | TH_URG: ACK,
}  # fmt: skip
# by the header's byte of flags: which packet, and how many sequence numbers SYN and FIN take
_INDEX = tuple(_VALID.get(flags & 63 & ~TH_PSH, -1) for flags in range(256))
_COUNTED = tuple(bool(flags & TH_SYN) + bool(flags & TH_FIN) for flags in range(256))
_SURE, _QUIET = CONFIRMED | ASSURED, 0xFF & ~TH_PSH
UNANSWERED = UNACK + 1  # the last of `timeouts_of`
_LENGTH = tuple(offset >> 4 << 2 for offset in range(256))  # of the header, by the byte of its data offset


class Tracker(Protocol):
    """What TCP uses of the connection table: the clock, the sysctls, and the end of a connection."""

    clock: Clock
    tcp_timeouts: tuple[int, ...]
    tcp_loose: int
    tcp_be_liberal: int
    tcp_max_retrans: int
    tcp_ignore_invalid_rst: int
    recorder: Recorder | None

    def kill(self, conn: Conn) -> None: ...

    def changed(self, conn: Conn) -> None: ...


# What the state table makes of a segment: CHECK or SKIP the windows, or a verdict; and the states after and before.
Step = tuple[int, int, int]
CHECK, SKIP = 5, 6  # beside the verdicts


def timeouts_of(timeouts: list[int]) -> tuple[int, ...]:
    """The timeouts of the states, RETRANS and UNACK, with that of a standing connection where something is not acknowledged."""
    return (*timeouts, min(timeouts[ES], timeouts[UNACK]))


def set_closing(conn: Conn, tracker: Tracker) -> None:
    """nf_conntrack_tcp_set_closing: the host itself refuses a segment of a connection with a RST."""
    tcp = conn.tcp
    if tcp is not None and conn.status & CONFIRMED and tcp.state != CL:
        tcp.state = CL
        conn.expires_ns = tracker.clock.jiffy_ns + tracker.tcp_timeouts[CL]
        tracker.changed(conn)


def tcp_packet(  # noqa: C901  # in one piece: every segment of every hop passes here, a call costs 8 % of it
    conn: Conn, frame: Frame, direction: int, tracker: Tracker
) -> int:
    """Judge a segment and move the connection: ACCEPT, UNCOUNTED (accepted past nf_ct_refresh_acct), INVALID or REPEAT
    (the entry is removed: look up again)."""
    known = frame.plain
    if known is not None:
        seq, ack, flags, win, payload, stamps = known
        size, plain = len(payload), True
        header = STAMPED_HLEN if stamps else HLEN
    else:
        buf, l4 = frame.buf, frame.l4
        stop = ETH_HLEN + frame.tot_len
        if stop < l4 + HLEN or len(buf) < stop:
            return INVALID
        seq, ack, offset, flags, win = head(buf, l4)
        header = _LENGTH[offset]
        size = stop - l4 - header
        if header < HLEN or size < 0:
            return INVALID
        plain = header == HLEN or (header == STAMPED_HLEN and buf.startswith(TIMESTAMP_ONLY, l4 + HLEN))
    tcp, status = conn.tcp, conn.status
    if plain and flags & _QUIET == TH_ACK and tcp is not None and tcp.state == ES and status & _SURE == _SURE:
        # the next ACK of an established connection, which stays so
        learnt = next_in_order(tcp, direction, ACK, seq, ack, size, win)
        if learnt:
            tcp.last_index = ACK
            timeout_ns = tracker.tcp_timeouts[UNANSWERED if learnt & UNACKNOWLEDGED else ES]
            now = tracker.clock.now
            conn.expires_ns = now - now % TICK_NS + timeout_ns
            return ACCEPT
    index = _INDEX[flags]
    if index < 0:
        return INVALID
    buf, l4 = frame.buf, frame.l4
    size += _COUNTED[flags]
    end = seq + size & MASK
    if not status & CONFIRMED:
        tcp = None
    th: TcpHeader | None = None
    if tcp is None:
        th = TcpHeader(index, seq, ack, end, win, flags, buf, l4, header)
        tcp = _new(th, tracker)
        if tcp is None:
            return INVALID
        conn.tcp = tcp
    old = tcp.state
    new = TABLE[direction][index][old]
    action = CHECK
    if index == SYN and old == NO and not direction:
        # what `in_window` comes to: the side that opens has begun, and the other one may answer into its window
        tcp.sides[1].maxend = win or 1
        action = SKIP
    elif not (
        new in _PLAIN
        or (old == NO and not direction)
        or (new == SR and index == SYNACK)
        or (new == TW and index == ACK and tcp.last_index != SYN)
    ):  # else none of `_special`'s cases, as with the segments of an orderly opening and end
        if th is None:
            th = TcpHeader(index, seq, ack, end, win, flags, buf, l4, header)
        action, new, old = _special(conn, tcp, direction, new, th, tracker)
    if action == CHECK:
        if not (plain and index in _IN_ORDER and next_in_order(tcp, direction, index, seq, ack, size, win)):
            if th is None:
                th = TcpHeader(index, seq, ack, end, win, flags, buf, l4, header)
            action = in_window(tcp, direction, th, tracker.tcp_be_liberal)
        if action == IGNORE:
            return UNCOUNTED
        if action == INVALID:
            _shrink(conn, tcp, direction, index, tracker)
            return INVALID
    elif action != SKIP:
        if action == REPEAT and frame.trail is not None:
            frame.trail.append(Tracked(conn, DESTROYED))
        return action

    tcp.last_index = index
    tcp.last_dir = direction
    tcp.state = new
    sides = tcp.sides
    if old != new:
        if new == FW:
            sides[direction].flags |= CLOSE_INIT
        trail = frame.trail
        if trail is not None and status & CONFIRMED:
            alone = index == RST and not status & SEEN_REPLY
            trail.append(Tracked(conn, DESTROYED if alone else NAMES[new]))
    timeouts = tracker.tcp_timeouts
    timeout_ns = timeouts[new]
    if tcp.retrans >= tracker.tcp_max_retrans and timeout_ns > timeouts[RETRANS]:
        timeout_ns = timeouts[RETRANS]
    elif index == RST:
        timeout_ns = timeouts[CL]
    elif (sides[0].flags | sides[1].flags) & UNACKNOWLEDGED and timeout_ns > timeouts[UNACK]:
        timeout_ns = timeouts[UNACK]
    elif not tcp.last_win and timeout_ns > timeouts[RETRANS]:
        timeout_ns = timeouts[RETRANS]
    if not status & SEEN_REPLY:
        if index == RST:
            # the only answer is a reset: there never was a connection
            tracker.kill(conn)
            return ACCEPT
        if index == SYN and old == SS:
            return UNCOUNTED
        if new == ES and timeout_ns > timeouts[UNACK]:
            timeout_ns = timeouts[UNACK]
    elif new == ES and not status & ASSURED and old in (SR, ES):
        conn.status = status | ASSURED
    conn.expires_ns = tracker.clock.jiffy_ns + timeout_ns if status & CONFIRMED else timeout_ns
    if tracker.recorder is not None and (old != new or conn.status != status):
        tracker.changed(conn)
    return ACCEPT


def _new(th: TcpHeader, tracker: Tracker) -> TcpState | None:
    """The state of a connection that this segment opens, or is picked up at (tcp_loose); None refuses it."""
    first = TABLE[0][th.kind][NO]
    if first == IV or (first != SS and not tracker.tcp_loose):
        return None
    tcp = TcpState()
    side = tcp.sides[0]
    side.end = side.maxend = th.end
    side.maxwin = th.win or 1
    if first == SS:
        options(side, th)
    else:
        side.maxend = th.end + side.maxwin & MASK
        side.flags = tcp.sides[1].flags = SACK_PERM | BE_LIBERAL
    return tcp


def _special(conn: Conn, tcp: TcpState, direction: int, new: int, th: TcpHeader, tracker: Tracker) -> Step:
    """The cases of nf_conntrack_tcp_packet's switch over the new state."""
    old = tcp.state
    index, seq, ack, end, win = th[:5]
    sides = tcp.sides
    if new == IV:
        return INVALID, new, old
    if new == SS and old >= TW:
        if (sides[0].flags | sides[1].flags) & CLOSE_INIT or (tcp.last_dir == direction and tcp.last_index == RST):
            # a closed connection is opened again: this SYN is a new one's
            tracker.kill(conn)
            return REPEAT, new, old
        new = IG
    if new == IG:
        if index == SYNACK and tcp.last_index == SYN and tcp.last_dir != direction and ack == tcp.last_end:
            # it answers a SYN that was ignored: both ends took that SYN, so take it after all
            other = sides[tcp.last_dir]
            other.end = other.maxend = tcp.last_end
            other.maxwin = tcp.last_win or 1
            other.scale = tcp.last_wscale
            tcp.last_flags &= ~CHALLENGE_ACK
            other.flags = tcp.last_flags
            side = sides[direction]
            side.end = side.maxend = side.maxwin = side.maxack = side.scale = 0
            side.flags &= BE_LIBERAL
            return CHECK, SR, SS
        tcp.last_index, tcp.last_dir, tcp.last_seq, tcp.last_end, tcp.last_win = index, direction, seq, end, win
        if index == SYN and direction == 0:
            seen = Side()
            options(seen, th)
            tcp.last_flags = seen.flags
            tcp.last_wscale = seen.scale
            if old == LA:
                tcp.last_flags |= CHALLENGE_ACK
        if old == SS and index == ACK and direction == 1:
            tcp.last_ack = ack
        return UNCOUNTED, new, old
    if new == TW:
        if (
            old == LA
            and index == ACK
            and tcp.last_dir != direction
            and tcp.last_index == SYN
            and tcp.last_flags & CHALLENGE_ACK
        ):
            tcp.last_flags &= ~CHALLENGE_ACK
            return UNCOUNTED, new, old
    elif new == S2:
        tcp.last_flags |= SIMULTANEOUS_OPEN
    elif new == SR:
        if direction == 1 and index == ACK and tcp.last_flags & SIMULTANEOUS_OPEN:
            new = ES
    elif new == CL and index == RST:
        return _reset(conn, tcp, direction, seq, ack, tracker)
    return CHECK, new, old


def _reset(conn: Conn, tcp: TcpState, direction: int, seq: int, ack: int, tracker: Tracker) -> Step:
    """Which resets are taken (RFC 5961)."""
    old, new = tcp.state, CL
    if old in (FW, LA, TW, CL, CW):
        return SKIP, new, old
    other = tcp.sides[1 - direction]
    established = old == ES and bool(conn.status & ASSURED)
    if other.flags & MAXACK_SET and tcp.last_index != SYN:
        if seq == 0 and not established:
            return CHECK, new, old
        if (seq - other.maxack) & HALF and not tracker.tcp_ignore_invalid_rst:
            return INVALID, new, old
        if not established or seq == other.maxack:
            return CHECK, new, old
        if tcp.last_index == ACK and tcp.last_dir == direction and seq == tcp.last_end:
            return CHECK, new, old
        new = old  # the numbers do not match exactly: a challenge ACK may follow
    if ack == tcp.last_end and (
        (conn.status & SEEN_REPLY and tcp.last_index == SYN and tcp.last_dir != direction)
        or (not conn.status & ASSURED and tcp.last_index == ACK)
    ):
        return SKIP, new, old
    if old == SS and tcp.last_index == ACK and tcp.last_dir == 1 and seq == tcp.last_ack:
        return SKIP, new, old
    return CHECK, new, old


def _shrink(conn: Conn, tcp: TcpState, direction: int, index: int, tracker: Tracker) -> None:
    """nf_tcp_handle_invalid: out-of-window FIN or RST from both sides shortens the timeout of a connection that is over."""
    if not conn.status & ASSURED or index not in (RST, FIN):
        return
    if tcp.last_dir != direction and tcp.last_index in (FIN, RST):
        left_ns = conn.expires_ns - tracker.clock.jiffy_ns
        unack_ns = tracker.tcp_timeouts[UNACK]
        if left_ns >= 120_000_000_000 and left_ns > unack_ns:
            conn.expires_ns = tracker.clock.jiffy_ns + unack_ns
    else:
        tcp.last_index = index
        tcp.last_dir = direction
