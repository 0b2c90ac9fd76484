"""The IPv6 header, as far as a bridge looks at it: where the packet ends (RFC 8200).

Must not know what follows the header.
"""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN

IP6_HLEN = 40
HOP_BY_HOP = 0


def end(buf: bytes | bytearray) -> int:
    """The offset in an Ethernet frame where its IPv6 packet ends; 0 if there is no whole packet (br_validate_ipv6).

    A packet of length 0 whose first extension header is hop-by-hop may be a jumbogram: its end is the frame's.
    """
    if len(buf) < ETH_HLEN + IP6_HLEN or buf[14] >> 4 != 6:
        return 0
    length = buf[18] << 8 | buf[19]
    if not length and buf[20] == HOP_BY_HOP:
        return len(buf)
    stop = ETH_HLEN + IP6_HLEN + length
    return stop if stop <= len(buf) else 0
