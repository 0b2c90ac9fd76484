"""Reads a ladder: what a real kernel put on every interface, step by step.

A ladder is text: `## title` begins a step; then one line a frame and tap (time, `namespace:device`, direction, frame),
between them the application's calls (no tap), after them the tables (`-- n1: conntrack` and indented lines).
Knows nothing of the emulator.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[1] / "reference" / "ladders"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.txt")))

_FRAME = re.compile(r" *(\d+\.\d{3})  (\S+:\S+) +(in|out|in-other) +(\[.+)")
_CALL = re.compile(r" *(\d+\.\d{3}) {8,}(\S.*)")
_TABLE = re.compile(r"   -- (\S+): (\S.*)")
_ENTRY = re.compile(r"      (\S.*)")
_PROBE = re.compile(r"\[(\S+)>(\S+)\] ARP who-has (\S+) tell ")
_ANSWER = re.compile(r"\[\S+>(\S+)\] ARP (\S+) is-at ")


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


def per_namespace(frames: list[Sighting]) -> dict[str, list[str]]:
    """Each namespace's sequence of `tap direction line`: one capture saw all its taps, so this order is the kernel's."""
    namespaces: dict[str, list[str]] = defaultdict(list)
    for seen in frames:
        namespaces[seen.tap.split(":")[0]].append(f"{seen.tap:<14} {seen.direction:<8} {seen.line}")
    return dict(namespaces)


def split_background(lines: list[str]) -> tuple[list[str], list[str]]:
    """One tap's or namespace's lines, as (the road's, the timers').

    A timer's frame is a unicast who-has (the probe of a neighbour in state PROBE) or the answer to one: an is-at whose
    last who-has, by asker and address, was a probe.
    """
    road: list[str] = []
    background: list[str] = []
    probing: dict[tuple[str, str], bool] = {}
    for line in lines:
        aside = False
        if match := _PROBE.search(line):
            aside = match[2] != "bcast"
            probing[match[1], match[3]] = aside
        elif match := _ANSWER.search(line):
            aside = probing.get((match[1], match[2]), False)
        (background if aside else road).append(line)
    return road, background
