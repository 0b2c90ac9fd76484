"""Virtual time in integer nanoseconds, the backlog, the timers and the named random sources.

The only owner of time and chance: no other module imports `heapq`, `random` or `time`, and none
reads the wall clock. Two queues, as in Linux: the backlog (FIFO; only veth and lo put frames
there; each frame takes `hop_ns`) and the timers, which advance only when the backlog is empty.
Must not know what a device or a frame is.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, NamedTuple, Protocol

from emu.errors import InputError

US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000
# Virtual time starts at 0; as a date that is 2020-01-01T00:00:00Z, so that Wireshark shows sane dates.
EPOCH_NS = 1_577_836_800 * SECOND
TICK_NS = 4 * MS  # HZ=250
# The levels of the kernel's timer wheel: each has 64 slots, each slot is 8 times as wide as one of the level before.
LEVELS, SLOTS, WIDER = 9, 64, 3
WORD_BITS = 32  # what a random source draws at a time
NEVER = 1 << 63  # later than any time
PINNED = LEVELS  # the rank of a slot in the wheel of pinned timers, which fire before the others
# so many frames delivered without a timer in between are a loop (a stream of 100 MB over ten hops is 2 million)
DRAIN_LIMIT = 10_000_000


class Timer:
    """A call due at `due_ns`. `cancel` removes it; a fired or cancelled timer is not `pending`.

    `rank`: the level of the kernel's timer wheel in which it waits, PINNED more for a pinned one; -1 outside of the wheel.
    `queued_ns` and `queued`: the time and order of its one entry in the clock's heap (NEVER: it has none). A timer that is
    armed again keeps an entry that comes early enough, and takes its new place when that is met."""

    __slots__ = ("due_ns", "order", "call", "background", "rank", "clock", "queued", "queued_ns")

    def __init__(
        self,
        due_ns: int,
        order: int,
        call: Callable[[], None],
        background: bool,
        rank: int = -1,
        clock: Clock | None = None,
    ) -> None:
        self.due_ns, self.order, self.background, self.rank = due_ns, order, background, rank
        self.queued_ns, self.queued = due_ns, order
        self.call: Callable[[], None] | None = call
        self.clock = clock

    def cancel(self) -> None:
        self.take()

    def take(self) -> Callable[[], None] | None:
        """Give the call and end the timer. Its clock counts the pending timers that are not in the background."""
        call, self.call = self.call, None
        if call is not None and not self.background and self.clock is not None:
            self.clock.foreground -= 1
        return call

    @property
    def pending(self) -> bool:
        return self.call is not None

    def __lt__(self, other: Timer) -> bool:
        return (self.due_ns, self.order) < (other.due_ns, other.order)


class Moment(NamedTuple):
    """A time in ns, how many packets had come into being by then, and whose turn it was of what was done at that time."""

    now_ns: int
    packets: int
    turn: int = 0


class Script(Protocol):
    """Answers in place of a random source's own draws. None leaves a draw to the source."""

    def number(self) -> int | None:
        """The next integer, for bits and for a range alike."""
        ...

    def below(self, threshold: int, bits: int) -> bool | None:
        """Is a draw of `bits` bits below `threshold`? The probability is `threshold / 2**bits`."""
        ...


