"""Taps: each frame at an interface is copied at once into one flat log, which is read in order later.

The log is one flat list, so that the garbage collector has few objects to visit: for each frame the
entries of its trail, then its bytes, the time, its flow, a code and the packet's numbers. Nothing is counted or formatted while
packets walk: `Log.index` does that afterwards. Must not know words, files or names.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from emu.capture.spool import Spool
from emu.capture.stretch import (
    FLOW,
    FLOW_SHIFT,
    INTERFACE_SHIFT,
    PKT_TYPE,
    PKT_TYPE_SHIFT,
    RECORD,
    SHAPE_AT,
    Stretch,
)
from emu.clock import Clock
from emu.wire.frame import Frame

IN, OUT, DROP = 0, 1, 2

Tap = Callable[[Frame, int], None]
DropTap = Callable[[Frame, Any], None]


class Tapped(Protocol):
    """What has a tap."""

    tap: Tap | None


class _Tap:
    """What an interface's frames are given to. No closure: compiled code would hide what it holds from a copy of the state."""

    __slots__ = ("clock", "entries", "received", "sent")

    def __init__(self, log: Log, interface: int) -> None:
        base = interface << INTERFACE_SHIFT
        self.clock, self.entries = log.clock, log.entries
        # shared numbers: a tap makes no number objects
        self.received = tuple([base | pkt_type << PKT_TYPE_SHIFT | IN for pkt_type in range(PKT_TYPE + 1)])
        self.sent = base | OUT

    def tap(self, frame: Frame, direction: int) -> None:
        trail, entries = frame.trail, self.entries
        if trail:
            entries += trail
            trail.clear()
        shape = self.sent if direction else self.received[frame.pkt_type]
        # b"" + is twice as fast as bytes()
        entries += b"" + frame.buf, self.clock.now, frame.flow, shape, frame.packet, frame.caused_by


class _Drops:
    """A drop tap."""

    __slots__ = ("_code", "_log")

    def __init__(self, log: Log, code: int) -> None:
        self._log, self._code = log, code

    def __call__(self, frame: Frame, _fact: Any) -> None:
        log = self._log
        if frame.trail:
            log.entries.extend(frame.trail)
            frame.trail.clear()
        log.entries.extend((bytes(frame.buf), log.clock.now, frame.flow, self._code, frame.packet, frame.caused_by))


class Log:
    """All tapped frames in the order of time. Frames are numbered from 0 in that order.

    `open` has those in memory, which are all unless there is a `spool`; `entries` is its list. After `index` its frames are numbered, and `flows` has the numbers of
    each flow's frames in it.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.entries: list[Any] = []
        self.open = Stretch(0, self.entries)
        self.flows: dict[int, array[int]] = {}
        self.spool: Spool | None = None

    def tap(self, interface: int) -> Tap:
        """The tap of interface number `interface`. It copies the frame's bytes and drains its trail."""
        return _Tap(self, interface).tap

    def drop_tap(self, interface: int) -> DropTap:
        """The drop tap of a namespace: dropped frames, on the pseudo-interface `interface`."""
        return _Drops(self, interface << INTERFACE_SHIFT | DROP)

    def index(self) -> int:
        """Number the frames since the last call; gives how many frames there are in all."""
        part, flows = self.open, self.flows
        entries, positions = part.entries, part.positions
        add_position, add_code, add_hop = positions.append, part.codes.append, part.hops.append
        at, end = positions[-1] + RECORD if positions else 0, len(entries)
        number, last, high, hop = part.first + len(positions), -1, 0, 0
        while at < end:
            if entries[at].__class__ is not bytes:  # no entry of a trail is
                at += 1
                continue
            flow = entries[at + FLOW]
            if flow != last:  # mostly it is the one before
                last, high = flow, flow << FLOW_SHIFT
                frames = flows.get(flow)
                if frames is None:
                    frames = flows[flow] = array("q")
                add_number, hop = frames.append, len(frames)
                if self.spool is not None:
                    hop += self.spool.counts[flow]
            hop += 1
            add_position(at)
            add_code(high | entries[at + SHAPE_AT])
            add_hop(hop)
            add_number(number)
            number += 1
            at += RECORD
        return number

    # -- frames by number: all of them must be numbered ------------------------------------------------

    def find(self, number: int) -> tuple[Stretch, int]:
        """The stretch that has a frame, and the frame's index there."""
        part = self.open
        if number < part.first:
            assert self.spool is not None
            part = self.spool.piece(number // self.spool.size)
        return part, number - part.first

    def trail(self, number: int) -> list[Any]:
        """The trail of frame `number` since the tap before."""
        part, at = self.find(number)
        positions = part.positions
        return part.entries[positions[at - 1] + RECORD if at else 0 : positions[at]]

    def parts(self, chosen: Sequence[int]) -> Iterator[tuple[Stretch, Sequence[int]]]:
        """Frames by ascending numbers, stretch by stretch: each with the indices of its frames."""
        at, end = 0, len(chosen)
        while at < end:
            part, _ = self.find(chosen[at])
            first = part.first
            until = end if part is self.open else bisect_left(chosen, first + len(part.positions), at)
            numbers = chosen[at:until]
            yield part, numbers if not first else [number - first for number in numbers]
            at = until

    def count_of(self, flow: int) -> int:
        """How many frames a flow has."""
        self.index()
        earlier = self.spool.counts[flow] if self.spool is not None else 0
        return earlier + len(self.flows.get(flow, ()))

    def frames_of(self, flow: int) -> array[int]:
        """The numbers of a flow's frames, ascending."""
        self.index()
        here = self.flows.get(flow)
        if self.spool is None or not self.spool.counts[flow]:
            return array("q") if here is None else here
        return self.spool.frames_of(flow) + (here or array("q"))

    def spill(self) -> None:
        """Write the frames in memory to the spool, but for the last, less than a piece of them."""
        spool, part = self.spool, self.open
        if spool is None:
            return
        self.index()
        for piece in part.pieces(spool.size):
            spool.append(piece)
        left = {flow: frames[bisect_left(frames, part.first) :] for flow, frames in self.flows.items()}
        self.flows = {flow: frames for flow, frames in left.items() if frames}


class Untouched:
    """The tap of a device that one frame at most has passed: the second one makes its own. Most devices of a large cluster have
    none, or the announcement of their link."""

    __slots__ = ("_device", "_interface", "_log", "_passed")

    def __init__(self, log: Log, interface: int, device: Tapped) -> None:
        self._log, self._interface, self._device, self._passed = log, interface, device, False

    def made(self) -> Tap:
        return self._log.tap(self._interface)

    def __call__(self, frame: Frame, direction: int) -> None:
        if self._passed:
            tap = self._device.tap = self.made()
            tap(frame, direction)
            return
        self._passed = True
        entries, trail = self._log.entries, frame.trail
        if trail:
            entries.extend(trail)
            trail.clear()
        shape = self._interface << INTERFACE_SHIFT | (OUT if direction else frame.pkt_type << PKT_TYPE_SHIFT | IN)
        entries.extend((bytes(frame.buf), self._log.clock.now, frame.flow, shape, frame.packet, frame.caused_by))
