"""The windows of a TCP connection seen from the middle: may this segment belong to it, and what does it teach?

tcp_in_window of net/netfilter/nf_conntrack_proto_tcp.c, with the numbers modulo 2**32; the rules are those
of the paper named there (Guido van Rooij, Real Stateful TCP Packet Filtering). Must not know the
connection, its timeouts or hooks.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.wire import tcp as wire
from emu.wire.tcp import ACK as TH_ACK
from emu.wire.tcp import RST as TH_RST
from emu.wire.tcp import SYN as TH_SYN

# enum tcp_conntrack; the names are what `conntrack -L` prints
NAMES = (
    "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
    "SYN_SENT2",
)  # fmt: skip
NO, SS, SR, ES, FW, CW, LA, TW, CL, S2 = range(10)
IV, IG = 10, 11  # invalid; ignored (let through, nothing learnt)
RETRANS, UNACK = 10, 11  # the two further timeouts, after those of the states

# Which packet: enum tcp_bit_set
SYN, SYNACK, FIN, ACK, RST, NONE = range(6)

# IP_CT_TCP_FLAG_* of one side; the last two live in last_flags
WINDOW_SCALE, SACK_PERM, CLOSE_INIT, BE_LIBERAL, UNACKNOWLEDGED, MAXACK_SET = 1, 2, 4, 8, 16, 32
CHALLENGE_ACK, SIMULTANEOUS_OPEN = 64, 128
MAX_ACK_WINDOW = 66000
MAX_WSCALE = 14

ACCEPT, INVALID, REPEAT, UNCOUNTED = range(4)  # UNCOUNTED: accepted, but neither deadline nor counters move
IGNORE = 4
MASK, HALF = 0xFFFFFFFF, 0x80000000


class TcpHeader(NamedTuple):
    """A segment's header: which packet it is, its numbers (`end`: the one after its last byte), and where its bytes lie."""

    kind: int  # SYN, SYNACK, FIN ...
    seq: int
    ack: int
    end: int
    win: int
    flags: int
    buf: bytearray
    l4: int
    length: int  # of the header with its options


class Side:
    """What was seen of one direction: `end` the highest sequence sent, `maxend` the highest allowed to it,
    `maxwin` the largest window it offered, `maxack` the highest it acknowledged."""

    __slots__ = ("end", "maxend", "maxwin", "maxack", "scale", "flags")

    def __init__(self) -> None:
        self.end = self.maxend = self.maxwin = self.maxack = self.scale = self.flags = 0


