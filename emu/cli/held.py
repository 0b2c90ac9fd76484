"""What of a run with many flows stays in memory, where other runs put it on disk: a note, before the run begins.

Must not know how a run is done or shown.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from emu.scenario.script import Scenario

MANY = 10_000  # flows


class Holds(NamedTuple):
    """An option or key that holds `what`; `kilobytes` a flow, of a short TCP connection through a Service to a pod on another node."""

    name: str
    what: str
    kilobytes: int


HTML = Holds("--html", "every frame and what the tables held", 460)
ROWS = Holds("-o json or yaml", "the row of every flow", 4)
WALK = Holds("--walk", "the text of every hop", 260)
SEEN = Holds("a step seen", "every frame while it looks", 80)
INVARIANTS = Holds("invariants", "every frame", 165)


def notes(
    scenario: Scenario, only: Container[int] | None, *, html: bool, rows: bool, walks: bool, results: bool
) -> Iterator[str]:
    """A sentence for each option and key that holds what grows with flows, if the steps (those of `only`) draw many. Without `results` no flow of
    theirs is shown."""
    from emu.scenario.asked import further
    from emu.scenario.steps import actions

    steps = [step for number, step in enumerate(scenario.steps) if only is None or number in only]
    drawn = sum(actions[step.action]().drawn(step.part) for step in steps)
    if drawn <= MANY:
        return
    asked = {
        HTML: html,
        ROWS: rows and results,
        WALK: walks and results,
        SEEN: any(step.action == "seen" for step in steps),
        INVARIANTS: bool(further(scenario)),
    }
    for each, holds in asked.items():
        if holds:
            megabytes = drawn * each.kilobytes // 1000
            yield (
                f"{each.name} keeps {each.what} in memory: some {each.kilobytes} kB a flow, {megabytes:,} MB for {drawn:,} "
                "flows, which would lie on disk without"
            )
