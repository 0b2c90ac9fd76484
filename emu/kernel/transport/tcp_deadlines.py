"""The clock's timers of one TCP connection: three of the timer wheel, and the high-resolution one of compressed ACKs.

What is due when stands in `TcpEndpoint.deadlines`; what is done then is its socket's to know. Must not know segments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from emu.clock import Clock, Timer
from emu.kernel.transport.tcp_sock import Deadline

KINDS: tuple[Deadline, ...] = ("transmit", "ack", "linger", "compressed")
TRANSMIT, ACK, LINGER, COMPRESSED = range(4)
Due = tuple[int | None, int | None, int | None, int | None]
NEVER: Due = (None, None, None, None)


class Deadlines:
    """`armed`: for which deadlines (ns, one for each of KINDS) the timers run. `expired(kind)` is called when one is over.

    A timer of the wheel is made when it is needed first, and armed again from then on.
    """

    __slots__ = ("_calls", "_clock", "_expired", "_timers", "armed")

    def __init__(self, clock: Clock, expired: Callable[[Deadline], None]) -> None:
        self._clock, self._expired = clock, expired
        self.armed = NEVER
        self._timers: list[Timer | None] = [None, None, None, None]
        self._calls: list[Callable[[], None]] = []

    def follow(self, due: Due, pinned: bool) -> None:
        """Move the timers whose deadlines have changed. `pinned`: they are a request's."""
        before, self.armed = self.armed, due
        timers, clock, calls = self._timers, self._clock, self._calls
        if not calls:
            calls.extend([partial(self._expired, kind) for kind in KINDS])
        due_ns = due[TRANSMIT]
        if due_ns != before[TRANSMIT]:
            timer = timers[TRANSMIT]
            if due_ns is not None:
                timers[TRANSMIT] = clock.mod_timer(timer, due_ns, calls[TRANSMIT], False, pinned)
            elif timer is not None and timer.call is not None:  # its `take`, without the call
                timer.call = None
                clock.foreground -= 1
        due_ns = due[ACK]
        if due_ns != before[ACK]:
            timer = timers[ACK]
            if due_ns is not None:
                timers[ACK] = clock.mod_timer(timer, due_ns, calls[ACK], False, pinned)
            elif timer is not None and timer.call is not None:
                timer.call = None
                clock.foreground -= 1
        if due[LINGER] != before[LINGER] or due[COMPRESSED] != before[COMPRESSED]:
            self._follow_rare(due, before, pinned)

    def _follow_rare(self, due: Due, before: Due, pinned: bool) -> None:
        timers, clock = self._timers, self._clock
        for index in (LINGER, COMPRESSED):
            due_ns, timer = due[index], timers[index]
            if due_ns == before[index]:
                continue
            if due_ns is not None and index == LINGER:
                timers[index] = clock.mod_timer(timer, due_ns, self._calls[index], True, pinned)
                continue
            if timer is not None:
                timer.take()
            if due_ns is not None:
                timers[index] = clock.call_at(due_ns, self._calls[index])

    def cancel(self) -> None:
        for timer in self._timers:
            if timer is not None:
                timer.cancel()
