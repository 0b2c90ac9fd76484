"""The record of a whole run: the scenario, its cluster, the result of each step, and whether all of it held.

Must not know how a step is done or how results are shown.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from emu import page
from emu.capture import pages
from emu.errors import InputError
from emu.invariants import Verdict
from emu.kube.cluster import Cluster
from emu.kube.flow.flow import Flow
from emu.scenario.results import FlowResult, StepResult, flow_name
from emu.scenario.script import Scenario

HELD, FAILED, UNDECIDED = 0, 1, 3


@dataclass
class Run:
    """A whole run. `folder` and `files` are set where captures were written. `left_open`: the last flows of each step. `only`: the
    steps that were run, from 0; None: all."""

    scenario: Scenario
    cluster: Cluster
    steps: list[StepResult] = field(default_factory=list)
    invariants: tuple[Verdict, ...] = ()
    folder: Path | None = None
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_open: dict[str, list[Flow]] = field(default_factory=dict)
    moments: dict[str, int] = field(default_factory=dict)
    only: Container[int] | None = None

    @property
    def flows(self) -> Iterator[FlowResult]:
        for step in self.steps:
            yield from step.flows

    @property
    def checks(self) -> int:
        """How many comparisons were made: expectations, and what an invariant was judged on."""
        own = sum(each.checked.checks for each in self.flows)
        own += sum(step.checked.checks + step.passed.checks for step in self.steps)
        return own + sum(verdict.judged for verdict in self.invariants)

    @property
    def failures(self) -> list[str]:
        """Everything that did not hold, a sentence each."""
        found = []
        for step in self.steps:
            found += [f"step {step.number}, {step.name or step.action}: {each}" for each in step.checked.failures]
            for result in step.flows:
                found += [
                    f"step {step.number}, {_title(step, result.flow)}: {each}" for each in result.checked.failures
                ]
            if step.passed.failed:
                found.append(
                    f"step {step.number}, {step.name or step.action}: {_more(step.passed.failed)} not as expected"
                )
        for verdict in self.invariants:
            found += [f"{verdict.states}: {each}" for each in verdict.failures]
        return found

    @property
    def undecided(self) -> list[str]:
        """The flows that came to something which is not modelled, and whose step does not expect that."""
        found = [
            f"{flow_name(each.flow)}: {each.flow.outcome.detail or 'not modelled'}"
            for each in self.flows
            if each.flow.outcome.word == "undecided" and each.expected != "undecided"
        ]
        left = [(step, step.passed.undecided) for step in self.steps if step.passed.undecided]
        return found + [
            f"step {step.number}, {step.name or step.action}: {_more(count)} undecided" for step, count in left
        ]

    def html(
        self, path: str | os.PathLike[str] | None = None, *, beside: Run | None = None, force: bool = False
    ) -> str:
        """The page in which one steps through the run's flows, as text; with `path` it is written there, too. `beside` is another
        run, shown side by side. Raises InputError: nothing was captured, jinja2 is not installed, or there is a file that emu did
        not write, unless `force`."""
        return pages.page("run", self, path, force=force) if beside is None else self._beside(beside, path, force)

    def _beside(self, other: Run, path: str | os.PathLike[str] | None, force: bool) -> str:
        return pages.page("two runs", (self, other), path, force=force)

    def _repr_html_(self) -> str:
        rows = [(flow_name(each.flow), each.flow.outcome, each.flow.at, each.nat) for each in self.flows]
        table = page.table(self.scenario.name, ("flow", "outcome", "at", "NAT"), rows)
        try:
            return table + pages.frame(self.html())
        except InputError:  # without frames, or without what makes pages
            return table

    @property
    def exit_status(self) -> int:
        """0 held, or nothing is expected; 1 something failed, or nothing of what is expected was checked; 3 something is not
        modelled."""
        if self.undecided:
            return UNDECIDED
        return FAILED if self.failures or (self.scenario.expects(self.only) and not self.checks) else HELD


def _more(count: int) -> str:
    return f"{count} more flow{' is' if count == 1 else 's are'}"


def _title(step: StepResult, flow: Flow) -> str:
    ends = f"{flow.source} -> {flow.target.name}"
    return f"{step.name} ({ends})" if step.name else f"{step.action} {ends}"
