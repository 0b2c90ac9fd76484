"""When frames are seen: the time since the frame before of the same conversation, at each interface, on both sides.

What a timer made is judged, so gaps of more than 2 ms: retransmissions, delayed ACKs, ARP's retries, errors after them. The
kernel's timers are late by as much as their slot of the timer wheel is wide, and by the machine's own lateness, which is
measured. Must not know what a frame means (kernel/time/timer.c, calc_wheel_index).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from emu.clock import MS, SECOND
from emu.twin.compare import Difference, Sight, background

SHORTEST_NS = 2 * MS  # what programs do by themselves is no timer's
TICK_NS = 4 * MS  # HZ=250
# A timer that is due within the first number fires late by up to the second: its slot of the wheel
SLOTS = ((252 * MS, 4 * MS), (2016 * MS, 32 * MS), (16128 * MS, 256 * MS), (129024 * MS, 2048 * MS))
SLACK_NS = 4 * MS  # from a tick to the frame: other work of the softirq, and a wake-up
BUSY_NS = 50 * MS  # a machine that was later than this is not judged


class Gap(NamedTuple):
    """A frame at an interface, when it was seen, and the times since the frame before of its conversation and since the first."""

    line: str
    at_ns: int
    ns: int
    since_ns: int


def tolerance(gap_ns: int, late_ns: int) -> int:
    """By how much two gaps may differ, if the loop of the kernel's side was late by up to `late_ns`."""
    slot_ns = next((slot_ns for longest_ns, slot_ns in SLOTS if gap_ns <= longest_ns), 16 * SECOND)
    return slot_ns + TICK_NS + SLACK_NS + late_ns


def differences(kernel: Sequence[Sight], emu: Sequence[Sight], late_ns: int, end_ns: int) -> list[Difference]:
    """The first gap of each interface that differs by more than the tolerance, until `end_ns` of the emulator. The frames are
    equal."""
    theirs, ours = _gaps(kernel), _gaps(emu)
    found = []
    for interface, gaps in theirs.items():
        for at, (one, other) in enumerate(zip(gaps, ours.get(interface, []), strict=True)):
            if max(one.ns, other.ns) > SHORTEST_NS and other.at_ns <= end_ns:
                # a program acts at a time of its own, and not after the timer that fired before
                least_ns = min(abs(one.ns - other.ns), abs(one.since_ns - other.since_ns))
                if least_ns > tolerance(max(one.ns, other.ns), late_ns):
                    lines = (
                        tuple(f"{each.ns / MS:10.3f} ms {each.line}" for each in side[: at + 1])
                        for side in (gaps, ours[interface])
                    )
                    found.append(Difference("times", interface, at, *lines))
                    break
    return found


def judged(emu: Sequence[Sight], end_ns: int) -> int:
    """How many gaps of these frames are a timer's."""
    return sum(gap.ns > SHORTEST_NS and gap.at_ns <= end_ns for gaps in _gaps(emu).values() for gap in gaps)


def _gaps(sights: Sequence[Sight]) -> dict[str, list[Gap]]:
    by: dict[str, list[Sight]] = defaultdict(list)
    for sight in sights:
        by[sight.interface].append(sight)
    return {interface: list(_since(there)) for interface, there in by.items()}


def _since(sights: Sequence[Sight]) -> Iterator[Gap]:
    before: dict[object, int] = {}
    first: dict[object, int] = {}
    for sight, (aside, _line) in zip(sights, background([each.text for each in sights]), strict=True):
        if not aside:
            since_ns = sight.at_ns - first.setdefault(sight.talk, sight.at_ns)
            yield Gap(sight.text, sight.at_ns, sight.at_ns - before.get(sight.talk, sight.at_ns), since_ns)
            before[sight.talk] = sight.at_ns
