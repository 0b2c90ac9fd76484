"""The clock of the kernel's side: timers and sockets of one thread, in the emulator's order of events.

It has the methods of `emu.clock.Clock`, so that apps and flows run on it unchanged. `now` is planned time: in a timer
that fires late, `now` is the time at which it was due, so that a busy machine does not change the order of calls. Must
not know what a socket sends.
"""

from __future__ import annotations

import heapq
import os
import random
import re
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from emu.clock import MS, TICK_NS, Timer
from emu.collector import uncollected

TIMERS = Path("/proc/timer_list")
PERIOD_TICKS = 1 << 12  # 16 s: slots of the timer wheel up to this width begin at the same time on both sides
POLL_NS = 2 * MS  # the longest wait between two calls of `until`
# Programs act within a tick of the kernel's own timers (1 to 10 ms), and a sleep takes longer: a timer that is due so
# soon fires at once. Otherwise an ACK that is delayed by one tick is sometimes sent before the answer.
SOON_NS = MS // 4
# When /proc/timer_list was written, the jiffies then, and when the next tick was due
_SHOWN = (
    re.compile(r"^now at (\d+) nsecs", re.M),
    re.compile(r"^jiffies: (\d+)", re.M),
    re.compile(r"tick_nohz_handler, S:01\n # expires at (\d+)-"),
)
URGENT = 10  # the real-time priority of programs on this side: other work of the machine does not make them late
READY = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLOUT | select.EPOLLET


@contextmanager
def urgent() -> Iterator[None]:
    """Run the block with a real-time priority, if this machine allows it, and without Python's collector of cycles, which is
    late by itself among the objects of a large cluster; most of the block is waiting."""
    before, param = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(URGENT))
    try:
        with uncollected():
            yield
    finally:
        if before != os.SCHED_RR:
            with suppress(OSError):
                os.sched_setscheduler(0, before, param)


class Drawn(random.Random):
    """The random source of the programs on this side. Its draws are kept, so that the emulator draws the same."""

    def __init__(self) -> None:
        self.values: list[int] = []
        super().__init__()

    def getrandbits(self, k: int, /) -> int:
        self.values.append(super().getrandbits(k))
        return self.values[-1]

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        kept = len(self.values)
        value = super().randrange(start, stop, step)
        self.values[kept:] = [value]
        return value


def _nothing() -> None:
    """All cables are the kernel's own."""


class Watched(Protocol):
    """A socket that the loop watches."""

    def fileno(self) -> int: ...
    def ready(self, events: int) -> None:
        """epoll reports events for the socket (their bits)."""


