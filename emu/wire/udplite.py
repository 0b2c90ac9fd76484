"""UDP-Lite: the header of UDP, with the part of the packet that the checksum covers in place of the length (RFC 3828).

Must not know connections.
"""

from __future__ import annotations

from emu.wire.checksum import ones_sum, pseudo_sum
from emu.wire.frame import ETH_HLEN, UDPLITE, Frame

HLEN = 8


def coverage(frame: Frame) -> int:
    """How many bytes, header included, the checksum covers; 0 in the header means all. -1: the header or the field is
    not right, or there is no checksum, which UDP-Lite must have."""
    buf, l4 = frame.buf, frame.l4
    length = ETH_HLEN + frame.tot_len - l4
    if length < HLEN or not (buf[l4 + 6] or buf[l4 + 7]):
        return -1
    covered = buf[l4 + 4] << 8 | buf[l4 + 5]
    if not covered:
        return length
    return covered if HLEN <= covered <= length else -1


def problem(frame: Frame) -> str:
    """The kernel's reason to drop a received packet, "" if it is sound (__udp4_lib_rcv, udplite_checksum_init)."""
    buf, l4 = frame.buf, frame.l4
    length = ETH_HLEN + frame.tot_len - l4
    if length < HLEN:
        return "NOT_SPECIFIED"
    if buf[l4 + 4] << 8 | buf[l4 + 5] > length:
        return "PKT_TOO_SMALL"
    return "" if checksum_ok(frame) else "UDP_CSUM"


def checksum_ok(frame: Frame, proto: int = UDPLITE) -> bool:
    """Is the coverage right, and the checksum over it? `proto` is what the pseudo header names."""
    covered, l4 = coverage(frame), frame.l4
    if covered < 0:
        return False
    pseudo = pseudo_sum(frame.src, frame.dst, proto, ETH_HLEN + frame.tot_len - l4)
    return (ones_sum(frame.buf[l4 : l4 + covered]) + pseudo) % 0xFFFF == 0
