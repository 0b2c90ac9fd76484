"""Virtual time: the order of timers, the slots of the kernel's wheel among them, the backlog; and scripted draws."""

from __future__ import annotations

from collections.abc import Callable

from emu.clock import MS, SLOT_NS, US, Clock, Timer, Values


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


def test_the_last_to_enter_a_slot_leaves_it_first_and_what_it_sends_comes_after_the_slot() -> None:
    log = Log()
    log.at(MS, "syn", wheel=True, sends=True)
    log.at(MS + SLOT_NS // 2, "program")
    log.at(MS + SLOT_NS, "syn-ack", wheel=True, sends=True)
    log.at(MS + SLOT_NS + 1, "later", wheel=True)
    log.clock.run_until(5 * MS)
    assert log.seen == ["syn-ack", "syn", "syn-ack arrives", "syn arrives", "program", "later"]


def test_a_slot_ends_where_the_run_does() -> None:
    for run in (lambda clock, end: clock.run_until(end), lambda clock, end: clock.run(limit_ns=end)):
        log = Log()
        log.at(MS, "in time", wheel=True)
        log.at(MS + 10, "too late", wheel=True)
        run(log.clock, MS + 5)
        assert log.seen == ["in time"]
        assert log.clock.now == MS + 5


def test_a_cancelled_timer_opens_no_slot() -> None:
    log = Log()
    log.at(MS, "cancelled", wheel=True).cancel()
    log.at(MS + 10, "program")
    log.at(MS + 20, "wheel", wheel=True)
    log.clock.run_until(5 * MS)
    assert log.seen == ["program", "wheel"]


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
