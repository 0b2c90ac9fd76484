"""Reads a ladder: what a real kernel put on every interface, step by step.

A ladder is text: `## title` begins a step; then one line a frame and tap (time, `namespace:device`, direction, frame),
between them the application's calls (no tap), after them the tables (`-- n1: conntrack` and indented lines).
Knows the emulator's twin only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from emu.twin.compare import background

FOLDER = Path(__file__).parents[1] / "reference" / "ladders"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.txt")))

_FRAME = re.compile(r" *(\d+\.\d{3})  (\S+:\S+) +(in|out|in-other) +(\[.+)")
_CALL = re.compile(r" *(\d+\.\d{3}) {8,}(\S.*)")
_TABLE = re.compile(r"   -- (\S+): (\S.*)")
_ENTRY = re.compile(r"      (\S.*)")


class Sighting(NamedTuple):
    """One frame at one tap. `time_ms` counts from the step's begin; `tap` is `namespace:device`."""

    time_ms: float
    tap: str
    direction: str
    line: str


@dataclass
class Step:
    """What one step of a scenario did. `tables` maps `(namespace, what)` to its lines, in the order printed."""

    title: str
    frames: list[Sighting] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    tables: dict[tuple[str, str], list[str]] = field(default_factory=dict)


def parse(text: str) -> list[Step]:
    """The steps of a ladder. Raises ValueError for a line that it does not understand: nothing is skipped silently."""
    steps: list[Step] = []
    entries: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            steps.append(Step(line[3:]))
            entries = None
        elif not line or line.startswith("# "):
            continue
        elif match := _FRAME.fullmatch(line):
            steps[-1].frames.append(Sighting(float(match[1]), match[2], match[3], match[4]))
        elif match := _CALL.fullmatch(line):
            steps[-1].calls.append(" ".join(match[2].split()))
        elif match := _TABLE.fullmatch(line):
            entries = steps[-1].tables.setdefault((match[1], match[2]), [])
        elif (match := _ENTRY.fullmatch(line)) and entries is not None:
            entries.append(match[1])
        else:
            raise ValueError(f"line {number} of the ladder is not understood: {line!r}")
    return steps


def write(name: str, steps: list[Step]) -> str:
    """A ladder's text, as `parse` reads it. Times are left out: 0."""
    lines = [f"# {name}"]
    for step in steps:
        lines += ["", f"## {step.title}", *(f"{0:>10.3f}          {call}" for call in step.calls)]
        lines += [f"{0:>10.3f}  {seen.tap:<14} {seen.direction:<8} {seen.line}" for seen in step.frames]
        for (namespace, what), entries in step.tables.items():
            lines += [f"   -- {namespace}: {what}", *(f"      {entry}" for entry in entries)]
    return "\n".join([*lines, ""])


def load(name: str) -> list[Step]:
    return parse((FOLDER / f"{name}.txt").read_text())


def per_tap(frames: list[Sighting]) -> dict[str, list[str]]:
    """Each tap's sequence of `direction line`."""
    taps: dict[str, list[str]] = defaultdict(list)
    for seen in frames:
        taps[seen.tap].append(f"{seen.direction:<8} {seen.line}")
    return dict(taps)


def split_background(lines: list[str]) -> tuple[list[str], list[str]]:
    """One tap's or namespace's lines, as (the walk's, the timers'): see `emu.twin.compare.background`."""
    walk: list[str] = []
    timers: list[str] = []
    for aside, line in background(lines):
        (timers if aside else walk).append(line)
    return walk, timers
