"""A flow hop by hop: for every captured frame where it was, what it was, and what had been decided about it.

The text is golden: the same run gives the same lines. Must not know steps or how frames walk.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from emu.capture.capture import Captured
from emu.report import Report, run_views
from emu.scenario.record import Run


@run_views.add("walk")
def walks(run: Run) -> Report:
    """Every flow hop by hop, with what was decided about each frame."""
    found = [(each.flow.name, walk(each.flow.frames)) for each in run.flows]
    data = [{"name": name, "hops": report.data} for name, report in found]
    return Report(data, "\n\n".join(f"{name}\n{report.text}" for name, report in found))


def walk(frames: Iterable[Captured], *, facts: bool = True, sentences_only: bool = False) -> Report:
    """One line a hop: `flow/hop interface way: packet`, then, indented, the sentence and the facts of its comment
    (`sentences_only`: the sentence alone; without `facts` neither)."""
    data = [hop(frame) for frame in frames]
    lines: list[str] = []
    wide = max((len(f"{each['flow']}/{each['hop']} {each['interface']}") for each in data), default=0)
    for each in data:
        where = f"{each['flow']}/{each['hop']} {each['interface']}"
        lines.append(f"{where.ljust(wide)} {each['way']:<8} {each['packet']}")
        if facts:
            facts_shown = () if sentences_only else each["facts"]
            lines += [f"    {text}" for text in (each["sentence"], *facts_shown)]
    return Report(data, "\n".join(lines))


def hop(frame: Captured) -> dict[str, Any]:
    """One frame as plain data."""
    sentence, *facts = [line for line in frame.comment().splitlines() if not line.startswith("flow/hop ")]
    return {
        "flow": frame.flow,
        "hop": frame.hop,
        "timeNs": frame.time_ns,
        "interface": frame.interface,
        "way": frame.way,
        "packet": packet(frame),
        "sentence": sentence,
        "facts": facts,
    }


def packet(frame: Captured) -> str:
    """The frame in one line, without its place."""
    return frame.line().split(" ", 2)[2]


def golden(frames: Iterable[Captured]) -> Report:
    """One line a hop and nothing else: what tests and the gallery's expected walks compare."""
    return walk(frames, facts=False)