class Loop:
    """`now` is in ns since the start. `idle()` is called often: it takes frames out of the rings. `carry()` is called after each
    call that may send: what a program carries between cables arrives inside the sender's call, as on a veth."""

    def __init__(self, idle: Callable[[], None]) -> None:
        self.idle = idle
        self.carry: Callable[[], None] = _nothing
        self.now = self._late_ns = 0
        self._begin = time.monotonic_ns()
        self._timers: list[Timer] = []
        self._order = 0
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._random: dict[str, Drawn] = {}

    # -- as emu.clock.Clock ---------------------------------------------------------------------

    def call_at(self, due_ns: int, call: Callable[[], None], *, background: bool = False) -> Timer:
        self._order += 1
        timer = Timer(max(due_ns, self.now), self._order, call, background)
        heapq.heappush(self._timers, timer)
        return timer

    def call_later(self, delay_ns: int, call: Callable[[], None], *, background: bool = False) -> Timer:
        return self.call_at(self.now + delay_ns, call, background=background)

    def drain(self) -> None:
        """Does nothing: veths deliver inside the sender's system call."""

    def run_until(self, end_ns: int) -> None:
        """Run everything that is due up to `end_ns`."""
        with urgent():
            self._look()
            while self.now < end_ns:
                self._turn(end_ns)
            while self._timers and self._timers[0].due_ns <= end_ns:
                self._fire()

    def run(self, limit_ns: int, until: Callable[[], bool]) -> None:
        """Run until `until()` holds or `now` is `limit_ns`."""
        with urgent():
            self._look()
            while not until() and self.now < limit_ns:
                self._turn(min(limit_ns, max(self._real(), self.now) + POLL_NS))

    def random(self, purpose: str) -> Drawn:
        return self._random.setdefault(purpose, Drawn())

    # -- the host's -----------------------------------------------------------------------------

    def watch(self, watched: Watched) -> None:
        self._watched[watched.fileno()] = watched
        self._epoll.register(watched.fileno(), READY)

    def forget(self, watched: Watched) -> None:
        """Stop watching a socket; called before it is closed."""
        if self._watched.pop(watched.fileno(), None) is not None:
            self._epoll.unregister(watched.fileno())

    def catch_up(self) -> None:
        """Set `now` by the host's clock, after work that took real time."""
        self.run_until(max(self.now, self._real()))

    def behind(self) -> int:
        """By how much `now` is behind the host's clock (ns)."""
        return self._real() - self.now

    def take_late(self) -> int:
        """By how much (ns) a program was later than planned at most, since the last call."""
        late_ns, self._late_ns = self._late_ns, 0
        return late_ns

    def take_drawn(self) -> dict[str, list[int]]:
        """The draws since the last call, by purpose."""
        found = {purpose: source.values[:] for purpose, source in self._random.items() if source.values}
        for source in self._random.values():
            source.values.clear()
        return found

    def close(self) -> None:
        self._epoll.close()

    def phase(self) -> int:
        """What is to be added to `now` (ns, below PERIOD_TICKS ticks), so that ticks and the timer wheel's slots begin when the
        kernel's do: as jiffies count them. 0 where the kernel does not show its timers."""
        found: list[int] = []
        for _ in range(7):  # jiffies that are read just before a tick is counted are one too few
            try:
                text = TIMERS.read_text()
            except OSError:
                return 0
            shown = [int(match[1]) for match in (each.search(text) for each in _SHOWN) if match]
            if len(shown) < len(_SHOWN):
                continue  # a tick is being counted: its timer is in no queue
            now_ns, ticks, due_ns = shown
            since_ns = (now_ns - due_ns) % TICK_NS
            found.append((ticks * TICK_NS + since_ns - now_ns) % (PERIOD_TICKS * TICK_NS))
        if not found:
            return 0
        return (max(found, key=found.count) + self._begin) % (PERIOD_TICKS * TICK_NS)

    def _real(self) -> int:
        return time.monotonic_ns() - self._begin

    def _turn(self, limit_ns: int) -> None:
        """Wait for one event: of a socket, of the next timer, or the end at `limit_ns`."""
        due_ns = min(self._timers[0].due_ns, limit_ns) if self._timers else limit_ns
        left_ns = due_ns - self._real()
        if left_ns < SOON_NS and self._timers and self._timers[0].due_ns <= due_ns:
            self._fire()  # the caller has just checked the sockets
            return
        # epoll's time limit is in milliseconds: the rest is slept
        if self._look(max(0, left_ns // MS - 1) / 1000, due_ns):
            return
        left_ns = due_ns - self._real()
        if left_ns > 0:
            time.sleep(min(left_ns, MS) / 1e9)
            if self._look(0, due_ns) or self._real() < due_ns:
                return
        if self._timers and self._timers[0].due_ns <= due_ns:
            self._fire()
        else:
            self.now = max(self.now, due_ns)

    def _look(self, timeout_s: float = 0, due_ns: int | None = None) -> bool:
        events = self._epoll.poll(timeout_s)
        self.idle()
        if not events:
            return False
        if due_ns is not None:  # otherwise the last call caused the event, even if it is seen late
            self.now = max(self.now, min(self._real(), due_ns))
        for number, bits in events:
            watched = self._watched.get(number)
            if watched is not None:
                watched.ready(bits)
        if due_ns is not None:
            self._late_ns = max(self._late_ns, self._real() - self.now)
        return True

    def _fire(self) -> None:
        timer = heapq.heappop(self._timers)
        call, timer.call = timer.call, None
        if call is not None:
            self.now = max(self.now, timer.due_ns)
            call()
            self._late_ns = max(self._late_ns, self._real() - self.now)
            self._look(0, self.now)
