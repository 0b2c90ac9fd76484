"""Virtual time in integer nanoseconds, the backlog, the timers and the named random sources.

The only owner of time and chance: nobody else imports `heapq`, `random` or `time`, and nobody
reads the wall clock. Two queues, as in Linux: the backlog (FIFO; only veth and lo put frames
there; each frame takes `hop_ns`) and the timers, which advance only when the backlog is empty.
Must not know what a device or a frame is.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from emu.errors import InputError

US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000
# Virtual time starts at 0; as a date that is 2020-01-01T00:00:00Z, so that Wireshark shows sane dates.
EPOCH_NS = 1_577_836_800 * SECOND
# Timers of the kernel's wheel that are due this close together share a slot (4 ms and more), most likely
SLOT_NS = MS
# so many frames delivered while no timer may run are a circle (a stream of 100 MB over ten hops is 2 million)
DRAIN_LIMIT = 10_000_000


class Timer:
    """A call due at `due_ns`. `cancel` forgets it; a fired or cancelled timer is not `pending`.

    `wheel`: it is one of the kernel's timer wheel, where the last to enter a slot is the first to leave it."""

    __slots__ = ("due_ns", "order", "call", "background", "wheel", "clock")

    def __init__(
        self,
        due_ns: int,
        order: int,
        call: Callable[[], None],
        background: bool,
        wheel: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.due_ns, self.order, self.background, self.wheel = due_ns, order, background, wheel
        self.call: Callable[[], None] | None = call
        self.clock = clock

    def cancel(self) -> None:
        self.take()

    def take(self) -> Callable[[], None] | None:
        """The call, which the timer forgets. Its clock counts the pending timers that are not in the background."""
        call, self.call = self.call, None
        if call is not None and not self.background and self.clock is not None:
            self.clock.foreground -= 1
        return call

    @property
    def pending(self) -> bool:
        return self.call is not None

    def __lt__(self, other: Timer) -> bool:
        return (self.due_ns, self.order) < (other.due_ns, other.order)


class Script(Protocol):
    """Answers in place of a random source's own draws. None leaves a draw to the source."""

    def number(self) -> int | None:
        """The next integer, whatever is drawn (bits or a range)."""
        ...

    def below(self, threshold: int, bits: int) -> bool | None:
        """Is a draw of `bits` bits below `threshold`? It is with probability `threshold / 2**bits`."""
        ...


class Values:
    """The script that lists integers: what a real kernel drew, for example. After the last the source draws itself."""

    __slots__ = ("_left",)

    def __init__(self, values: Iterable[int]) -> None:
        self._left = deque(values)

    def number(self) -> int | None:
        return self._left.popleft() if self._left else None

    def below(self, threshold: int, bits: int) -> bool | None:
        return self._left.popleft() < threshold if self._left else None


class Draws:
    """The random source of one purpose. `script` (if any) answers first. The generator is made at the first draw, because
    most sources of a large cluster are never drawn from."""

    __slots__ = ("_purpose", "_seed", "_source", "script")

    def __init__(self, seed: int, purpose: str) -> None:
        self._seed, self._purpose = seed, purpose
        self._source: random.Random | None = None
        self.script: Script | None = None

    def _own(self) -> random.Random:
        if self._source is None:
            self._source = random.Random(f"{self._seed}/{self._purpose}")
        return self._source

    def getrandbits(self, bits: int) -> int:
        value = self.script.number() if self.script is not None else None
        return self._own().getrandbits(bits) if value is None else value

    def randrange(self, start: int, stop: int | None = None) -> int:
        """An integer from `start` to below `stop`; with one argument from 0 to below it."""
        value = self.script.number() if self.script is not None else None
        return self._own().randrange(start, stop) if value is None else value

    def below(self, threshold: int, bits: int) -> bool:
        """Is a draw of `bits` bits below `threshold`?"""
        answer = self.script.below(threshold, bits) if self.script is not None else None
        return self._own().getrandbits(bits) < threshold if answer is None else answer

    def random(self) -> float:
        """From 0 to below 1. Scripts hold integers and do not answer it."""
        return self._own().random()

    def randbytes(self, count: int) -> bytes:
        """Scripts hold integers and do not answer it."""
        return self._own().randbytes(count)


def _deliver(copies: list[tuple[Callable[[Any], None], Any]]) -> None:
    for receive, frame in copies:
        receive(frame)


class Clock:
    """`now` in ns since the start. `enqueue` feeds the backlog, `call_at` the timers, `run*` turn the wheel."""

    def __init__(self, seed: int = 0, hop_ns: int = US, drain_limit: int = DRAIN_LIMIT) -> None:
        self.now = 0
        self.seed = seed
        self.hop_ns = hop_ns
        self.drain_limit = drain_limit
        self.backlog: deque[tuple[Callable[[Any], None], Any]] = deque()
        self.enqueue = self.backlog.append
        self._timers: list[tuple[int, int, Timer]] = []  # a heap, by time and then by age
        self._order = 0
        self.foreground = 0
        self._random: dict[str, Draws] = {}

    def random(self, purpose: str) -> Draws:
        """The random source of one purpose; other purposes' draws never shift it."""
        source = self._random.get(purpose)
        if source is None:
            source = self._random[purpose] = Draws(self.seed, purpose)
        return source

    def script(self, purpose: str, script: Script) -> None:
        """Let `script` answer before the source of one purpose. Replaces an earlier script."""
        self.random(purpose).script = script

    def call_at(self, due_ns: int, call: Callable[[], None], *, background: bool = False, wheel: bool = False) -> Timer:
        """Call `call()` at `due_ns` (now, if that is past). A background timer does not keep `run` going."""
        self._order += 1
        timer = Timer(max(due_ns, self.now), self._order, call, background, wheel, self)
        self.foreground += not background
        heapq.heappush(self._timers, (timer.due_ns, timer.order, timer))
        return timer

    def call_later(self, delay_ns: int, call: Callable[[], None], *, background: bool = False) -> Timer:
        return self.call_at(self.now + delay_ns, call, background=background)

    def together(self, waiting: int) -> None:
        """What joined the backlog since it held `waiting` frames arrives at one time: the copies of one frame travel side
        by side, so that one receiver more does not delay the others."""
        backlog = self.backlog
        if len(backlog) > waiting + 1:
            copies = [backlog.pop() for _ in range(len(backlog) - waiting)]
            backlog.append((_deliver, copies[::-1]))

    def drain(self) -> None:
        """Deliver the backlog until it is empty. Timers wait. Raises InputError after `drain_limit` deliveries: what is
        built sends frames round in a circle."""
        backlog, hop_ns = self.backlog, self.hop_ns
        pop = backlog.popleft
        for _ in range(self.drain_limit):
            if not backlog:
                return
            receive, frame = pop()
            self.now += hop_ns
            receive(frame)
        if backlog:
            places = dict.fromkeys(repr(getattr(receive, "__self__", receive)) for receive, _frame in backlog)
            raise InputError(
                f"{self.drain_limit} deliveries and no end: frames go round by {', '.join(list(places)[:8])}",
                expected="links without a circle",
            )

    def run_until(self, end_ns: int) -> None:
        """Deliver everything due up to and including `end_ns`; then it is `end_ns` (or later, if work took longer)."""
        self.drain()
        timers = self._timers
        while timers and timers[0][0] <= end_ns:
            self._fire(heapq.heappop(timers)[2], end_ns)
        self.now = max(self.now, end_ns)

    def run(self, limit_ns: int | None = None, until: Callable[[], bool] | None = None) -> None:
        """Run until `until()` holds, or only background timers are left, or `limit_ns` is reached."""
        self.drain()
        timers = self._timers
        while timers and not (until is not None and until()):
            due_ns, _order, timer = timers[0]
            if timer.call is not None:
                if limit_ns is not None and due_ns > limit_ns:
                    self.now = max(self.now, limit_ns)
                    return
                if until is None and not self.foreground:
                    return
            self._fire(heapq.heappop(timers)[2], limit_ns)

    def _fire(self, timer: Timer, last_ns: int | None) -> None:
        if timer.call is None:
            return
        for each in self._slot(timer, last_ns) if timer.wheel else (timer,):
            call = each.take()
            if call is not None:
                self.now = max(self.now, each.due_ns)
                call()
        self.drain()

    def _slot(self, timer: Timer, last_ns: int | None) -> list[Timer]:
        """The wheel's timers that are due together with `timer` (and by `last_ns`), the last that was started first: a slot
        is a list that is filled at its head, and all of it runs before anything that it sends arrives (expire_timers)."""
        timers, end_ns = self._timers, timer.due_ns + SLOT_NS
        if last_ns is not None:
            end_ns = min(end_ns, last_ns)
        slot: list[Timer] = [timer]
        others: list[tuple[int, int, Timer]] = []
        while timers and timers[0][0] <= end_ns:
            entry = heapq.heappop(timers)
            if entry[2].wheel:
                slot.append(entry[2])
            else:
                others.append(entry)
        for entry in others:
            heapq.heappush(timers, entry)
        slot.sort(key=lambda each: -each.order)
        return slot
