"""The IPv6 header as far as a bridge looks at it: is a frame with its EtherType an IPv6 packet (RFC 8200)?

Must not know what a packet's payload means, nor who asks.
"""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN, Frame

ETH_P_IPV6 = 0x86DD
HLEN = 40
HOP_BY_HOP, PAD1, JUMBO = 0, 0, 0xC2
_OPTIONS = ETH_HLEN + HLEN  # where the hop-by-hop options begin


def check(frame: Frame) -> str | None:
    """The kernel's reason to drop a bridged frame, None if its header is valid (br_validate_ipv6). Bytes behind the payload
    length are not read."""
    buf = frame.buf
    if len(buf) < _OPTIONS or buf[14] >> 4 != 6:
        return "IP_INHDR"
    if _OPTIONS + (buf[18] << 8 | buf[19]) > len(buf):
        return "IP_INHDR"
    if buf[20] == HOP_BY_HOP and not _options_fit(buf):
        return "IP_INHDR"
    return None


def _options_fit(buf: bytearray) -> bool:
    """nf_ip6_check_hbh_len: do the hop-by-hop options fill their header? A jumbo payload fits no frame."""
    if len(buf) < _OPTIONS + 8:
        return False
    at = _OPTIONS + 2
    end = _OPTIONS + (buf[_OPTIONS + 1] + 1) * 8
    if end > len(buf):
        return False
    while at < end:
        if buf[at] == PAD1:
            at += 1
            continue
        if at + 2 > end or buf[at] == JUMBO:
            return False
        at += buf[at + 1] + 2
    return at == end
