"""The clock's timers of one TCP connection: three of the timer wheel, and the high-resolution one of compressed ACKs.

What is due when stands in `TcpEndpoint.deadlines`; what is done then is its socket's to know. Must not know segments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from emu.clock import Clock, Timer
from emu.kernel.transport.tcp_sock import Deadline

KINDS: tuple[Deadline, ...] = ("transmit", "ack", "linger", "compressed")
EACH = tuple(range(len(KINDS)))
LINGER, COMPRESSED = KINDS.index("linger"), KINDS.index("compressed")
Due = tuple[int | None, ...]
NEVER: Due = (None, None, None, None)


class Deadlines:
    """`armed`: for which deadlines (ns, one for each of KINDS) the timers run. `expired(kind)` is called when one is over."""

    __slots__ = ("_clock", "_expired", "_timers", "armed")

    def __init__(self, clock: Clock, expired: Callable[[Deadline], None]) -> None:
        self._clock, self._expired = clock, expired
        self.armed = NEVER
        self._timers: list[Timer | None] = [None] * len(KINDS)

    def follow(self, due: Due, pinned: bool) -> None:
        """Move the timers whose deadlines have changed. `pinned`: they are a request's."""
        before, self.armed = self.armed, due
        timers, clock = self._timers, self._clock
        for index in EACH:
            due_ns = due[index]
            if due_ns == before[index]:
                continue
            timer = timers[index]
            if due_ns is None:
                if timer is not None:
                    timer.take()
            elif index == COMPRESSED:
                if timer is not None:
                    timer.take()
                timers[index] = clock.call_at(due_ns, partial(self._expired, KINDS[index]))
            else:
                call = partial(self._expired, KINDS[index])
                timers[index] = clock.mod_timer(timer, due_ns, call, index == LINGER, pinned)

    def cancel(self) -> None:
        for timer in self._timers:
            if timer is not None:
                timer.cancel()
