"""The lines of `conntrack -L`. Must not know how connections are found or timed."""

from __future__ import annotations

from emu.clock import SECOND, TICK_NS
from emu.kernel.netfilter.conn import ASSURED, CONFIRMED, SEEN_REPLY, Conn
from emu.wire.addr import ip4_text
from emu.wire.frame import GRE, ICMP
from emu.wire.proto import ICMPV6, PROTOCOL_NAMES, WITH_PORTS

_L4_NAMES = {proto: PROTOCOL_NAMES[proto] for proto in (ICMP, GRE, *WITH_PORTS)} | {ICMPV6: "icmpv6"}


def seconds_left(conn: Conn, now_ns: int) -> int:
    """Until it expires, rounded down."""
    return max(conn.expires_ns - (now_ns - now_ns % TICK_NS if conn.status & CONFIRMED else 0), 0) // SECOND


def render(conn: Conn, now_ns: int) -> str:
    """The line of `conntrack -L -o extended`."""
    proto = conn.orig[0]
    words = [f"{'ipv4':<8} 2 {_L4_NAMES.get(proto, 'unknown'):<8} {proto} {seconds_left(conn, now_ns)}"]
    if conn.state:
        words.append(conn.state)
    words += _tuple_words(conn, 0)
    if not conn.status & SEEN_REPLY:
        words.append("[UNREPLIED]")
    words += _tuple_words(conn, 1)
    if conn.status & ASSURED:
        words.append("[ASSURED]")
    words.append(f"mark={conn.mark}")
    if conn.zone[0] and conn.zone[0] == conn.zone[1]:
        words.append(f"zone={conn.zone[0]}")
    if conn.helper:
        words.append(f"helper={conn.helper}")
    words.append("use=1")
    return " ".join(words)


def _tuple_words(conn: Conn, direction: int) -> list[str]:
    proto, src, dst, sport, dport = conn.tuple_of(direction)
    words = [f"src={ip4_text(src)} dst={ip4_text(dst)}"]
    if proto == ICMP:
        words.append(f"type={dport >> 8} code={dport & 255} id={sport}")
    elif proto == GRE:
        words.append(f"srckey=0x{sport:x} dstkey=0x{dport:x}")
    elif proto in _L4_NAMES:
        words.append(f"sport={sport} dport={dport}")
    if conn.packets is not None and conn.bytes is not None:
        words.append(f"packets={conn.packets[direction]} bytes={conn.bytes[direction]}")
    if conn.zone[direction] and conn.zone[0] != conn.zone[1]:
        words.append(f"zone-{'reply' if direction else 'orig'}={conn.zone[direction]}")
    return words
