"""The chunks of an SCTP packet: type, flags and length of each (RFC 9260 section 3.2).

Must not know associations, nor what a chunk is about.
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.wire.frame import ETH_HLEN, Frame

HLEN, CHUNK_HLEN = 12, 4


def chunks(frame: Frame) -> Iterator[tuple[int, int] | None]:
    """Type and flags of each chunk, in order; None, and no more, where a chunk has no length or the packet ends before its
    header."""
    buf, at, end = frame.buf, frame.l4 + HLEN, ETH_HLEN + frame.tot_len
    while True:
        length = int.from_bytes(buf[at + 2 : at + CHUNK_HLEN], "big") if at + CHUNK_HLEN <= end else 0
        if not length:
            yield None
            return
        yield buf[at], buf[at + 1]
        at += length + 3 & ~3
        if at >= end:
            return
