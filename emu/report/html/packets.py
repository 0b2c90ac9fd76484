"""Which sights are one packet, read from the bytes: a hop changes addresses, ports, TTL and checksums, and nothing else.

Must not know who sent a packet or why.
"""

from __future__ import annotations

from typing import Any

from emu.report.html.scene import Sighted
from emu.wire.captured import carried, is_ipv4, packet

SAME_NS = 5_000_000  # a packet that waits longer than this is taken for another one


class Packets:
    """Numbers packets from 1, in the order in which they are seen first."""

    def __init__(self) -> None:
        self._last: dict[
            Any, tuple[int, int, set[int]]
        ] = {}  # number, time of the last sight, interfaces that received it
        self._count = 0

    def of(self, captured: Sighted) -> int:
        """The number of the packet that a frame is a sight of. Frames are asked about in the order of time."""
        mark = signature(captured.flow, captured.data)
        known = self._last.get(mark)
        place, dropped = captured.place.number, captured.direction == "drop"
        if known is not None and (dropped or captured.time_ns - known[1] < SAME_NS) and place not in known[2]:
            number, _time, seen = known
        else:
            self._count += 1
            number, seen = self._count, set()
        if captured.direction == "in":
            seen.add(place)
        self._last[mark] = number, captured.time_ns, seen
        return number


def signature(flow: int, data: bytes) -> Any:
    """What no hop changes of a frame."""
    return flow, carried(data) if is_ipv4(data) else packet(data)
