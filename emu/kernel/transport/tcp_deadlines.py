"""The clock's timers of one TCP connection: three of the timer wheel, and the high-resolution one of compressed ACKs.

What is due when stands in `TcpEndpoint.deadlines`; what is done then is its socket's to know. Must not know segments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from emu.clock import Clock, Timer
from emu.kernel.transport.tcp_sock import Deadline


class Deadlines:
    """`transmit`, `ack`, `linger`, `compressed`: for which deadlines (ns) the timers run, None: not. `expired(kind)` is called when
    one is over.

    A timer of the wheel is made when it is needed first, and armed again from then on.
    """

    __slots__ = (
        "_ack", "_clock", "_compressed", "_expired", "_linger", "_on_ack", "_on_transmit", "_transmit",
        "ack", "compressed", "linger", "transmit",
    )  # fmt: skip
    _on_transmit: Callable[[], None]
    _on_ack: Callable[[], None]

    def __init__(self, clock: Clock, expired: Callable[[Deadline], None]) -> None:
        self._clock, self._expired = clock, expired
        self.transmit: int | None = None
        self.ack: int | None = None
        self.linger: int | None = None
        self.compressed: int | None = None
        self._transmit: Timer | None = None
        self._ack: Timer | None = None
        self._linger: Timer | None = None
        self._compressed: Timer | None = None

    def move_transmit(self, due_ns: int | None, pinned: bool) -> None:
        """The deadline is another one now. `pinned`: it is a request's."""
        self.transmit = due_ns
        timer, clock = self._transmit, self._clock
        if due_ns is not None:
            if timer is None:
                self._on_transmit = partial(self._expired, "transmit")
            self._transmit = clock.mod_timer(timer, due_ns, self._on_transmit, False, pinned)
        elif timer is not None and timer.call is not None:  # its `take`, without the call
            timer.call = None
            clock.foreground -= 1

    def move_ack(self, due_ns: int | None, pinned: bool) -> None:
        self.ack = due_ns
        timer, clock = self._ack, self._clock
        if due_ns is not None:
            if timer is None:
                self._on_ack = partial(self._expired, "ack")
            self._ack = clock.mod_timer(timer, due_ns, self._on_ack, False, pinned)
        elif timer is not None and timer.call is not None:
            timer.call = None
            clock.foreground -= 1

    def move_rare(self, linger_ns: int | None, compressed_ns: int | None) -> None:
        """One of the two deadlines that few connections have, or both."""
        clock, timer = self._clock, self._compressed
        if linger_ns != self.linger:
            self.linger = linger_ns
            if linger_ns is not None:
                self._linger = clock.mod_timer(self._linger, linger_ns, partial(self._expired, "linger"), True)
            elif self._linger is not None:
                self._linger.take()
        if compressed_ns != self.compressed:
            self.compressed = compressed_ns
            if timer is not None:
                timer.take()
            if compressed_ns is not None:
                self._compressed = clock.call_at(compressed_ns, partial(self._expired, "compressed"))

    def cancel(self) -> None:
        for timer in (self._transmit, self._ack, self._linger, self._compressed):
            if timer is not None:
                timer.cancel()
