"""A stretch of a log: frames that follow each other, and how the items of one frame lie in it.

Must not know taps, words or files.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# The items of one frame in the log, after its trail: bytes, time, flow, shape (the low bits of its code), and the numbers of
# its packet and of the packet that caused it.
TIME, FLOW, SHAPE_AT, PACKET, CAUSE, RECORD = 1, 2, 3, 4, 5, 6
# A frame's code: flow << 28 | interface << 5 | pkt_type << 2 | direction
DIRECTION, PKT_TYPE_SHIFT, PKT_TYPE, INTERFACE_SHIFT, INTERFACE, FLOW_SHIFT = 3, 2, 7, 5, 0x7FFFFF, 28
SHAPE = (1 << FLOW_SHIFT) - 1


class Stretch:
    """Frames from number `first` of the log on. Of its n-th frame `positions[n]` is the index of the bytes in `entries`, `codes[n]` the
    code, `hops[n]` the number within its flow, from 1."""

    __slots__ = ("codes", "entries", "first", "hops", "positions")

    def __init__(self, first: int, entries: list[Any]) -> None:
        self.first, self.entries = first, entries
        self.positions, self.codes, self.hops = array("q"), array("q"), array("q")

    def rows(self, indices: Sequence[int]) -> Iterable[tuple[int, int, int]]:
        """Of each of these frames, ascending: where its trail begins and its bytes lie in the entries, and its hop."""
        if not indices:
            return ()
        positions, hops = self.positions, self.hops
        begin, end = indices[0], indices[-1] + 1
        if end - begin > len(indices):
            return ((positions[at - 1] + RECORD if at else 0, positions[at], hops[at]) for at in indices)
        before = [positions[begin - 1] + RECORD if begin else 0]
        before += [at + RECORD for at in positions[begin : end - 1]]
        return zip(before, positions[begin:end], hops[begin:end], strict=True)

    def frames(self, indices: Sequence[int]) -> list[bytes]:
        """The bytes of these frames."""
        return [*map(self.entries.__getitem__, map(self.positions.__getitem__, indices))]

    def shapes(self, indices: Iterable[int]) -> set[int]:
        """The different codes of these frames, without the flow."""
        return {code & SHAPE for code in {*map(self.codes.__getitem__, indices)}}

    def pieces(self, size: int) -> Iterator[Stretch]:
        """Its whole pieces of `size` frames, each a stretch of its own; at the end they are no longer in this one."""
        entries, positions = self.entries, self.positions
        frames, begin = len(positions) // size * size, 0
        for first in range(0, frames, size):
            last = first + size
            end = positions[last - 1] + RECORD
            piece = Stretch(self.first + first, entries[begin:end])
            piece.positions = array("q", [at - begin for at in positions[first:last]])
            piece.codes, piece.hops = self.codes[first:last], self.hops[first:last]
            yield piece
            begin = end
        del entries[:begin], self.codes[:frames], self.hops[:frames]  # taps know the list of entries
        self.positions = array("q", [at - begin for at in positions[frames:]])
        self.first += frames
