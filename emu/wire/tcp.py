"""TCP segments stamped from a template (RFC 9293 section 3.1). Must not know connections."""

from __future__ import annotations

from struct import Struct
from typing import Any

from emu.wire.checksum import ones_sum
from emu.wire.frame import IP_DF, TCP, Frame
from emu.wire.ipv4 import stamp

# the header's flags (RFC 9293 section 3.1, RFC 3168)
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))

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
    length = 20 + len(options) + len(payload)
    offset_flags = (20 + len(options)) << 10 | flags
    total = (
        (src >> 16) + (src & 0xFFFF) + (dst >> 16) + (dst & 0xFFFF) + TCP + length
        + sport + dport + (seq >> 16) + (seq & 0xFFFF) + (ack >> 16) + (ack & 0xFFFF)
        + offset_flags + window + ones_sum(options) + ones_sum(payload)
    ) % 0xFFFF  # fmt: skip
    _HEADER.pack_into(buf, 34, sport, dport, seq, ack, offset_flags, window, 0xFFFF - total if total else 0, 0)
    buf += options
    buf += payload
    frame = stamp(buf, TCP, src, dst, ident=ident, frag=frag, ttl=ttl, tos=tos, flow=flow, trail=trail)
    frame.sport, frame.dport = sport, dport
    return frame


def checksum_ok(frame: Frame) -> bool:
    """Is there a whole header, and does its checksum hold?"""
    buf, l4 = frame.buf, frame.l4
    end = 14 + frame.ip_length
    if end < l4 + 20 or not 20 <= (buf[l4 + 12] >> 4) * 4 <= end - l4:
        return False
    src, dst = frame.src, frame.dst
    pseudo = (src >> 16) + (src & 0xFFFF) + (dst >> 16) + (dst & 0xFFFF) + TCP + end - l4
    return (ones_sum(buf[l4:end]) + pseudo) % 0xFFFF == 0
