"""TCP segments made from a template (RFC 9293 section 3.1). Must not know connections."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any

from emu.wire.checksum import ones_sum
from emu.wire.frame import ETH_HLEN, IP_DF, IP_HLEN, IP_OFFSET, TCP, Frame, Plain
from emu.wire.ipv4 import stamp

# the header's flags (RFC 9293 section 3.1, RFC 3168)
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
HLEN = 20
HEADERS = IP_HLEN + HLEN  # bytes of an IPv4 packet with a segment, without options and data
NOP, MSS, MSS_LENGTH = 1, 2, 4
# the options of a header that has timestamps only (RFC 7323 appendix A)
TIMESTAMP_ONLY = b"\x01\x01\x08\x0a"
# the options of a SYN as Linux sends it, and the length of such a header: MSS, SACK permitted, timestamps, window scale
SYN_HLEN = 40
_MSS_HEAD, _SACK_AND_TIMESTAMP, _SCALE_HEAD = b"\x02\x04", b"\x04\x02\x08\x0a", b"\x01\x03\x03"
# at `l4`: sequence number, acknowledgement, data offset (in the high half byte), flags, window
head = Struct(">4xIIBBH").unpack_from
# a header with timestamps only: its length, the constant word of its options, and at `l4` what `head` gives, that word, both stamps
STAMPED_HLEN = HLEN + len(TIMESTAMP_ONLY) + 8
STAMPS_HEAD = int.from_bytes(TIMESTAMP_ONLY, "big")
_stamped = Struct(">4xIIBBH4xIII").unpack_from
_number = int.from_bytes
_put_word = Struct("!H").pack_into
AT = ETH_HLEN + IP_HLEN  # where the header begins behind an IP header without options
_TIMESTAMPS = TIMESTAMP_ONLY + bytes(8)
_STAMPED_HEADER = Struct("!HHIIHHHHIII")
_HEADER = Struct("!HHIIHHHH")


def build(
    template: bytes,
    src: int,
    dst: int,
    sport: int,
    dport: int,
    *,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    options: bytes,
    payload: bytes,
    ident: int,
    ttl: int,
    tos: int,
    flow: int,
    trail: list[Any] | None,
    frag: int = IP_DF,
) -> Frame:
    """A segment with right checksums and no Ethernet addresses yet; `options` is padded to words of 4 bytes."""
    buf = bytearray(template)
    offset_flags = (20 + len(options)) << 10 | flags
    if payload:
        options += payload  # whole words: what follows is summed with them
    length = 20 + len(options)
    total = (
        (src >> 16) + (src & 0xFFFF) + (dst >> 16) + (dst & 0xFFFF) + TCP + length
        + sport + dport + (seq >> 16) + (seq & 0xFFFF) + (ack >> 16) + (ack & 0xFFFF)
        + offset_flags + window + ones_sum(options)
    ) % 0xFFFF  # fmt: skip
    _HEADER.pack_into(buf, 34, sport, dport, seq, ack, offset_flags, window, 0xFFFF - total if total else 0, 0)
    buf += options
    frame = stamp(buf, TCP, src, dst, ident, frag, ttl, tos, flow, trail)
    frame.sport, frame.dport = sport, dport
    return frame


def build_plain(
    template: bytes,
    src: int,
    dst: int,
    sport: int,
    dport: int,
    plain: Plain,
    ident: int,
    ttl: int,
    tos: int,
    flow: int,
    trail: list[Any] | None,
    frag: int,
) -> Frame:
    """`build` of a segment without options other than timestamps, as almost all are: it is summed at once."""
    seq, ack, flags, window, payload, ts = plain
    buf = bytearray(template)
    if ts is None:
        _HEADER.pack_into(buf, AT, sport, dport, seq, ack, HLEN << 10 | flags, window, 0, 0)
    else:
        value, echo = ts
        buf += _TIMESTAMPS
        _STAMPED_HEADER.pack_into(
            buf, AT, sport, dport, seq, ack, STAMPED_HLEN << 10 | flags, window, 0, 0, STAMPS_HEAD, value, echo
        )
    buf += payload
    length = len(buf) - AT
    # ones_sum, without its call; a word of 32 bits is the sum of its halves, modulo 0xFFFF
    data = _number(buf[AT:], "big")
    total = (src + dst + TCP + length + (data << 8 if length & 1 else data)) % 0xFFFF
    _put_word(buf, AT + 16, 0xFFFF - total if total else 0)
    frame = stamp(buf, TCP, src, dst, ident, frag, ttl, tos, flow, trail)
    frame.sport, frame.dport, frame.plain = sport, dport, plain
    return frame


def plain_of(frame: Frame) -> Plain | None:
    """The segment in a packet, if it has no option or timestamps alone; None: it has others, or is not whole."""
    if frame.plain is not None:
        return frame.plain
    buf, l4, end = frame.buf, frame.l4, ETH_HLEN + frame.tot_len
    start = l4 + STAMPED_HLEN
    if start <= end <= len(buf):
        seq, ack, offset, flags, window, word, value, echo = _stamped(buf, l4)
        if word == STAMPS_HEAD and offset >> 4 << 2 == STAMPED_HLEN:
            return seq, ack, flags, window, b"" + buf[start:end], (value, echo)
    start = l4 + HLEN
    if start > end or end > len(buf):
        return None
    seq, ack, offset, flags, window = head(buf, l4)
    return (seq, ack, flags, window, b"" + buf[start:end], None) if offset >> 4 << 2 == HLEN else None


def checksum_ok(frame: Frame) -> bool:
    """Does its checksum hold?"""
    buf, l4 = frame.buf, frame.l4
    end = 14 + frame.tot_len
    src, dst = frame.src, frame.dst
    pseudo = (src >> 16) + (src & 0xFFFF) + (dst >> 16) + (dst & 0xFFFF) + TCP + end - l4
    return (ones_sum(buf[l4:end]) + pseudo) % 0xFFFF == 0


def problem(frame: Frame) -> str:
    """The kernel's reason to drop a received segment before a socket is looked for, "" if it is sound (tcp_v4_rcv)."""
    length = 14 + frame.tot_len - frame.l4
    if length < HLEN:
        return "NOT_SPECIFIED"
    header = header_length(frame)
    if header < HLEN:
        return "PKT_TOO_SMALL"
    if header > length:
        return "NOT_SPECIFIED"
    return "" if checksum_ok(frame) else "TCP_CSUM"


