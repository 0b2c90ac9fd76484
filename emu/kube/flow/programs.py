"""Programs that run at one time on one clock: each runs until it waits, and another one's turn comes.

A program is a plain function, in a thread of its own; only one runs at a time, in an order that the clock alone decides. What a program calls may
let time pass (`Clock.run`, `Clock.run_until`): there it waits, and the others go on. Must not know flows.
"""

from __future__ import annotations

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
    """A function that has begun. After each turn it `ended`, or waits for `until` or the time `limit_ns`."""

    def __init__(self, clock: Turns, call: Callable[[], None]) -> None:
        self._clock, self._call = clock, call
        self._mine, self._others = Lock(), Lock()  # each is held but for the moment in which a turn is handed over
        self._mine.acquire()
        self._others.acquire()
        self._thread = Thread(target=self._body, daemon=True)
        self._error: BaseException | None = None
        self.limit_ns: int | None = None
        self.until: Until | None = None
        self.ended = False
        self._thread.start()

    def _body(self) -> None:
        self._mine.acquire()
        try:
            self._call()
        except BaseException as error:  # it goes on in `turn`, where the program was started
            self._error = error
        self.ended = True
        self._others.release()

    def turn(self) -> None:
        """Let it run until it waits or ends. Raises what the function raised."""
        clock = self._clock
        clock.program = self
        clock.turning += 1  # as inside `run`
        self._mine.release()
        self._others.acquire()
        clock.turning -= 1
        clock.program = None
        if self._error is not None:
            raise self._error

    def wait(self, limit_ns: int | None, until: Until | None) -> None:
        """Called by the program: it has to wait."""
        self.limit_ns, self.until = limit_ns, until
        self._others.release()
        self._mine.acquire()

    @property
    def due(self) -> bool:
        """Is what it waits for there?"""
        timed = self.limit_ns is not None and self._clock.now >= self.limit_ns
        return timed or (self.until is not None and self.until())


def together(clock: Turns, starts: Sequence[Start] | Iterator[Start]) -> None:
    """Run functions, each from its time (ns) on, until all have ended. An iterator has them in the order of time, and is asked for each when
    the one before has begun. Raises what one of them raised."""
    coming = starts if isinstance(starts, Iterator) else iter(sorted(starts, key=lambda start: start[0]))
    following = next(coming, None)
    running: list[Program] = []
    while following is not None or running:
        ready = [program for program in running if program.due]
        while following is not None and following[0] <= clock.now:
            ready.append(Program(clock, following[1]))
            running.append(ready[-1])
            following = next(coming, None)
        for program in ready:
            program.turn()
        running = [program for program in running if not program.ended]
        if ready:
            continue
        limits = [program.limit_ns for program in running if program.limit_ns is not None]
        next_ns = min([*limits, *([following[0]] if following is not None else [])])
        if not _any_due(clock, running, next_ns):
            clock.run_until(next_ns)


def _any_due(clock: Turns, running: Sequence[Program], limit_ns: int) -> bool:
    """Let time pass until a program is due, at most to `limit_ns`."""

    def due() -> bool:
        return any(program.due for program in running)

    clock.run(limit_ns, due)
    return due()
