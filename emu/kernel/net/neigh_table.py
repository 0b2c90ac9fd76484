"""The table of neighbours that all namespaces of one machine share: its bounds and its garbage collection (struct neigh_table,
neigh_forced_gc, neigh_periodic_work of net/core/neighbour.c).

The bounds are sysctls of the machine's own namespace; a pod's namespace has none. Must not know NUD states beyond what may be
collected, nor link-layer addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from emu.clock import SECOND, Clock

FLUSH_AFTER_NS = 5 * SECOND


class Limits(NamedTuple):
    """gc_thresh1 to 3, and how often entries are looked through, ns."""

    thresh1: int
    thresh2: int
    thresh3: int
    period_ns: int


class Entry(Protocol):
    """A neighbour, as the collection sees it."""

    updated_ns: int

    @property
    def idle(self) -> bool:
        """No timer runs for it, so that nothing but the table holds it."""
        ...

    @property
    def useless(self) -> bool:
        """FAILED, NOARP, or for a multicast address."""
        ...

    def stale(self, now_ns: int) -> bool:
        """Not used for gc_stale_time, or FAILED."""
        ...

    def remove(self) -> None:
        """Take it out of the table and off its device."""
        ...


class NeighTable:
    """The entries of one machine, the oldest first. Permanent ones are not counted (`exempt_from_gc`)."""

    __slots__ = ("_clock", "_entries", "_last_flush_ns", "_limits", "_runs", "overflows")

    def __init__(self, clock: Clock, limits: Callable[[], Limits]) -> None:
        self._clock, self._limits = clock, limits
        self._entries: dict[Entry, None] = {}
        self._last_flush_ns = -FLUSH_AFTER_NS
        self._runs = False
        self.overflows = 0  # "neighbour table overflow"

    def __len__(self) -> int:
        return len(self._entries)

    def admit(self, entry: Entry) -> bool:
        """neigh_alloc: a place for a new entry, after a collection if there are many; False: the table is full."""
        count, limits = len(self._entries), self._limits()
        now = self._clock.jiffy_ns
        if count >= limits.thresh3 or (count >= limits.thresh2 and now > self._last_flush_ns + FLUSH_AFTER_NS):
            if not self._collect(count - limits.thresh2, now) and count >= limits.thresh3:
                self.overflows += 1
                return False
        self._entries[entry] = None
        if not self._runs and count + 1 >= limits.thresh1:
            self._schedule(limits)
        return True

    def discard(self, entry: Entry) -> None:
        """The entry is gone, or permanent."""
        self._entries.pop(entry, None)

    def _collect(self, most: int, now: int) -> int:
        """neigh_forced_gc: remove what is useless or was not changed for five seconds, at least one and at most `most`."""
        removed = 0
        for entry in list(self._entries):
            if entry.idle and (entry.useless or now > entry.updated_ns + FLUSH_AFTER_NS):
                entry.remove()
                removed += 1
            if removed >= most:
                break
        self._last_flush_ns = now
        return removed

    def _schedule(self, limits: Limits) -> None:
        self._runs = True
        due_ns = (self._clock.now // limits.period_ns + 1) * limits.period_ns if limits.period_ns else 0
        self._clock.call_at(max(due_ns, self._clock.now + 1), self._periodic, background=True)

    def _periodic(self) -> None:
        """neigh_periodic_work: from gc_thresh1 entries on, remove what was not used for gc_stale_time."""
        limits, now = self._limits(), self._clock.jiffy_ns
        self._runs = False
        if len(self._entries) < limits.thresh1 or not limits.period_ns:
            return
        for entry in list(self._entries):
            if entry.idle and entry.stale(now):
                entry.remove()
        self._schedule(limits)
