"""The IPv4 header: its checksum, the checks on input, fragments (RFC 791, RFC 1122).

Must not know what the payload means.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from struct import Struct
from typing import Any

from emu.errors import SocketError
from emu.wire.checksum import checksum, ones_sum
from emu.wire.frame import AF_INET, ETH_HLEN, IP_HLEN, Frame

_HEADER = Struct("!BBHHHBBHII")


def header_checksum(first: int, length: int, ident: int, frag: int, ttl_proto: int, src: int, dst: int) -> int:
    """The checksum of a 20-byte header; `first` is version, IHL and TOS as one word."""
    total = (first + length + ident + frag + ttl_proto + src + dst) % 0xFFFF  # 32 bits are the sum of their halves
    return 0xFFFF - total if total else 0


def stamp(
    buf: bytearray,
    proto: int,
    src: int,
    dst: int,
    ident: int,
    frag: int,
    ttl: int,
    tos: int,
    flow: int,
    trail: list[Any] | None,
) -> Frame:
    """Write a 20-byte header in front of the transport's bytes, which begin at `buf[34]`; gives the frame."""
    length = len(buf) - ETH_HLEN
    # header_checksum, without its call: each packet that a host sends passes here
    total = (0x4500 + tos + length + ident + frag + (ttl << 8) + proto + src + dst) % 0xFFFF
    check = 0xFFFF - total if total else 0
    _HEADER.pack_into(buf, ETH_HLEN, 0x45, tos, length, ident, frag, ttl, proto, check, src, dst)
    frame = Frame(buf, flow, trail)
    frame.family, frame.proto, frame.l4, frame.valid = AF_INET, proto, ETH_HLEN + IP_HLEN, True
    frame.tot_len, frame.ttl = length, ttl
    frame.src, frame.dst = src, dst
    return frame


def version(frame: Frame) -> int:
    """The IP version that the header names."""
    return frame.buf[ETH_HLEN] >> 4


def given_header(data: bytes, source: int, ident: Callable[[], int]) -> bytes:
    """A frame whose header a program wrote, as a raw socket sends it (raw_send_hdrinc): total length and checksum are the
    kernel's, and a source of 0 is filled in, as is an identification of 0 without DF (ip_select_ident). Raises SocketError: EINVAL
    for a header length that the packet does not have."""
    end = ETH_HLEN + (data[ETH_HLEN] & 15) * 4
    if end < ETH_HLEN + IP_HLEN or end > len(data):
        raise SocketError(errno.EINVAL)
    buf = bytearray(data)
    buf[16:18] = (len(buf) - ETH_HLEN).to_bytes(2, "big")
    if buf[18:20] == b"\0\0" and not buf[20] & 0x40:
        buf[18:20] = ident().to_bytes(2, "big")
    if buf[26:30] == bytes(4):
        buf[26:30] = source.to_bytes(4, "big")
    buf[24:26] = b"\0\0"
    buf[24:26] = checksum(buf[ETH_HLEN:end]).to_bytes(2, "big")
    return bytes(buf)


def check(frame: Frame) -> str | None:
    """The kernel's reason to drop a received packet, None if its header is valid (ip_rcv_core).

    The frame's bytes beyond the total length (padding) are not read.
    """
    buf = frame.buf
    if len(buf) < ETH_HLEN + 20:
        return "IP_INHDR"
    ihl = (buf[14] & 15) * 4
    if buf[14] >> 4 != 4 or not 20 <= ihl <= len(buf) - ETH_HLEN:
        return "IP_INHDR"
    if ones_sum(buf[14 : 14 + ihl]):
        return "IP_CSUM"
    length = buf[16] << 8 | buf[17]
    if len(buf) < ETH_HLEN + length:
        return "PKT_TOO_SMALL"
    if length < ihl:
        return "IP_INHDR"
    return None


def datagram(frame: Frame, payload: bytes, word: int) -> bytearray:
    """A frame with the header of `frame`, another payload and fragment word, and a new header checksum."""
    buf = frame.buf[: frame.l4] + payload
    length = len(buf) - 14
    buf[16:18] = length.to_bytes(2, "big")
    buf[20:22] = word.to_bytes(2, "big")
    buf[24:26] = b"\0\0"
    buf[24:26] = checksum(buf[14 : frame.l4]).to_bytes(2, "big")
    return buf
