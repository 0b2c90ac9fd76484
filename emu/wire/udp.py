"""UDP datagrams made from a template (RFC 768). Must not know sockets."""

from __future__ import annotations

from struct import Struct
from typing import Any

from emu.wire.checksum import ones_sum
from emu.wire.frame import IP_HLEN, UDP, Frame
from emu.wire.ipv4 import stamp

HLEN = 8
HEADERS = IP_HLEN + HLEN  # bytes of an IPv4 packet with a datagram, without its data
_HEADER = Struct("!HHHH")
_number = int.from_bytes


def build(
    template: bytes,
    src: int,
    dst: int,
    sport: int,
    dport: int,
    payload: bytes,
    *,
    ident: int,
    frag: int,
    ttl: int,
    tos: int,
    flow: int,
    trail: list[Any] | None,
    summed: bool = True,
) -> Frame:
    """A datagram with right checksums and no Ethernet addresses yet. `frag`: 0x4000 sets DF; not `summed`: its own checksum is 0."""
    buf = bytearray(template)
    size = len(payload)
    length = 8 + size
    check = 0
    if summed:  # a word of 32 bits is the sum of its halves, modulo 0xFFFF, and so is the payload of its words
        data = _number(payload, "big")
        check = 0xFFFF - (src + dst + UDP + 2 * length + sport + dport + (data << 8 if size & 1 else data)) % 0xFFFF
    _HEADER.pack_into(buf, 34, sport, dport, length, check)
    buf += payload
    frame = stamp(buf, UDP, src, dst, ident, frag, ttl, tos, flow, trail)
    frame.sport, frame.dport = sport, dport
    return frame


def without_checksum(frame: Frame) -> bool:
    """Has the datagram no checksum (a field of 0)?"""
    buf, at = frame.buf, frame.l4 + 6
    return len(buf) >= at + 2 and not buf[at] | buf[at + 1]


def checksum_ok(frame: Frame) -> bool:
    """Is the datagram's checksum right (if it has one), and its length no more than the packet's?"""
    buf, l4 = frame.buf, frame.l4
    length = buf[l4 + 4] << 8 | buf[l4 + 5] if len(buf) >= l4 + 8 else 0
    if length < 8 or l4 + length > 14 + frame.tot_len:
        return False
    if not (buf[l4 + 6] or buf[l4 + 7]):
        return True
    src, dst = frame.src, frame.dst
    pseudo = (src >> 16) + (src & 0xFFFF) + (dst >> 16) + (dst & 0xFFFF) + UDP + length
    return (ones_sum(buf[l4 : l4 + length]) + pseudo) % 0xFFFF == 0


def problem(frame: Frame) -> str:
    """The kernel's reason to drop a received datagram before a socket is looked for, "" if it is sound (__udp4_lib_rcv)."""
    if 14 + frame.tot_len < frame.l4 + HLEN:
        return "NOT_SPECIFIED"
    if not frame.l4 + HLEN <= end(frame) <= 14 + frame.tot_len:
        return "PKT_TOO_SMALL"
    return "" if checksum_ok(frame) else "UDP_CSUM"


def payload(frame: Frame) -> bytes:
    """The data, with the length from the datagram's own header."""
    return b"" + frame.buf[frame.l4 + 8 : end(frame)]


def end(frame: Frame) -> int:
    """The offset in the frame where the datagram ends by its own header."""
    buf, l4 = frame.buf, frame.l4
    return l4 + (buf[l4 + 4] << 8 | buf[l4 + 5])
