"""Whether a transport header is right, as connection tracking asks before it tracks: lengths first, then the checksum.

The checksum is asked of received packets only (nf_checksum). Must not know connections.
"""

from __future__ import annotations

from emu.wire import gre, sctp, udplite
from emu.wire.checksum import ones_sum, pseudo_sum
from emu.wire.frame import ETH_HLEN, GRE, ICMP, SCTP, TCP, UDP, UDPLITE, Frame

_HEADERS = {ICMP: 8, TCP: 20, UDP: 8, SCTP: sctp.HLEN, UDPLITE: udplite.HLEN}  # bytes, at least


def well_formed(frame: Frame) -> bool:
    """Is the header whole, and are the lengths in it right? Of other protocols: is the packet whole?"""
    buf, l4, proto = frame.buf, frame.l4, frame.proto
    stop = ETH_HLEN + frame.tot_len
    length = stop - l4
    if length < _HEADERS.get(proto, 0) or len(buf) < stop:
        return False
    if proto == UDP:
        return 8 <= buf[l4 + 4] << 8 | buf[l4 + 5] <= length
    if proto == UDPLITE:
        return udplite.coverage(frame) >= 0
    return proto != GRE or gre.trackable(frame)


def checksum_right(frame: Frame) -> bool:
    """Is the transport checksum of a well-formed packet right (TCP, UDP, UDP-Lite, SCTP, ICMP; others have none)?

    As the kernel does, a UDP checksum is computed over the whole packet, also behind the datagram's end, and that of
    UDP-Lite with UDP's number in the pseudo header.
    """
    buf, l4, proto = frame.buf, frame.l4, frame.proto
    if proto == UDPLITE:
        return udplite.checksum_ok(frame, UDP)
    if proto == SCTP:
        return sctp.checksum_ok(frame)
    if proto not in (ICMP, TCP, UDP) or (proto == UDP and not (buf[l4 + 6] or buf[l4 + 7])):
        return True
    stop = ETH_HLEN + frame.tot_len
    pseudo = 0 if proto == ICMP else pseudo_sum(frame.src, frame.dst, proto, stop - l4)
    return (ones_sum(buf[l4:stop]) + pseudo) % 0xFFFF == 0


def sound(frame: Frame) -> bool:
    """Are lengths and checksum right?"""
    return well_formed(frame) and checksum_right(frame)
