"""Virtual time: the order of timers, the slots of the kernel's wheel among them, the backlog; and scripted draws."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.clock import MS, SECOND, TICK_NS, US, Clock, Moment, Timer, Values, wheel_slot


class Log:
    """Timers that write down their names, and, if asked, send something that arrives."""

    def __init__(self) -> None:
        self.clock, self.seen = Clock(), list[str]()

    def at(self, due_ns: int, name: str, *, wheel: bool = False, sends: bool = False) -> Timer:
        def call() -> None:
            self.seen.append(name)
            if sends:
                self.clock.enqueue((self.seen.append, f"{name} arrives"))

        act: Callable[[], None] = call
        return self.clock.call_at(due_ns, act, wheel=wheel)


def test_timers_fire_by_time_then_by_age() -> None:
    log = Log()
    log.at(2 * MS, "c")
    log.at(MS, "a")
    log.at(MS, "b")
    log.clock.run_until(5 * MS)
    assert log.seen == ["a", "b", "c"]
    assert log.clock.now == 5 * MS


def test_a_run_ends_when_only_background_timers_are_left() -> None:
    log = Log()
    clock, gone = log.clock, log.at(4 * MS, "cancelled")
    for due_ns in (MS, 3 * MS):
        clock.call_at(due_ns, lambda: log.seen.append("background"), background=True)
    log.at(2 * MS, "foreground")
    clock.call_at(2 * MS, gone.cancel)
    clock.run()
    assert log.seen == ["background", "foreground"] and clock.now == 2 * MS
    gone.cancel()
    assert clock.foreground == 0
    log.at(5 * MS, "again")
    clock.run()
    assert log.seen == ["background", "foreground", "background", "again"]


@pytest.mark.parametrize(
    ("now_ms", "wait_ms", "fires_ms", "level"),
    [
        (0, 0, 4, 0),  # no timer fires before the next tick
        (3, -1, 4, 0),
        (0, 0.000001, 8, 0),  # a tick more than it waits: the present one has begun
        (3.999, 40, 44, 0),
        (4, 40, 48, 0),
        (0, 252, 256, 0),
        (0, 252.001, 288, 1),
        (0, 1000, 1024, 1),
        (20, 1000, 1024, 1),  # 1.004 s: the phase decides
        (24, 1000, 1056, 1),
        (1024, 1000, 2048, 1),
        (0, 2016, 2048, 1),
        (0, 2017, 2048, 2),
        (1, 5000, 5120, 2),
        (0, 60_000, 61_440, 3),
    ],
)
def test_slots_of_the_wheel(now_ms: float, wait_ms: float, fires_ms: int, level: int) -> None:
    now_ns = round(now_ms * MS)
    assert wheel_slot(now_ns, now_ns + round(wait_ms * MS)) == (fires_ms * MS, level)


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_a_timer_of_the_wheel_is_never_early_and_late_by_a_slot(now_ns: int, wait_ns: int) -> None:
    fires_ns, level = wheel_slot(now_ns, now_ns + wait_ns)
    assert 0 < fires_ns - now_ns - wait_ns <= (TICK_NS << 3 * level) + TICK_NS
    assert fires_ns % (TICK_NS << 3 * level) == 0


def test_syns_of_a_client_without_an_answer() -> None:
    """Six clients of a kernel, seen by tcpdump: the first SYN comes again after 1.000 to 1.036 s, the next after 1.024 s each."""
    for start_ns in range(0, 40 * MS, MS // 3):
        times = [start_ns]
        for _ in range(4):
            times.append(wheel_slot(times[-1], times[-1] + SECOND)[0])
        first_ns, *others_ns = (after - before for before, after in pairwise(times))
        assert SECOND < first_ns <= SECOND + 36 * MS and others_ns == [1024 * MS] * 3


def test_the_last_to_enter_a_slot_leaves_it_first_and_what_it_sends_comes_after_the_tick() -> None:
    log = Log()
    log.at(0, "next tick", wheel=True)
    log.at(40 * MS, "syn", wheel=True, sends=True)
    log.at(39 * MS, "syn-ack", wheel=True, sends=True)
    log.at(44 * MS + 1, "program")
    log.at(41 * MS, "later", wheel=True)
    log.clock.run_until(50 * MS)
    assert log.seen == ["next tick", "syn-ack", "syn", "syn-ack arrives", "syn arrives", "program", "later"]


def test_wider_slots_fire_before_narrower_ones_of_the_tick_and_pinned_ones_first() -> None:
    log = Log()
    log.at(1000 * MS, "32 ms wide", wheel=True)
    log.clock.mod_timer(None, 1000 * MS, lambda: log.seen.append("pinned"), pinned=True)
    log.clock.run_until(1019 * MS)
    log.at(1019 * MS, "4 ms wide", wheel=True, sends=True)
    assert log.clock.now == 1019 * MS
    log.clock.run_until(1020 * MS)
    assert log.seen == ["4 ms wide", "4 ms wide arrives"]  # due at once: the next tick, which is not the others'
    log.at(1020 * MS, "4 ms wide again", wheel=True)
    log.clock.run_until(1024 * MS)
    assert log.seen[2:] == ["pinned", "32 ms wide", "4 ms wide again"]


def test_a_timer_that_stays_in_its_slot_keeps_its_place() -> None:
    log = Log()
    clock = log.clock
    first = clock.mod_timer(None, 1000 * MS, lambda: log.seen.append("first"))
    clock.mod_timer(None, 1000 * MS, lambda: log.seen.append("second"))
    assert clock.mod_timer(first, 1010 * MS, lambda: log.seen.append("moved")) is first
    moved = clock.mod_timer(first, 1030 * MS, lambda: log.seen.append("moved"))
    assert moved is first and first.due_ns > 1010 * MS and clock.foreground == 2
    clock.run()
    assert log.seen == ["second", "moved"] and not first.pending
    assert clock.mod_timer(moved, clock.now, lambda: log.seen.append("again")).pending


def test_a_timer_that_is_armed_anew_fires_once_at_its_last_time_as_the_last_to_enter_its_slot() -> None:
    log = Log()
    clock = log.clock
    timer = clock.mod_timer(None, 8 * MS, lambda: log.seen.append("never"))
    log.at(100 * MS, "other", wheel=True)
    timer.cancel()
    for due_ns in (200 * MS, 20 * MS, 100 * MS):  # later, earlier than what waits for it in the heap, later again
        clock.mod_timer(timer, due_ns, lambda: log.seen.append("armed anew"))
    log.at(100 * MS, "last", wheel=True)
    assert clock.foreground == 3
    clock.run(until=lambda: len(log.seen) == 3)
    assert log.seen == ["last", "armed anew", "other"] and clock.now == 104 * MS
    clock.run()
    assert clock.now == 104 * MS and not clock.foreground and len(log.seen) == 3


def test_a_timer_that_another_of_its_tick_arms_anew_fires_at_its_new_time_only() -> None:
    log = Log()
    clock = log.clock
    timer = clock.mod_timer(None, 8 * MS, lambda: log.seen.append("early"))

    def earlier_in_the_tick() -> None:
        timer.cancel()
        clock.mod_timer(timer, 40 * MS, lambda: log.seen.append(f"at {clock.now // MS}"))

    clock.mod_timer(None, 8 * MS, earlier_in_the_tick)
    clock.run()
    assert log.seen == ["at 44"]


def test_a_timer_that_is_armed_again_and_again_stands_in_the_heap_once() -> None:
    clock = Clock()
    timer = clock.mod_timer(None, 200 * MS, lambda: None)
    for now in range(100):
        timer.cancel()
        clock.mod_timer(timer, 200 * MS + now * 4 * MS, lambda: None)
    assert len(clock._timers) == 1


def test_a_cancelled_timer_opens_no_tick() -> None:
    log = Log()
    log.at(MS, "cancelled", wheel=True).cancel()
    log.at(MS + 10, "program")
    log.at(MS + 20, "wheel", wheel=True)
    log.clock.run_until(10 * MS)
    assert log.seen == ["program", "wheel"]


def test_a_woken_program_runs_when_all_has_arrived_and_before_any_timer() -> None:
    log = Log()
    clock = log.clock

    def program() -> None:
        log.seen.append("program")
        clock.enqueue((log.seen.append, "sent"))
        clock.wake(lambda: log.seen.append("another"))
        clock.drain()  # inside a call no other program runs
        log.seen.append("call ends")

    clock.call_at(0, lambda: log.seen.append("timer"))
    clock.enqueue((lambda _: clock.wake(program), None))
    clock.enqueue((log.seen.append, "frame"))
    clock.run()
    assert log.seen == ["frame", "program", "sent", "call ends", "another", "timer"]


def test_copies_of_one_frame_arrive_at_one_time_and_others_one_hop_apart() -> None:
    clock, seen = Clock(), list[tuple[int, str]]()

    def receive(name: str) -> None:
        seen.append((clock.now, name))

    clock.enqueue((receive, "before"))
    waiting = len(clock.backlog)
    for name in ("a", "b", "c"):
        clock.enqueue((receive, name))
    clock.together(waiting)
    clock.enqueue((receive, "after"))
    clock.drain()
    assert seen == [(US, "before"), (2 * US, "a"), (2 * US, "b"), (2 * US, "c"), (3 * US, "after")]


def test_one_frame_or_none_is_no_group() -> None:
    clock, seen = Clock(), list[int]()
    clock.together(0)
    clock.enqueue((seen.append, 1))
    clock.together(0)
    clock.drain()
    assert (seen, clock.now) == ([1], US)


def test_what_is_done_late_has_its_own_time_and_meets_nothing_that_is_on_its_way() -> None:
    """Also inside of a delivery: what was on its way stays there, in its order and time."""
    clock, seen = Clock(), list[object]()
    clock.packets, clock.turn = 7, 2

    def late() -> None:
        seen.append(("late", clock.moment))
        clock.packets += 2
        clock.enqueue((arrive, "sent late"))

    def arrive(frame: str) -> None:
        seen.append((frame, clock.moment))
        if frame == "first":
            seen.append(clock.earlier(Moment(MS, 3, 1), late))

    clock.run_until(2 * MS)
    for frame in ("first", "second"):
        clock.enqueue((arrive, frame))
    clock.drain()
    assert seen == [
        ("first", (2 * MS + US, 7, 2)),
        ("late", (MS, 3, 1)),
        ("sent late", (MS + US, 5, 1)),
        (MS + US, 5, 1),
        ("second", (2 * MS + 2 * US, 7, 2)),
    ]


def test_what_is_done_late_may_fail() -> None:
    clock, seen = Clock(), list[int]()
    clock.run_until(2 * MS)
    clock.enqueue((seen.append, 1))
    with pytest.raises(ZeroDivisionError):
        clock.earlier(Moment(MS, 0), lambda: seen.append(1 // 0))
    assert clock.now == 2 * MS
    with pytest.raises(AssertionError, match="a timer was started in the past"):
        clock.earlier(Moment(MS, 0), lambda: seen.append(clock.call_later(1, lambda: None).rank))
    clock.drain()
    assert (seen, clock.now) == ([-1, 1], 2 * MS + US)


def test_time_may_pass_without_anything_in_it() -> None:
    clock = Clock()
    clock.skip_to(Moment(3 * US, 4))
    assert (clock.now, clock.packets, clock.moment) == (3 * US, 4, Moment(3 * US, 4))


def test_a_script_answers_first_and_then_the_source_draws_as_if_it_had_not_been_there() -> None:
    clock, other = Clock(7), Clock(7)
    clock.script("port", Values([3, 1 << 30, 9]))
    draws, plain = clock.random("port"), other.random("port")
    assert [draws.randrange(10), draws.below(1 << 30, 31), draws.getrandbits(31)] == [3, False, 9]
    assert [draws.randrange(100) for _ in range(5)] == [plain.randrange(100) for _ in range(5)]
    assert [draws.below(1 << 30, 31) for _ in range(20)] == [plain.getrandbits(31) < 1 << 30 for _ in range(20)]


def test_a_script_may_decide_what_a_draw_with_a_probability_gives() -> None:
    class Loses:
        def number(self) -> None:
            return None

        def below(self, threshold: int, bits: int) -> bool:
            asked.append(threshold / 2**bits)
            return False

    asked: list[float] = []
    clock = Clock()
    clock.script("chance", Loses())
    assert not any(clock.random("chance").below(1 << bits, 31) for bits in (31, 30, 29))
    assert asked == [1.0, 0.5, 0.25]
    assert clock.random("chance").getrandbits(31) == Clock().random("chance").getrandbits(31)


def test_sources_of_other_purposes_never_shift_a_source() -> None:
    one, two = Clock(), Clock()
    two.random("b").getrandbits(32)
    assert one.random("a").randbytes(8) == two.random("a").randbytes(8)
    assert one.random("a").random() == two.random("a").random()


@given(st.integers(1, 40), st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=4))
def test_bytes_that_are_drawn_once_are_those_of_a_source_that_is_kept(first: int, more: list[tuple[bool, int]]) -> None:
    once, kept = Clock(7).random("mac/a"), Clock(7).random("mac/a")
    assert once.randbytes_once(first) == kept.randbytes(first)
    copy = deepcopy(once)
    for again, count in more:
        drawn = [
            kept.randbytes(count),
            *(s.randbytes_once(count) if again else s.randbytes(count) for s in (once, copy)),
        ]
        assert drawn == [drawn[0]] * 3
    assert once.getrandbits(32) == copy.getrandbits(32) == kept.getrandbits(32)
