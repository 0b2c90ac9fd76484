"""A TCP segment as plain values, its options in Linux's layout, and the resets that need no connection.

Sequence numbers here are as on the wire (32 bits, relative to nothing). Layout after Linux's tcp_options_write;
parsing after RFC 9293 section 3.2, RFC 7323 and RFC 2018. Must not know frames, ports, addresses or connections.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from emu.kernel.transport.seqnum import MASK
from emu.wire.frame import Frame, Plain
from emu.wire.tcp import ACK, FIN, PSH, RST, STAMPS_HEAD, SYN, TIMESTAMP_ONLY

MAX_WSCALE: Final = 14
TS_LENGTH: Final = 12  # the timestamps option with its two nops

_EOL, _NOP, _MSS, _WSCALE, _SACK_OK, _SACK, _TS = 0, 1, 2, 3, 4, 5, 8
# The two forms that almost all segments have: timestamps alone, and what a SYN of Linux offers, each with its constant words
_STAMPS, _STAMPED = struct.Struct("!II").unpack_from, struct.Struct("!III").pack
_SYN_OPTIONS = struct.Struct("!HHIIII")
_SYN_MSS = _MSS << 8 | 4
_SYN_STAMPS = _SACK_OK << 24 | 2 << 16 | _TS << 8 | 10
_SYN_SCALE = _NOP << 16 | _WSCALE << 8 | 3


@dataclass(slots=True)
class Segment:
    """One TCP segment without ports. `window` is the raw 16-bit field; `ts` is (tsval, tsecr); `sack` (left, right) pairs.

    `burst`: cut from what the sender had in one buffer (GSO), which a receiver's accounts show; `gso_size`: still that
    buffer, to be cut by a device into so many bytes each. `stateless`: Linux answers without a full socket (request, TIME_WAIT, reset), and so with IP ID 0.
    `cause`: the packet that the segment is in, or that a reset answers, where its TOS or IP options count.
    `packet`: the number of the packet that the segment came in; `answers`: of the one that a reset answers.
    """

    seq: int
    ack: int
    flags: int
    window: int
    payload: bytes = b""
    mss: int | None = None
    wscale: int | None = None
    sack_ok: bool = False
    ts: tuple[int, int] | None = None
    sack: tuple[tuple[int, int], ...] = ()
    stateless: bool = False
    burst: bool = False
    gso_size: int = 0
    cause: Frame | None = None
    packet: int = field(default=0, compare=False)
    answers: int = field(default=0, compare=False)

    @property
    def length(self) -> int:
        """SEG.LEN of RFC 9293: payload bytes, and one each for SYN and FIN."""
        flags = self.flags
        return len(self.payload) + (flags & FIN) + (flags >> 1 & 1)


class Options(NamedTuple):
    """The options of a segment; absent ones are None, False or empty."""

    mss: int | None = None
    wscale: int | None = None
    sack_ok: bool = False
    ts: tuple[int, int] | None = None
    sack: tuple[tuple[int, int], ...] = ()


NO_OPTIONS: Final = Options()


def bursts(segments: list[Segment]) -> list[list[Segment]]:
    """What was sent at once, as the buffers that it was to the sender: runs of segments that were cut from one. PSH ends
    a run."""
    runs: list[list[Segment]] = []
    for segment in segments:
        last = runs[-1][-1] if runs else None
        if last is not None and segment.burst and last.burst and not last.flags & PSH:
            if (last.seq + last.length) & MASK == segment.seq and len(last.payload) == len(runs[-1][0].payload):
                runs[-1].append(segment)
                continue
        runs.append([segment])
    return runs


def joined(burst: list[Segment]) -> Segment:
    """A burst as the one buffer that it is (GSO), for a device to cut."""
    payload, flags = b"".join(segment.payload for segment in burst), burst[-1].flags
    return replace(burst[0], payload=payload, flags=flags, gso_size=len(burst[0].payload))


def coalesced(tail: Segment, segment: Segment) -> bool:
    """Add `segment` to `tail`, the last that waits for a socket, if both bring no bytes and are equal but for their
    numbers: acknowledgements that came during a call are taken as one (tcp_add_backlog)."""
    if tail.payload or segment.payload or segment.seq != (tail.seq + tail.length) & MASK:
        return False
    if (tail.flags | segment.flags) & (SYN | RST) or not tail.flags & segment.flags & ACK:
        return False
    if tail.ts != segment.ts or tail.sack != segment.sack:
        return False
    tail.flags |= segment.flags
    if (segment.ack - tail.ack) & MASK < 1 << 31:
        tail.ack, tail.window = segment.ack, segment.window
    return True


def options_bytes(segment: Segment) -> bytes:
    """The options in Linux's order and padding; a multiple of 4 bytes, at most 40."""
    ts, sack, mss, wscale = segment.ts, segment.sack, segment.mss, segment.wscale
    if mss is None and not sack:
        if ts is None:
            return b""
        if wscale is None and not segment.sack_ok:
            return _STAMPED(STAMPS_HEAD, ts[0], ts[1])
    elif mss is not None and ts is not None and wscale is not None and segment.sack_ok and not sack:
        return _SYN_OPTIONS.pack(_SYN_MSS, mss, _SYN_STAMPS, ts[0], ts[1], _SYN_SCALE << 8 | wscale)
    out = b""
    if mss is not None:
        out = struct.pack("!BBH", _MSS, 4, mss)
    if ts is not None:
        lead = bytes((_SACK_OK, 2)) if segment.sack_ok else b"\x01\x01"
        out += lead + struct.pack("!BBII", _TS, 10, ts[0], ts[1])
    elif segment.sack_ok:
        out += bytes((_NOP, _NOP, _SACK_OK, 2))
    if wscale is not None:
        out += bytes((_NOP, _WSCALE, 3, wscale))
    if sack:
        out += bytes((_NOP, _NOP, _SACK, 2 + 8 * len(sack)))
        for left, right in sack:
            out += struct.pack("!II", left, right)
    return out


