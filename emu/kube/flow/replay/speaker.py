"""What speakers of all protocols have: recorded packets that wait for their arrival, and what is stated of those that never come.

A speaker sends one flow's packets from real endpoints, and gets what arrives and what is lost. Must not know protocols.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from emu.kube.flow.outcome import decided_by
from emu.kube.flow.replay.paired import BACK, THERE, Half, Paired
from emu.kube.flow.replay.recorded import Recorded
from emu.kube.flow.replay.talk import Talk
from emu.trail import Dropped
from emu.wire.frame import Frame

MOST_WAITING = 4096  # packets of one flow


@dataclass(slots=True, eq=False)
class Entry:
    """A recorded packet that waits: its place in the stream (`lo` to `hi`; without one both are 0), its payload, what of it came, and the
    turn that sends it (-1: the kernel does)."""

    paired: Paired
    payload: bytes = b""
    lo: int = 0
    hi: int = 0
    turn: int = -1
    came: bytearray = field(default_factory=bytearray)
    missing: list[tuple[int, int]] = field(default_factory=list)
    losses: list[Dropped] = field(default_factory=list)


class Speaker(Protocol):
    """One flow in one protocol."""

    talk: Talk

    @property
    def waiting(self) -> int:
        """How many packets wait for their arrival, or to be sent."""
        ...

    def feed(self, recorded: Recorded, paired: Paired) -> None:
        """The recording's next packet of the flow."""
        ...

    def arrived(self, frame: Frame, at: str) -> None: ...
    def lost(self, frame: Frame, loss: Dropped) -> None: ...

    def finish(self, *, quiet: bool) -> None:
        """No more comes. `quiet`: free what is open, also by a reset."""
        ...


class Waiting:
    """The part that is common: `pending` by direction, 0 from the client, 1 from the server."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.pending: tuple[deque[Entry], deque[Entry]] = (deque(), deque())
        self.broken = ""  # why nothing more is sent

    @property
    def waiting(self) -> int:
        return len(self.pending[0]) + len(self.pending[1])

    def direction(self, paired: Paired) -> int:
        return 0 if paired.way == THERE else 1

    def way_of(self, frame: Frame) -> int:
        """The direction of an emulated frame."""
        return 1 if (frame.dst, frame.dport) == self.talk.sent[0] else 0

    def sent(self, way: int) -> tuple[Half, Half]:
        """Source and destination of what an end sends: what the server sends goes to the client that it sees."""
        talk = self.talk
        if way == 0:
            return talk.sent
        return (talk.seen[1], talk.seen[0]) if talk.seen is not None else (talk.sent[1], talk.sent[0])

    def see(self, frame: Frame, at: str) -> None:
        """The first packet of the client at its server states both ends as the server sees them."""
        if self.talk.seen is None:
            self.talk.seen = (frame.src, frame.sport), (frame.dst, frame.dport)
            self.talk.seen_at = at

    def arrive(self, entry: Entry, way: int, frame: Frame, at: str) -> None:
        """The whole of a recorded packet has come."""
        paired = entry.paired
        paired.arrived(frame, at, self.sent(way))
        earlier = next(iter(self.pending[way]), entry)
        if earlier is not entry and earlier.hi <= entry.lo and not earlier.came:
            paired.differences.append(f"out of order: packet {earlier.paired.number} has not come yet")
        for loss in entry.losses:
            paired.differences.append(f"lost at {loss.place} ({loss.reason}), and sent again")
        if entry.payload:
            self.talk.payload(paired, entry.payload, bytes(entry.came))
        self.pending[way].remove(entry)
        self.talk.done(paired)

    def forget(self, done: tuple[int, int], stalled: tuple[str, str]) -> None:
        """State what became of the packets that still wait. `done` counts the turns that each side took; `stalled` is why a side took
        no more."""
        place, by = self.talk.loss()
        for way in (0, 1):
            while self.pending[way]:
                entry = self.pending[way].popleft()
                paired = entry.paired
                if entry.losses:
                    paired.dropped(entry.losses[-1], decided_by(entry.losses[-1]))
                elif entry.turn >= done[way] or (entry.turn < 0 and self.broken):
                    paired.not_sent(self.broken or stalled[way], difference=True)
                elif place:
                    paired.missing(f"it did not arrive: the flow's last loss is at {place}" + (f", {by}" if by else ""))
                else:
                    paired.missing("it did not arrive, and no drop is known")
                self.talk.done(paired)


__all__ = ["BACK", "THERE", "Entry", "Speaker", "Waiting"]
