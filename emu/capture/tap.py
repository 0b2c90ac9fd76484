"""Taps: each frame at an interface is copied at once into one flat log, which is read in order later.

The log is one flat list, so that the garbage collector has few objects to visit: for each frame the
entries of its trail, then its bytes, the time, its flow, a code and the packet's numbers. Nothing is counted or formatted while
packets walk: `Log.index` does that afterwards. Must not know words, files or names.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, Protocol

from emu.clock import Clock
from emu.wire.frame import Frame

IN, OUT, DROP = 0, 1, 2

# The items of one frame in the log, after its trail: bytes, time, flow, shape (the low bits of its code), and the numbers of
# its packet and of the packet that caused it.
TIME, FLOW, SHAPE_AT, PACKET, CAUSE, RECORD = 1, 2, 3, 4, 5, 6
# A frame's code: flow << 28 | interface << 5 | pkt_type << 2 | direction
DIRECTION, PKT_TYPE_SHIFT, PKT_TYPE, INTERFACE_SHIFT, INTERFACE, FLOW_SHIFT = 3, 2, 7, 5, 0x7FFFFF, 28
SHAPE = (1 << FLOW_SHIFT) - 1

Tap = Callable[[Frame, int], None]
DropTap = Callable[[Frame, Any], None]


class Tapped(Protocol):
    """What has a tap."""

    tap: Tap | None


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

    After `index`: `positions[n]` is the index of frame n's bytes in `entries`, `codes[n]` its code, `hops[n]` its number
    within its flow, from 1; `flows` lists the frames of each flow.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.entries: list[Any] = []
        self.positions = array("q")
        self.codes = array("q")
        self.hops = array("q")
        self.flows: dict[int, array[int]] = {}

    def tap(self, interface: int) -> Tap:
        """The tap of interface number `interface`. It copies the frame's bytes and drains its trail."""
        clock, extend, base = self.clock, self.entries.extend, interface << INTERFACE_SHIFT
        # shared numbers: a tap makes no number objects
        received = tuple(base | pkt_type << PKT_TYPE_SHIFT | IN for pkt_type in range(PKT_TYPE + 1))
        sent = base | OUT

        def tap(frame: Frame, direction: int) -> None:
            trail = frame.trail
            if trail:
                extend(trail)
                trail.clear()
            shape = sent if direction else received[frame.pkt_type]
            extend((bytes(frame.buf), clock.now, frame.flow, shape, frame.packet, frame.caused_by))

        return tap

    def drop_tap(self, interface: int) -> DropTap:
        """The drop tap of a namespace: dropped frames, on the pseudo-interface `interface`."""
        return _Drops(self, interface << INTERFACE_SHIFT | DROP)

    def index(self) -> int:
        """Number the frames since the last call; gives how many frames there are in all."""
        entries, positions, codes, hops, flows = self.entries, self.positions, self.codes, self.hops, self.flows
        start = positions[-1] + RECORD if positions else 0
        number = len(positions)
        # no trail entry is bytes; what is numbered already is not looked at again
        found = [at for at, each in enumerate(entries[start:] if start else entries, start) if each.__class__ is bytes]
        positions.extend(found)
        for at in found:
            flow = entries[at + FLOW]
            codes.append(flow << FLOW_SHIFT | entries[at + SHAPE_AT])
            frames = flows.get(flow)
            if frames is None:
                frames = flows[flow] = array("q")
            frames.append(number)
            hops.append(len(frames))
            number += 1
        return number

    def trail(self, number: int) -> list[Any]:
        """The trail of frame `number` since the tap before. The frame must be indexed."""
        positions = self.positions
        return self.entries[positions[number - 1] + RECORD if number else 0 : positions[number]]


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
