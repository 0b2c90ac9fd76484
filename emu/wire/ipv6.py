"""The IPv6 header, as far as a bridge looks at it: where the packet ends (RFC 8200).

Must not know what follows the header and its hop-by-hop options.
"""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN

IP6_HLEN = 40
HOP_BY_HOP, PAD1, JUMBO = 0, 0, 0xC2
_OPTIONS = ETH_HLEN + IP6_HLEN  # where the hop-by-hop options begin, if there are any


def end(buf: bytes | bytearray) -> int:
    """The offset in an Ethernet frame where its IPv6 packet ends; 0 if there is no whole packet (br_validate_ipv6)."""
    if len(buf) < _OPTIONS or buf[14] >> 4 != 6:
        return 0
    if buf[20] == HOP_BY_HOP and not _options_fit(buf):
        return 0
    stop = _OPTIONS + (buf[18] << 8 | buf[19])
    return stop if stop <= len(buf) else 0


def _options_fit(buf: bytes | bytearray) -> bool:
    """nf_ip6_check_hbh_len: do the hop-by-hop options fill their header? A jumbo payload fits no frame."""
    if len(buf) < _OPTIONS + 8:
        return False
    at = _OPTIONS + 2
    stop = _OPTIONS + (buf[_OPTIONS + 1] + 1) * 8
    if stop > len(buf):
        return False
    while at < stop:
        if buf[at] == PAD1:
            at += 1
            continue
        if at + 2 > stop or buf[at] == JUMBO:
            return False
        at += buf[at + 1] + 2
    return at == stop
