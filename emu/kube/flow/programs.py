"""Programs that run at one time on one clock: each runs until it waits, and another one's turn comes.

A program is a plain function, in a thread that is its own while it runs; only one runs at a time, in an order that the clock alone decides. What a program calls may
let time pass (`Clock.run`, `Clock.run_until`): there it waits, and the others go on. Must not know flows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import Lock, Thread
from typing import Protocol

from emu.clock import Waiter

Start = tuple[int, Callable[[], None]]
Until = Callable[[], bool]


class Turns(Protocol):
    """The clock of the programs. `program` is the one whose turn it is; its waits are handed to it."""

    now: int
    turning: int
    program: Waiter | None

    def run(self, limit_ns: int | None = None, until: Until | None = None) -> None: ...
    def run_until(self, end_ns: int) -> None: ...


class Program:
    """A function to run. After each turn it `ended`, or waits for `until` or the time `limit_ns`."""

    __slots__ = ("_stage", "begun", "call", "ended", "limit_ns", "mine", "until")

    def __init__(self, stage: Stage, call: Callable[[], None]) -> None:
        self._stage, self.call = stage, call
        self.mine = _held()  # free for the moment in which the turn is handed to it
        self.limit_ns: int | None = None
        self.until: Until | None = None
        self.begun = self.ended = False

    def wait(self, limit_ns: int | None, until: Until | None) -> None:
        """Called by the program: it has to wait."""
        self.limit_ns, self.until = limit_ns, until
        self._stage.others(self)

    def due(self) -> bool:
        """Is what it waits for there?"""
        timed = self.limit_ns is not None and self._stage.clock.now >= self.limit_ns
        return timed or (self.until is not None and self.until())


class Stage:
    """Whose turn it is. A program that waits or ends finds the next one itself: it goes on in the same thread where no other program is due before,
    and the next one begins in the thread of the one that ended."""

    def __init__(self, clock: Turns, coming: Iterator[Start]) -> None:
        self.clock, self._coming = clock, coming
        self._following = next(coming, None)
        self._running: list[Program] = []
        self._ready: deque[Program] = deque()
        self._over = _held()  # free when all have ended, or one raised
        self._error: BaseException | None = None
        self._left = False

    def play(self) -> None:
        first = self._next()
        if first is None:
            return
        self._hand(first)
        try:
            self._over.acquire()
        except BaseException:
            self._left = True
            raise
        if self._error is not None:
            raise self._error

    def others(self, program: Program) -> None:
        """Let others go on until this program is due."""
        self._turned()
        try:
            following = self._next()
            assert following is not None
            if following is program:
                self._turn(program)
                return
            self._hand(following)
        except BaseException as error:  # it goes on in `play`, and here nothing more happens
            self._raised(error)
        program.mine.acquire()

    def _work(self, program: Program | None) -> None:
        """A thread: it runs programs until the next one has a thread already."""
        try:
            while program is not None:
                program.begun = True
                try:
                    program.call()
                finally:
                    program.ended = True
                    self._turned()
                program = self._next()
                if program is not None:
                    if program.begun:
                        self._hand(program)
                        return
                    self._turn(program)
        except BaseException as error:  # it goes on in `play`
            self._raised(error)
            return
        self._over.release()

    def _turn(self, program: Program) -> None:
        self.clock.program = program
        self.clock.turning += 1  # as inside `run`

    def _turned(self) -> None:
        self.clock.turning -= 1
        self.clock.program = None

    def _hand(self, program: Program) -> None:
        self._turn(program)
        if program.begun:
            program.mine.release()
        else:
            Thread(target=self._work, args=(program,), daemon=True).start()

    def _raised(self, error: BaseException) -> None:
        self._error = error
        self._over.release()

    def _next(self) -> Program | None:
        """The program whose turn is next, after the time that passes until then. None: all have ended."""
        clock, ready = self.clock, self._ready
        while not ready:
            if self._left:
                _held().acquire()  # the caller waits for the end no more
            self._running = running = [program for program in self._running if not program.ended]
            if self._following is None and not running:
                return None
            ready.extend([program for program in running if program.due()])
            while self._following is not None and self._following[0] <= clock.now:
                ready.append(Program(self, self._following[1]))
                running.append(ready[-1])
                self._following = next(self._coming, None)
            if not ready:
                limits = [program.limit_ns for program in running if program.limit_ns is not None]
                if self._following is not None:
                    limits.append(self._following[0])
                next_ns = min(limits)
                if not _any_due(clock, running, next_ns):
                    clock.run_until(next_ns)
        return ready.popleft()


def together(clock: Turns, starts: Sequence[Start] | Iterator[Start]) -> None:
    """Run functions, each from its time (ns) on, until all have ended. An iterator has them in the order of time, and is asked for each when
    the one before has begun. Raises what one of them raised."""
    coming = starts if isinstance(starts, Iterator) else iter(sorted(starts, key=lambda start: start[0]))
    Stage(clock, coming).play()


def _held() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


def _any_due(clock: Turns, running: Sequence[Program], limit_ns: int) -> bool:
    """Let time pass until a program is due, at most to `limit_ns`."""

    def due() -> bool:
        return any(program.due() for program in running)

    found = running[0].due if len(running) == 1 else due
    clock.run(limit_ns, found)
    return found()