def parse_options(data: bytes) -> Options:
    """What `data` (the bytes after the 20-byte header) has. A malformed option ends the parsing, as in Linux."""
    if not data:
        return NO_OPTIONS
    if len(data) == TS_LENGTH and data.startswith(TIMESTAMP_ONLY):  # tcp_parse_aligned_timestamp
        return Options(ts=_STAMPS(data, 4))
    mss: int | None = None
    wscale: int | None = None
    ts: tuple[int, int] | None = None
    sack: tuple[tuple[int, int], ...] = ()
    if len(data) == _SYN_OPTIONS.size:
        first, size, stamps, value, echo, last = _SYN_OPTIONS.unpack(data)
        if first == _SYN_MSS and stamps == _SYN_STAMPS and last >> 8 == _SYN_SCALE:
            return Options(size or None, min(last & 255, MAX_WSCALE), True, (value, echo))
    sack_ok = False
    at, end = 0, len(data)
    while at < end:
        kind = data[at]
        if kind == _EOL:
            break
        if kind == _NOP:
            at += 1
            continue
        if at + 1 >= end:
            break
        size = data[at + 1]
        if size < 2 or at + size > end:
            break
        if kind == _MSS and size == 4:
            mss = int.from_bytes(data[at + 2 : at + 4], "big") or None
        elif kind == _WSCALE and size == 3:
            wscale = min(data[at + 2], MAX_WSCALE)
        elif kind == _SACK_OK and size == 2:
            sack_ok = True
        elif kind == _TS and size == 10:
            ts = struct.unpack_from("!II", data, at + 2)
        elif kind == _SACK and size >= 10 and (size - 2) % 8 == 0:
            edges = struct.unpack_from(f"!{(size - 2) // 4}I", data, at + 2)
            sack = tuple(zip(edges[::2], edges[1::2], strict=True))
        at += size
    return Options(mss, wscale, sack_ok, ts, sack)


def segment_of(frame: Frame, plain: Plain | None) -> Segment:
    """The segment in a packet with a whole TCP header; `plain` is `plain_of` it."""
    segment = parse_segment(frame.payload) if plain is None else of_plain(plain)
    segment.burst, segment.gso_size, segment.packet = frame.burst, frame.gso_size, frame.packet
    return segment


def plain_part(segment: Segment) -> Plain:
    """What a segment is without options other than timestamps."""
    return segment.seq, segment.ack, segment.flags, segment.window, segment.payload, segment.ts


def of_plain(plain: Plain) -> Segment:
    """The segment that is no more than that."""
    seq, ack, flags, window, payload, ts = plain
    return Segment(seq, ack, flags & 0x1F, window, payload, None, None, False, ts)


def parse_segment(data: bytes | bytearray | memoryview) -> Segment:
    """A segment from its TCP header and payload (`data` begins with the source port). Needs at least 20 bytes."""
    seq, ack, offset, flags, window = struct.unpack_from("!IIBBH", data, 4)
    header = max((offset >> 4) * 4, 20)
    if header == 20:
        return Segment(seq, ack, flags & 0x1F, window, bytes(data[20:]))
    options = parse_options(bytes(data[20:header]))
    return Segment(seq, ack, flags & 0x1F, window, bytes(data[header:]), *options)


def reset_for(segment: Segment) -> Segment | None:
    """The RST that a host without a fitting connection answers `segment` with (RFC 9293 section 3.5.2); None to a RST."""
    if segment.flags & RST:
        return None
    if segment.flags & ACK:
        return Segment(segment.ack, 0, RST, 0, stateless=True, cause=segment.cause, answers=segment.packet)
    return Segment(
        0,
        (segment.seq + segment.length) & MASK,
        RST | ACK,
        0,
        stateless=True,
        cause=segment.cause,
        answers=segment.packet,
    )