class TcpState:
    """struct ip_ct_tcp: the state, both sides, and the last packet that counted."""

    __slots__ = (
        "state", "sides", "retrans", "last_dir", "last_index", "last_seq", "last_ack", "last_end", "last_win",
        "last_wscale", "last_flags",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sides = (Side(), Side())
        self.state = self.retrans = self.last_dir = self.last_seq = self.last_ack = self.last_end = 0
        self.last_win = self.last_wscale = self.last_flags = 0
        self.last_index = NONE

    @property
    def name(self) -> str:
        return NAMES[self.state]


def next_in_order(tcp: TcpState, direction: int, index: int, seq: int, ack: int, size: int, win: int) -> int:
    """What `in_window` does to an ACK or FIN that begins where its side ended, repeats nothing and has no SACK: the flags of
    both sides after it, which are never 0. `size` counts a FIN. 0: not such a one.

    Holds for almost every segment behind the handshake and costs half.
    """
    if direction:
        receiver, sender = tcp.sides
    else:
        sender, receiver = tcp.sides
    lag, room = receiver.end - ack, sender.maxend - seq
    if lag < 0:
        lag &= MASK
    if room < 0:
        room &= MASK
    if (
        seq != sender.end
        or lag >= MAX_ACK_WINDOW
        or room >= HALF
        or not win
        or not receiver.maxwin
        or not sender.maxwin
    ):
        return 0
    end = seq
    if size:
        end += size
        if end > MASK:
            end &= MASK
    if index == ACK:
        if (
            tcp.last_seq == seq
            and tcp.last_ack == ack
            and tcp.last_end == end
            and tcp.last_win == win
            and tcp.last_dir == direction
        ):
            return 0
        tcp.last_dir = direction
        tcp.last_seq = seq
        tcp.last_ack = ack
        tcp.last_end = end
        tcp.last_win = win
        tcp.retrans = 0
    win <<= sender.scale
    if sender.maxwin < win:
        sender.maxwin = win
    flags, others = sender.flags, receiver.flags
    if size:
        sender.end = end
        flags |= UNACKNOWLEDGED
        if size > room:
            receiver.maxwin += size - room
    more = ack - sender.maxack
    if 0 <= more < HALF or not more & HALF or not flags & MAXACK_SET:
        sender.maxack = ack
        flags |= MAXACK_SET
    edge = ack + win
    more = edge - receiver.maxend
    if 0 <= more < HALF or not more & HALF:
        receiver.maxend = edge if edge <= MASK else edge & MASK
    sender.flags = flags
    if not lag and others & UNACKNOWLEDGED:
        receiver.flags = others = others & ~UNACKNOWLEDGED
    return flags | others


def in_window(  # noqa: C901  # the kernel's function, whose cases share a dozen numbers
    tcp: TcpState, direction: int, th: TcpHeader, liberal: int
) -> int:
    """tcp_in_window: ACCEPT and learn, IGNORE (let through, learn nothing) or INVALID. All numbers modulo 2**32."""
    sender, receiver = tcp.sides[direction], tcp.sides[1 - direction]
    index, seq, ack, end, win, flags, _buf, _l4, length = th
    sack = _sack(th) if length > 20 and receiver.flags & SACK_PERM else ack
    if not sender.maxwin:
        if flags & TH_SYN:
            _init_sender(sender, receiver, direction, th)
            if not flags & TH_ACK:
                return ACCEPT
        else:
            sender.end = end
            sender.maxwin = win << sender.scale or 1
            sender.maxend = end + sender.maxwin & MASK
            if not receiver.maxwin:
                receiver.end = receiver.maxend = sack
            elif sack == receiver.end + 1 & MASK:
                receiver.end = sack
    elif flags & TH_SYN and (sender.end - end) & HALF and tcp.state in (SS, SR):
        _init_sender(sender, receiver, direction, th)
        if direction and not flags & TH_ACK:
            return ACCEPT
    r_end = receiver.end
    if not flags & TH_ACK or (flags & TH_RST and not ack):
        ack = sack = r_end
    if flags & TH_RST and not seq and tcp.state == SS:
        seq = end = sender.end
    s_end, r_maxwin, s_maxend = sender.end, receiver.maxwin, sender.maxend
    ack_window = max(sender.maxwin, MAX_ACK_WINDOW)
    if not (seq - s_maxend - 1) & HALF:
        verdict = INVALID
        over = end - s_maxend + 1 & MASK
        if (
            r_maxwin
            and (s_end - r_maxwin - 1 - end) & HALF
            and (r_end - ack_window - 1 - sack) & HALF
            and over <= r_maxwin
            and (sack - r_end - 1) & HALF
        ):
            sender.end = end
            sender.flags |= UNACKNOWLEDGED
            verdict = IGNORE
        return ACCEPT if liberal or sender.flags & BE_LIBERAL else verdict
    if not (sack - r_end - 1) & HALF:
        return ACCEPT if liberal or sender.flags & BE_LIBERAL else INVALID
    if (r_maxwin and not (s_end - r_maxwin - 1 - end) & HALF) or not (r_end - ack_window - 1 - sack) & HALF:
        return ACCEPT if liberal or sender.flags & BE_LIBERAL else IGNORE

    if not flags & TH_SYN:
        win <<= sender.scale
    offered = win + (sack - ack & MASK)
    if sender.maxwin < offered:
        sender.maxwin = offered
    if (s_end - end) & HALF:
        sender.end = end
        sender.flags |= UNACKNOWLEDGED
    if flags & TH_ACK and (not sender.flags & MAXACK_SET or (sender.maxack - ack) & HALF):
        sender.maxack = ack
        sender.flags |= MAXACK_SET
    if r_maxwin and (s_maxend - end) & HALF:
        receiver.maxwin += end - s_maxend & MASK
    edge = sack + win
    if (receiver.maxend - 1 - edge) & HALF:
        receiver.maxend = edge + (not win) & MASK
    if ack == r_end:
        receiver.flags &= ~UNACKNOWLEDGED
    if index == ACK:
        if (
            tcp.last_seq == seq
            and tcp.last_ack == ack
            and tcp.last_end == end
            and tcp.last_win == th.win
            and tcp.last_dir == direction
        ):
            tcp.retrans += 1
        else:
            tcp.last_dir, tcp.last_seq, tcp.last_ack, tcp.last_end, tcp.last_win = direction, seq, ack, end, th.win
            tcp.retrans = 0
    return ACCEPT


def _init_sender(sender: Side, receiver: Side, direction: int, th: TcpHeader) -> None:
    """tcp_init_sender: its side begins where a SYN or SYN-ACK ends; scaling needs both sides' option."""
    sender.end = sender.maxend = th.end
    sender.maxwin = th.win or 1
    options(sender, th)
    if direction and not sender.flags & receiver.flags & WINDOW_SCALE:
        sender.scale = receiver.scale = 0


def options(side: Side, th: TcpHeader) -> None:
    """Window scale and SACK-permitted of a SYN (tcp_options)."""
    if th.length == 20:
        return
    side.scale = 0
    side.flags &= BE_LIBERAL
    scale = wire.usual_scale(th.buf, th.l4) if th.length == wire.SYN_HLEN else -1
    if scale >= 0:
        side.scale = min(scale, MAX_WSCALE)
        side.flags |= SACK_PERM | WINDOW_SCALE
        return
    for kind, value in wire.options(th.buf, th.l4, th.length):
        if kind == 4 and not value:
            side.flags |= SACK_PERM
        elif kind == 3 and len(value) == 1:
            side.scale = min(value[0], MAX_WSCALE)
            side.flags |= WINDOW_SCALE


def _sack(th: TcpHeader) -> int:
    """The highest right edge of the SACK blocks, or the acknowledgement if that is higher (tcp_sack)."""
    sack = th.ack
    if th.length == 32 and th.buf.startswith(wire.TIMESTAMP_ONLY, th.l4 + wire.HLEN):
        return sack
    if th.length == wire.SYN_HLEN and wire.usual_scale(th.buf, th.l4) >= 0:
        return sack
    for kind, value in wire.options(th.buf, th.l4, th.length):
        if kind == 5 and len(value) >= 8 and len(value) % 8 == 0:
            for at in range(4, len(value), 8):
                edge = int.from_bytes(value[at : at + 4], "big")
                if (sack - edge) & HALF:
                    sack = edge
            return sack
    return sack