def flags_of(frame: Frame) -> int:
    """The flags; -1 where the packet ends before them."""
    at = frame.l4 + 13
    return frame.buf[at] if at < len(frame.buf) else -1


def sequence(frame: Frame) -> int:
    """The sequence number; the quote of an ICMP error has it too, and no more of the header."""
    return int.from_bytes(frame.buf[frame.l4 + 4 : frame.l4 + 8], "big")


def header_length(frame: Frame) -> int:
    """The header with its options, bytes; 0 where the packet is too short for one."""
    buf, l4 = frame.buf, frame.l4
    return (buf[l4 + 12] >> 4) * 4 if len(buf) >= l4 + HLEN else 0


def options(buf: bytearray, l4: int, length: int) -> Iterator[tuple[int, bytes]]:
    """The options of a header of `length` bytes at `l4`: kind and value, without padding, up to the first invalid one."""
    at, stop = l4 + HLEN, l4 + length
    while at < stop:
        kind = buf[at]
        if kind == 1:
            at += 1
            continue
        start = at + 2
        if not kind or start > stop:
            return
        at += buf[at + 1]
        if at < start or at > stop:
            return
        yield kind, bytes(buf[start:at])


def usual_scale(buf: bytearray, l4: int) -> int:
    """The window scale of a header of SYN_HLEN bytes with the options that Linux's SYN has; -1 if it has others."""
    at = l4 + HLEN
    if (
        buf.startswith(_MSS_HEAD, at)
        and buf.startswith(_SACK_AND_TIMESTAMP, at + 4)
        and buf.startswith(_SCALE_HEAD, at + 16)
    ):
        return buf[at + 19]
    return -1


def option_at(frame: Frame, kind: int) -> int:
    """The offset of an option of the TCP header in the buffer; -1 without that option."""
    buf, l4 = frame.buf, frame.l4
    if frame.proto != TCP or frame.frag & IP_OFFSET or len(buf) < l4 + 20:
        return -1
    at, end = l4 + 20, min(l4 + (buf[l4 + 12] >> 4) * 4, len(buf))
    while at < end:
        if buf[at] == kind:
            return at
        if buf[at] < 2:
            at += 1
        elif at + 1 < end:
            at += max(buf[at + 1], 1)
        else:
            break
    return -1


def mss_of(frame: Frame) -> int | None:
    """The value of a segment's MSS option; None without one."""
    at = option_at(frame, MSS)
    if at < 0 or at + MSS_LENGTH > len(frame.buf) or frame.buf[at + 1] != MSS_LENGTH:
        return None
    return frame.buf[at + 2] << 8 | frame.buf[at + 3]


def numbers(frame: Frame) -> tuple[int, int, bytes]:
    """Sequence number, flags and payload of a segment whose header is whole."""
    buf, l4 = frame.buf, frame.l4
    start = l4 + (buf[l4 + 12] >> 4) * 4
    return int.from_bytes(buf[l4 + 4 : l4 + 8], "big"), buf[l4 + 13], bytes(buf[start : ETH_HLEN + frame.tot_len])
