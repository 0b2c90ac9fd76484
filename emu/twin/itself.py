"""The kernel's own runs of a scenario, beside each other. Where they differ no emulator is equal to both, and the report names the place.

Must not know how sides are compared: it gets what differed from the emulator at each try.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from emu.twin.report import Report

_DRAWN = re.compile(r"\b(?:3[3-9]\d{3}|[45]\d{4}|6[0-5]\d{3})\b")  # ports and echo identifiers, anew in each run


def runs(before: Report, now: Report) -> list[str]:
    """Where the kernel's sides of two tries differ, of the places that differ from the emulator in both. A sentence each, or one that
    the runs are alike there."""
    then = {(flow.name, each.what, each.where): each.kernel for flow, each in before.differences}
    found, places = [], 0
    for flow, each in now.differences:
        first = then.get((flow.name, each.what, each.where))
        places += first is not None
        if first is None or _named(first) == _named(each.kernel):
            continue
        place = f"{flow.name}: {each.what} at {each.where}"
        found.append(f"the kernel differs from itself: {place}: {_apart(_named(first), _named(each.kernel))}")
    return found or ["the kernel's two runs are alike where the emulator differs"] * bool(places)


def _named(lines: Sequence[str]) -> list[str]:
    """The lines with what is drawn numbered in the order of its first use."""
    names: dict[str, str] = {}
    return [_DRAWN.sub(lambda drawn: names.setdefault(drawn[0], f"#{len(names) + 1}"), line) for line in lines]


def _apart(first: list[str], second: list[str]) -> str:
    nothing = "(nothing more)"
    at = next((at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other), None)
    at = min(len(first), len(second)) if at is None else at
    one, other = (lines[at] if at < len(lines) else nothing for lines in (first, second))
    return f"first {one} | then {other}"
