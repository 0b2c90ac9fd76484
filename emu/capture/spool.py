"""A spool: the older part of a capture's log on disk, in pieces that are read again when they are asked for.

What many trails share (rules, routes, facts without a connection) stays in memory once; a connection is written as its name, all that
words need of it. Must not know what a frame's entries mean beyond that.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from emu.capture.shelved import Folder, Reduced, Scratch, Shelved
from emu.capture.stretch import FLOW_SHIFT, Stretch
from emu.kernel.netfilter.conn import Conn
from emu.trail import Dropped, Natted, Note, Tracked

T = TypeVar("T")
PIECE = 1024  # frames
PIECES, CODES = 32, 512  # of so many pieces that were read last the frames are remembered, or their codes
BLOCK_SHIFT, BLOCK = 12, 1 << 12


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as facts on disk have it: its name."""

    name: str

    def __str__(self) -> str:
        return f"ct {self.name}"


# How facts that differ from flow to flow are written
REDUCED: dict[type, Callable[[Any], Reduced]] = {
    Natted: lambda fact: (Natted, (fact.kind, fact.before, fact.after, fact.conn)),
    Tracked: lambda fact: (Tracked, (fact.conn, fact.state, fact.new)),
    Note: lambda fact: (Note, (fact.text,)),
    Dropped: lambda fact: (Dropped, (fact.reason, fact.netns, fact.device, fact.by)),
    Conn: lambda conn: (Connection, (conn.name,)),
    Connection: lambda conn: (Connection, (conn.name,)),
}


class Numbers:
    """A number for each flow, 0 at first, in little memory."""

    def __init__(self) -> None:
        self._blocks: dict[int, array[int]] = {}

    def __getitem__(self, flow: int) -> int:
        block = self._blocks.get(flow >> BLOCK_SHIFT)
        return block[flow & BLOCK - 1] if block is not None else 0

    def __setitem__(self, flow: int, number: int) -> None:
        block = self._blocks.get(flow >> BLOCK_SHIFT)
        if block is None:
            block = self._blocks[flow >> BLOCK_SHIFT] = array("q", bytes(8 * BLOCK))
        block[flow & BLOCK - 1] = number


class Spool:
    """The pieces of a log that are on disk in `folder`, each of `size` frames, and where each flow's frames are among them. `counts` has the number of a
    flow's frames."""

    def __init__(self, folder: Folder, size: int = PIECE) -> None:
        self.size = size
        self._shelved = Shelved(folder, reduced=REDUCED)
        self._all_codes = Scratch(folder)
        self._pieces: OrderedDict[int, Stretch] = OrderedDict()
        self._codes: OrderedDict[int, array[int]] = OrderedDict()
        self.counts, self._from, self._to = Numbers(), Numbers(), Numbers()

    def __len__(self) -> int:
        """How many frames are on disk."""
        return len(self._shelved) * self.size

    @property
    def shared(self) -> int:
        """How many values the pieces share in memory."""
        return self._shelved.shared

    def append(self, piece: Stretch) -> None:
        """Write a piece."""
        self._all_codes.write(piece.codes.tobytes())
        number = self._shelved.append((piece.entries, piece.positions.tobytes(), piece.hops.tobytes()))
        for flow, count in Counter([code >> FLOW_SHIFT for code in piece.codes]).items():
            if not self.counts[flow]:
                self._from[flow] = number
            self.counts[flow] += count
            self._to[flow] = number

    def piece(self, number: int) -> Stretch:
        return _remembered(self._pieces, PIECES, number, self._read)

    def frames_of(self, flow: int) -> array[int]:
        """The numbers of a flow's frames that are on disk, ascending."""
        found = array("q")
        if self.counts[flow]:
            for number in range(self._from[flow], self._to[flow] + 1):
                codes = _remembered(self._codes, CODES, number, self._read_codes)
                first = number * self.size
                found.extend([at for at, code in enumerate(codes, first) if code >> FLOW_SHIFT == flow])
        return found

    def _read(self, number: int) -> Stretch:
        entries, positions, hops = self._shelved.read(number)
        found = Stretch(number * self.size, entries)
        found.positions, found.codes, found.hops = array("q", positions), self._read_codes(number), array("q", hops)
        return found

    def _read_codes(self, number: int) -> array[int]:
        return array("q", self._all_codes.read(8 * self.size * number, 8 * self.size * (number + 1)))


def _remembered(known: OrderedDict[int, T], most: int, number: int, read: Callable[[int], T]) -> T:
    found = known.get(number)
    if found is None:
        found = known[number] = read(number)
        if len(known) > most:
            known.popitem(last=False)
    else:
        known.move_to_end(number)
    return found
