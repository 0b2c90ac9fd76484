"""Runs a scenario in a world and compares each step with its ladder: frames per interface, calls, tables.

Knows only `ladder_drive.World`, so the same judge sits over the emulator and over a kernel.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from emu.twin.compare import Sight, frames
from ladder_drive import CLIENT_PORTS, SCENARIOS, Drive, Step, World
from ladder_lines import Sighting, per_tap, split_background
from ladder_lines import Step as Measured
from ladder_normalise import Ladder


@dataclass
class Done:
    """What a step did here, in the ladder's words. `failure` is an exception that ended it."""

    frames: list[Sighting] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    tables: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    failure: BaseException | None = None


def perform(world: World, measured: list[Measured]) -> list[Done]:
    """All steps of the scenario that the ladder is of."""
    steps = SCENARIOS[world.setup.name]
    assert [step.title for step in steps] == [kernel.title for kernel in measured]
    return play(world, steps, [kernel.tables.keys() for kernel in measured])


def play(world: World, steps: Sequence[Step], tables: Sequence[Iterable[tuple[str, str]]]) -> list[Done]:
    """Any steps in any world, and the tables wanted after each. After a step that raised, the others are not done."""
    drive = Drive(world)
    normalise = Ladder(world.setup.roles(), CLIENT_PORTS)
    played: list[Done] = []
    for step, wanted in zip(steps, tables, strict=True):
        done = Done()
        played.append(done)
        if step.cold:
            world.flush()
        for namespace in step.without_default:
            world.delete_route(namespace, "default")
        del world.seen[:], drive.calls[:]
        try:
            step.run(drive, **step.arguments)
            done.tables = {key: world.table(*key) for key in wanted}
            world.wait(step.pause_ns)
        except Exception as failure:  # the step's test shows it, beside what was seen until then
            done.failure = failure
        done.calls = list(drive.calls)
        done.frames = [Sighting(0, seen.tap, seen.direction, normalise.render(seen.data)) for seen in world.seen]
        if done.failure is not None:
            break
    return played


def compare_frames(kernel: list[Sighting], here: list[Sighting]) -> str:
    """Nothing, or both sequences of the interface that differs first (the twin's comparison), and the whole walk as it
    was here. Timers' frames count, in any order.

    On lo a kernel leaves checksums to a device, and lo is none; emu's are always full.
    """
    kernel = [
        seen._replace(line=re.sub(" (bad|partial)-checksum", "", seen.line)) if seen.tap.endswith(":lo") else seen
        for seen in kernel
    ]
    orders = {"order": ", the order of its interfaces"}
    wrong = [
        side_by_side(f"{found.where.replace('/', ':')}{orders.get(found.what, '')}", found.kernel, found.emu)
        for found in frames(_sights(kernel), _sights(here))
    ]
    theirs, ours = per_tap(kernel), per_tap(here)
    for tap in sorted(theirs.keys() | ours.keys()):
        want, have = split_background(theirs.get(tap, []))[1], split_background(ours.get(tap, []))[1]
        if Counter(want) != Counter(have):
            wrong.append(side_by_side(f"{tap} (probes, in any order)", sorted(want), sorted(have)))
    if not wrong:
        return ""
    walk = "\n".join(f"  {seen.tap:<14} {seen.direction:<8} {seen.line}" for seen in here)
    return f"{len(wrong)} places differ; first {wrong[0]}\nThe road here:\n{walk}"


def _sights(seen: list[Sighting]) -> list[Sight]:
    return [Sight(each.tap.partition(":")[0], each.tap.replace(":", "/"), each.direction, each.line) for each in seen]


def side_by_side(title: str, kernel: Sequence[str], here: Sequence[str]) -> str:
    lines = [f"{title}:"]
    for want, have in zip_longest(kernel, here):
        if want == have:
            lines.append(f"    both    {want}")
        else:
            lines += [f"  ! kernel  {want}" if want is not None else "  ! kernel  nothing more"]
            lines += [f"  ! here    {have}" if have is not None else "  ! here    nothing more"]
    return "\n".join(lines)


def compare_calls(kernel: list[str], here: list[str]) -> str:
    return "" if kernel == here else side_by_side("calls", kernel, here)


def compare_tables(kernel: dict[tuple[str, str], list[str]], here: dict[tuple[str, str], list[str]]) -> str:
    """Conntrack, neighbours and FDB are sets; routes and rules stand in order."""
    texts: list[str] = []
    for (namespace, what), entries in kernel.items():
        want, have = [e for e in entries if not e.startswith("#")], here[namespace, what]
        if what == "conntrack":
            want, have = conntrack(want), conntrack(have)
        elif what == "rules":
            want, have = [uncounted(e) for e in want], [uncounted(e) for e in have]
        if what not in ("rules", "route"):
            want, have = sorted(want), sorted(have)
        if not alike(want, have):
            texts.append(side_by_side(f"{namespace}: {what}", want, have))
    return "\n".join(texts)


def conntrack(entries: list[str]) -> list[str]:
    """Echo ids are random: both tuples of an entry name the same one. The seconds move to the end."""
    moved = []
    for entry in entries:
        head = re.match(r"(\S+ +\d+ \S+ +\d+) (\d+) (.*)", entry)
        assert head is not None, entry
        text = re.sub(r" use=\d+$", "", head[3])  # who holds the entry at the moment
        for number, ident in enumerate(dict.fromkeys(re.findall(r"\bid=\d+", text)), 1):
            text = re.sub(rf"\b{ident}\b", f"id=#{number}", text)
        moved.append(f"{' '.join(head[1].split())} {text} seconds={head[2]}")
    return moved


def uncounted(rule: str) -> str:
    """The ladders' chains were printed with their counters zeroed."""
    return re.sub(r"\[\d+:\d+\]$", "[0:0]", rule)


def alike(want: list[str], have: list[str]) -> bool:
    """Equal, but for a second: the kernel's run took real time, and remaining seconds are rounded down."""
    seconds = re.compile(r" seconds=(\d+)$| expires (\d+)sec")
    if [seconds.sub("", line) for line in want] != [seconds.sub("", line) for line in have]:
        return False
    pairs = [(seconds.search(a), seconds.search(b)) for a, b in zip(want, have, strict=True)]
    return all(a is None or b is None or abs(int(a[1] or a[2]) - int(b[1] or b[2])) <= 1 for a, b in pairs)
