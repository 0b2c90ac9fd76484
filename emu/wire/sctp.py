"""SCTP's header and chunks as bytes (RFC 9260 section 3). Must not know associations.

The header is 12 bytes: two ports, the verification tag, a CRC32c over the packet. Chunks follow, each padded to words
of 4 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from emu.wire.checksum import crc32c
from emu.wire.frame import ETH_HLEN, Frame

HLEN = 12
(
    DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT, SHUTDOWN, SHUTDOWN_ACK, ERROR, COOKIE_ECHO, COOKIE_ACK,
) = range(12)  # fmt: skip
SHUTDOWN_COMPLETE = 14
FLAG_T = 1  # of ABORT and SHUTDOWN COMPLETE: the tag is the receiver's own, reflected
CHUNK_HLEN = 4
INIT_HLEN = 16  # tag, window, streams out and in, first TSN: of INIT and INIT ACK


class Chunk(NamedTuple):
    """Type, flags, the length that it states (bytes, with its own 4) and where it begins in the frame's bytes."""

    kind: int
    flags: int
    length: int
    at: int


def chunks(frame: Frame) -> Iterator[Chunk]:
    """The chunks whose heads lie within the packet; none behind one of length 0."""
    buf, end = frame.buf, ETH_HLEN + frame.tot_len
    at = frame.l4 + HLEN
    while at + CHUNK_HLEN <= end:
        length = buf[at + 2] << 8 | buf[at + 3]
        yield Chunk(buf[at], buf[at + 1], length, at)
        if not length:
            return
        at += length + 3 & ~3


def tag(frame: Frame) -> int:
    """The verification tag."""
    return int.from_bytes(frame.buf[frame.l4 + 4 : frame.l4 + 8], "big")


def initiate_tag(frame: Frame, chunk: Chunk) -> int | None:
    """The tag that an INIT or INIT ACK asks its peer to use; None if the chunk's fixed part is not whole."""
    at = chunk.at + CHUNK_HLEN
    if at + INIT_HLEN > ETH_HLEN + frame.tot_len:
        return None
    return int.from_bytes(frame.buf[at : at + 4], "big")


def checksum_of(packet: bytes) -> bytes:
    """The CRC32c of a header and what follows it, its own field taken as zero, as it stands on the wire (RFC 9260
    section 6.8: least significant byte first)."""
    return crc32c(packet[:8] + bytes(4) + packet[HLEN:]).to_bytes(4, "little")


def checksum_ok(frame: Frame) -> bool:
    """Is there a whole header, and does its CRC32c hold?"""
    packet = frame.payload
    return len(packet) >= HLEN and packet[8:HLEN] == checksum_of(packet)
