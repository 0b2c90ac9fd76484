"""Virtual time: the order of timers, and the slots of the kernel's wheel among them."""

from __future__ import annotations

from collections.abc import Callable

from emu.clock import MS, SLOT_NS, Clock, Timer


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