class Waiter(Protocol):
    """One of several programs that run at one time: it lets the others go on until what it waits for is there."""

    def wait(self, limit_ns: int | None, until: Callable[[], bool] | None) -> None: ...


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
    most sources of a large cluster have no draw."""

    __slots__ = ("_purpose", "_seed", "_source", "_spent_bits", "_state", "script")

    def __init__(self, seed: int, purpose: str) -> None:
        self._seed, self._purpose = seed, purpose
        self._source: random.Random | None = None
        self._state: tuple[Any, ...] | None = None  # of the source that this one was copied from
        self._spent_bits = 0  # drawn already, before the generator is made
        self.script: Script | None = None

    def _own(self) -> random.Random:
        if self._source is None:
            self._source = random.Random(f"{self._seed}/{self._purpose}")
            if self._state is not None:
                self._source.setstate(self._state)
                self._state = None
            elif self._spent_bits:
                self._source.getrandbits(self._spent_bits)
        return self._source

    def __deepcopy__(self, memo: dict[int, Any]) -> Draws:
        """A source of its own that goes on as this one does."""
        copied = Draws(self._seed, self._purpose)
        copied._state = self._state if self._source is None else self._source.getstate()
        copied._spent_bits = self._spent_bits
        if self.script is not None:
            copied.script = deepcopy(self.script, memo)
        return copied

    def getrandbits(self, bits: int) -> int:
        value = self.script.number() if self.script is not None else None
        return self._own().getrandbits(bits) if value is None else value

    def randrange(self, start: int, stop: int | None = None) -> int:
        """An integer from `start` to below `stop`; with one argument from 0 to below it."""
        value = self.script.number() if self.script is not None else None
        if value is not None:
            return value
        low, width = (0, start) if stop is None else (start, stop - start)
        source = self._own()
        if width <= 0:
            return source.randrange(start, stop)  # raises ValueError
        # Random.randrange, without its look at its arguments: the same draws
        bits = width.bit_length()
        drawn = source.getrandbits(bits)
        while drawn >= width:
            drawn = source.getrandbits(bits)
        return low + drawn

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

    def randbytes_once(self, count: int) -> bytes:
        """As `randbytes`, where there is rarely a further draw: no generator is kept for it (2.5 KiB)."""
        if self._source is not None or self._state is not None or self._spent_bits:
            return self.randbytes(count)
        drawn = random.Random(f"{self._seed}/{self._purpose}").randbytes(count)
        self._spent_bits = -(-count * 8 // WORD_BITS) * WORD_BITS
        return drawn


def wheel_slot(now_ns: int, due_ns: int) -> tuple[int, int]:
    """When a timer of the kernel that is armed now and is due at `due_ns` fires (ns), and the level where it waits.

    Never early, and late by up to two ticks (8 ms) if it is due within 252 ms, by 36 ms within 2 s, by 260 ms within 16 s:
    ticks are whole, and a slot ends after each timer in it was due (calc_wheel_index in kernel/time/timer.c).
    """
    ticks = now_ns // TICK_NS
    wait = -((now_ns - due_ns) // TICK_NS)
    if wait <= 0:
        return (ticks + 1) * TICK_NS, 0
    if wait < SLOTS:
        return (ticks + wait + 1) * TICK_NS, 0
    level = 1
    while level < LEVELS - 1 and wait > SLOTS - 1 << WIDER * level:
        level += 1
    shift = WIDER * level
    return ((ticks + wait >> shift) + 1 << shift) * TICK_NS, level


def _deliver(copies: list[tuple[Callable[[Any], None], Any]]) -> None:
    for receive, frame in copies:
        receive(frame)


class Clock:
    """`now` in ns since the start. `cpus` handle frames of one host at one time (see `beside`). `enqueue` feeds the backlog, `call_at` the timers, `run*` turn the wheel."""

    def __init__(self, seed: int = 0, hop_ns: int = US, drain_limit: int = DRAIN_LIMIT) -> None:
        self.now = 0
        self.seed = seed
        self.hop_ns = hop_ns
        self.drain_limit = drain_limit
        self.cpus, self._busy = 1, 1
        self.backlog: deque[tuple[Callable[[Any], None], Any]] = deque()
        self.enqueue = self.backlog.append
        self._timers: list[tuple[int, int, Timer]] = []  # a heap, by time and then by age
        self._woken: deque[Callable[[], None]] = deque()
        self._order = 0
        self.foreground = 0
        self.packets = 0  # the number of the last packet that came into being in any namespace
        self.turn = 0  # counted by who does several things at one time, and perhaps one of them later (`earlier`)
        self.turning = 0  # how many calls of `run` and `run_until` are under way, one in another
        self._random: dict[str, Draws] = {}
        self.program: Waiter | None = None  # the program whose turn it is: it waits where time would pass

    @property
    def jiffy_ns(self) -> int:
        """jiffies, in ns: when the last tick was. What the kernel counts in jiffies is remembered by it: of a time `jiffy_ns`
        plus whole ticks, `now` is at or behind it when the kernel's jiffies are; it is past it one tick later (time_after)."""
        return self.now - self.now % TICK_NS

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
        """Call `call()` at `due_ns` (now, if that is past). A background timer does not keep `run` going. `wheel`: a timer of
        the kernel's timer wheel, which fires at the tick where its slot ends."""
        if wheel:
            return self.mod_timer(None, due_ns, call, background=background)
        return self._start(max(due_ns, self.now), call, background, -1)

    def mod_timer(
        self,
        timer: Timer | None,
        due_ns: int,
        call: Callable[[], None],
        background: bool = False,
        pinned: bool = False,
    ) -> Timer:
        """mod_timer: arm `timer` (None: a new one) of the kernel's wheel for `due_ns`. One that is pending in the same slot
        keeps its place there. `pinned` timers of a tick fire before the others (TIMER_PINNED). `background` is always the
        same for a timer."""
        now = self.now
        wait = -((now - due_ns) // TICK_NS)
        if 0 < wait < SLOTS:  # wheel_slot, without its call: each segment arms timers
            fires_ns, rank = (now // TICK_NS + wait + 1) * TICK_NS, 0
        else:
            fires_ns, rank = wheel_slot(now, due_ns)
        if pinned:
            rank += PINNED
        if timer is None:
            return self._start(fires_ns, call, background, rank)
        if timer.call is None:
            if not background:
                self.foreground += 1
        elif timer.due_ns == fires_ns and timer.rank == rank:
            return timer
        order = self._order = self._order + 1
        timer.call = call
        timer.due_ns = fires_ns
        timer.rank = rank
        timer.order = order
        if timer.queued_ns > fires_ns:
            timer.queued_ns, timer.queued = fires_ns, order
            heapq.heappush(self._timers, (fires_ns, order, timer))
        return timer

    def _start(self, due_ns: int, call: Callable[[], None], background: bool, rank: int) -> Timer:
        order = self._order = self._order + 1
        timer = Timer(due_ns, order, call, background, rank, self)
        if not background:
            self.foreground += 1
        heapq.heappush(self._timers, (due_ns, order, timer))
        return timer

    def call_later(self, delay_ns: int, call: Callable[[], None], *, background: bool = False) -> Timer:
        return self._start(self.now + max(delay_ns, 0), call, background, -1)

    def wake(self, call: Callable[[], None]) -> None:
        """Call `call()` when all that is under way has arrived, before any timer: a program wakes and runs. Programs run one
        after the other, none inside another's call."""
        self._woken.append(call)

    def together(self, waiting: int) -> None:
        """The frames that joined the backlog since it held `waiting` frames arrive at one time: the copies of one frame
        travel in parallel, so that a further receiver does not delay the others."""
        backlog = self.backlog
        if len(backlog) > waiting + 1:
            copies = [backlog.pop() for _ in range(len(backlog) - waiting)]
            backlog.append((_deliver, copies[::-1]))

    def beside(self, concerned: Callable[[Callable[[Any], None]], bool]) -> None:
        """A free CPU handles the frame that is next in the backlog, at this very time, if its receiver is `concerned`. What
        can lose a race between two CPUs calls this where it would."""
        if self._busy < self.cpus and self.backlog and concerned(self.backlog[0][0]):
            receive, frame = self.backlog.popleft()
            self._busy += 1
            receive(frame)
            self._busy -= 1

    def drain(self) -> None:
        """Deliver the backlog until it is empty. Timers wait. Raises InputError after `drain_limit` deliveries: the
        topology has a loop."""
        backlog = self.backlog
        if not backlog:
            return
        hop_ns = self.hop_ns
        for _ in range(self.drain_limit):
            if not backlog:
                return
            receive, frame = backlog.popleft()
            self.now += hop_ns
            receive(frame)
        if backlog:
            places = dict.fromkeys(repr(getattr(receive, "__self__", receive)) for receive, _frame in backlog)
            raise InputError(
                f"{self.drain_limit} deliveries and no end: frames go round by {', '.join(list(places)[:8])}",
                expected="links without a circle",
            )

    @property
    def moment(self) -> Moment:
        return Moment(self.now, self.packets, self.turn)

    def skip_to(self, moment: Moment) -> None:
        """Time passes in which nothing is on its way, and packets come and go whose work is done later (see `earlier`)."""
        self.now, self.packets, self.turn = moment

    def earlier(self, moment: Moment, call: Callable[[], None]) -> Moment:
        """Run `call()` as at an earlier time, when nothing was on its way, and deliver what it sends. Then it is now again, and what is
        on its way now still is. Gives the moment at which all of it was done. `call` starts no timer."""
        present, busy, timers = self.moment, self._busy, self._order
        waiting = [*self.backlog]
        self.backlog.clear()
        self.skip_to(moment)
        self._busy = 1
        try:
            call()
            self.drain()
            done = self.moment
        finally:
            self.backlog.extend(waiting)
            self.skip_to(present)
            self._busy = busy
        assert timers == self._order, "a timer was started in the past"
        return done

    def _settle(self) -> None:
        if self.backlog:
            self.drain()
        while self._woken:
            self._woken.popleft()()
            if self.backlog:
                self.drain()

    def run_until(self, end_ns: int) -> None:
        """Deliver everything due up to and including `end_ns`; afterwards `now` is `end_ns` (or later, if a call took longer)."""
        if self.program is not None:
            self.program.wait(end_ns, None)
            return
        self.turning += 1
        try:
            self._settle()
            timers = self._timers
            while timers and timers[0][0] <= end_ns:
                entry = heapq.heappop(timers)
                if self._due(entry):
                    self._fire(entry)
        finally:
            self.turning -= 1
        self.now = max(self.now, end_ns)

    def run(self, limit_ns: int | None = None, until: Callable[[], bool] | None = None) -> None:
        """Run until `until()` holds, or only background timers are left, or `limit_ns` is reached."""
        if self.program is not None:
            self.program.wait(limit_ns, until)
            return
        self.turning += 1
        try:
            self._run(limit_ns, until)
        finally:
            self.turning -= 1

    def _run(self, limit_ns: int | None, until: Callable[[], bool] | None) -> None:
        self._settle()
        timers = self._timers
        while timers and not (until is not None and until()):
            entry = timers[0]
            if entry[1] == entry[2].order and entry[2].call is not None:
                if limit_ns is not None and entry[0] > limit_ns:
                    self.now = max(self.now, limit_ns)
                    return
                if until is None and not self.foreground:
                    return
            heapq.heappop(timers)
            if self._due(entry):
                self._fire(entry)

    def _due(self, entry: tuple[int, int, Timer]) -> bool:
        """Does an entry that left the heap fire? Not if its timer was cancelled; one that was armed anew since takes its place."""
        _due_ns, order, timer = entry
        if timer.queued != order:
            return False  # an earlier entry replaced it
        timer.queued_ns = NEVER
        if timer.call is None:
            return False
        if timer.order == order:
            return True
        timer.queued_ns, timer.queued = timer.due_ns, timer.order
        heapq.heappush(self._timers, (timer.due_ns, timer.order, timer))
        return False

    def _fire(self, entry: tuple[int, int, Timer]) -> None:
        for due_ns, order, timer in self._tick(entry) if entry[2].rank >= 0 else (entry,):
            # one of the same tick may have cancelled it, and armed it anew
            call = timer.take() if timer.order == order else None
            if call is not None:
                self.now = max(self.now, due_ns)
                call()
        self._settle()

    def _tick(self, entry: tuple[int, int, Timer]) -> list[tuple[int, int, Timer]]:
        """The wheel's timers that fire at one tick: pinned ones, then the wider slots; in a slot the one that entered it last,
        for a slot is a list that is filled at its head. All of them run before anything that they send arrives
        (run_timer_softirq, expire_timers)."""
        timers, due_ns = self._timers, entry[0]
        tick = [entry]
        others: list[tuple[int, int, Timer]] = []
        while timers and timers[0][0] == due_ns:
            entry = heapq.heappop(timers)
            if entry[2].rank < 0:
                others.append(entry)
            elif self._due(entry):
                tick.append(entry)
        for entry in others:
            heapq.heappush(timers, entry)
        if len(tick) > 1:
            tick.sort(key=lambda each: (-each[2].rank, -each[1]))
        return tick
