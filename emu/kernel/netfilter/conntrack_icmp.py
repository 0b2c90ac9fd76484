"""ICMP as connection tracking sees it: queries are connections, errors belong to what they quote.

Also the checks of length and checksum that conntrack makes before it believes a packet. Must not know
hooks or NAT (net/netfilter/nf_conntrack_proto_icmp.c, nf_conntrack_inet_error; RFC 792).
"""

from __future__ import annotations

from emu.kernel.netfilter.conn import Tuple5
from emu.wire.checksum import ones_sum, pseudo_sum
from emu.wire.frame import ETH_HLEN, ICMP, ICMP_QUERY, IP_OFFSET, TCP, UDP, Frame
from emu.wire.proto import WITH_PORTS

NR_ICMP_TYPES = 18


def quoted_tuple(frame: Frame) -> Tuple5 | None:
    """The tuple of the packet that an ICMP error quotes; None where the quote is too short or a later fragment."""
    buf = frame.buf
    at = frame.l4 + 8
    if len(buf) < at + 20 or buf[at] >> 4 != 4:
        return None
    l4 = at + (buf[at] & 15) * 4
    proto = buf[at + 9]
    if (buf[at + 6] << 8 | buf[at + 7]) & IP_OFFSET:
        return None
    src, dst = int.from_bytes(buf[at + 12 : at + 16], "big"), int.from_bytes(buf[at + 16 : at + 20], "big")
    if proto in WITH_PORTS:
        if len(buf) < l4 + 4:
            return None
        return proto, src, dst, buf[l4] << 8 | buf[l4 + 1], buf[l4 + 2] << 8 | buf[l4 + 3]
    if proto == ICMP:
        if len(buf) < l4 + 8:
            return None
        ident = buf[l4 + 4] << 8 | buf[l4 + 5] if buf[l4] in ICMP_QUERY else 0
        return proto, src, dst, ident, buf[l4] << 8 | buf[l4 + 1]
    return proto, src, dst, 0, 0


def sound(frame: Frame) -> bool:
    """Lengths and the transport checksum hold (TCP, UDP, ICMP; others are not looked into)."""
    buf, l4, proto = frame.buf, frame.l4, frame.proto
    stop = ETH_HLEN + frame.ip_length
    length = stop - l4
    if length < 0 or len(buf) < stop:
        return False
    if proto == ICMP:
        return length >= 8 and ones_sum(buf[l4:stop]) == 0
    if proto == UDP:
        if length < 8 or not 8 <= buf[l4 + 4] << 8 | buf[l4 + 5] <= length:
            return False
        if not (buf[l4 + 6] or buf[l4 + 7]):
            return True
        length = buf[l4 + 4] << 8 | buf[l4 + 5]
        return (ones_sum(buf[l4 : l4 + length]) + pseudo_sum(frame.src, frame.dst, UDP, length)) % 0xFFFF == 0
    if proto == TCP:
        return length >= 20 and (ones_sum(buf[l4:stop]) + pseudo_sum(frame.src, frame.dst, TCP, length)) % 0xFFFF == 0
    return True
