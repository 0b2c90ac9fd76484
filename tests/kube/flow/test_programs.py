"""Programs that run at one time: their turns follow the clock, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident

import pytest

from emu.clock import MS, Clock
from emu.errors import InputError
from emu.kube.flow.programs import together


def talker(clock: Clock, name: str, log: list[tuple[str, int]], *waits_ms: int) -> Callable[[], None]:
    def run() -> None:
        log.append((name, clock.now // MS))
        for wait in waits_ms:
            clock.run_until(clock.now + wait * MS)
            log.append((name, clock.now // MS))

    return run


def test_programs_take_turns_by_time() -> None:
    clock, log = Clock(), list[tuple[str, int]]()
    together(
        clock,
        [
            (5 * MS, talker(clock, "b", log, 10)),
            (0, talker(clock, "a", log, 3, 9)),
            (5 * MS, talker(clock, "c", log, 1)),
        ],
    )
    assert log == [("a", 0), ("a", 3), ("b", 5), ("c", 5), ("c", 6), ("a", 12), ("b", 15)]
    assert (clock.now, clock.program) == (15 * MS, None)


def test_a_program_waits_for_what_another_does() -> None:
    clock, seen, flag = Clock(), list[int](), list[bool]()

    def waits() -> None:
        clock.run(100 * MS, lambda: bool(flag))
        seen.append(clock.now // MS)

    def sets() -> None:
        clock.run_until(7 * MS)
        flag.append(True)

    together(clock, [(0, waits), (0, sets)])
    assert seen == [7]


def test_a_wait_ends_at_its_limit_also_without_any_timer() -> None:
    clock, seen = Clock(), list[int]()

    def waits() -> None:
        clock.run(40 * MS, lambda: False)
        seen.append(clock.now // MS)

    together(clock, [(0, waits)])
    assert seen == [40]


def test_timers_fire_while_programs_wait() -> None:
    clock, log = Clock(), list[tuple[str, int]]()
    clock.call_at(4 * MS, lambda: log.append(("timer", clock.now // MS)))
    together(clock, [(0, talker(clock, "a", log, 2, 4))])
    assert log == [("a", 0), ("a", 2), ("timer", 4), ("a", 6)]


def test_an_error_of_a_program_is_raised_and_the_clock_is_free_again() -> None:
    clock = Clock()

    def fails() -> None:
        clock.run_until(3 * MS)
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        together(clock, [(0, fails)])
    assert clock.program is None
    clock.run_until(9 * MS)
    assert clock.now == 9 * MS


def test_programs_that_do_not_overlap_share_a_thread() -> None:
    """Their turns are handed to no other thread; programs that overlap have one each."""
    clock, threads = Clock(), list[int]()

    def waits() -> None:
        threads.append(get_ident())
        clock.run_until(clock.now + 3 * MS)
        threads.append(get_ident())

    together(clock, [(at * 10 * MS, waits) for at in range(4)])
    assert len({*threads}) == 1
    threads.clear()
    together(clock, [(clock.now + at * MS, waits) for at in range(2)])
    assert len({*threads}) == 2


def test_an_error_between_turns_is_raised_and_no_program_goes_on() -> None:
    clock, seen = Clock(), list[int]()

    def waits() -> None:
        clock.run_until(9 * MS)
        seen.append(clock.now)

    def fails() -> None:
        raise InputError("no")

    clock.call_at(2 * MS, fails)
    with pytest.raises(InputError, match="no"):
        together(clock, [(0, waits), (MS, waits)])
    assert (seen, clock.program) == ([], None)
