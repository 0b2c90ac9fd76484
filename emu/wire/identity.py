"""The bytes of a packet that no hop rewrites: they show that two captured frames are one packet.

Must not know captures.
"""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN, ICMP, ICMP_QUERY, IP_OFFSET, SCTP, TCP, UDP, UDPLITE, Frame


def unchanged(frame: Frame) -> bytes:
    """The transport header and data without ports and checksums."""
    buf, l4 = frame.buf, frame.l4
    end = ETH_HLEN + frame.tot_len
    first = not frame.frag & IP_OFFSET
    if first and frame.proto == TCP:
        rest = bytes(buf[l4 + 4 : l4 + 16] + buf[l4 + 20 : end])
    elif first and frame.proto in (UDP, UDPLITE):
        rest = bytes(buf[l4 + 4 : l4 + 6] + buf[l4 + 8 : end])
    elif first and frame.proto == SCTP:
        rest = bytes(buf[l4 + 4 : l4 + 8] + buf[l4 + 12 : end])
    elif first and frame.proto == ICMP:
        # NAT rewrites the quote of an error, but not an echo's payload
        query = frame.dport >> 8 in ICMP_QUERY
        rest = bytes(buf[l4 : l4 + 2] + (buf[l4 + 6 : end] if query else b""))
    else:
        rest = bytes(buf[l4:end])
    return rest
