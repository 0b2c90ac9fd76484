"""The result of a step: its flows, the checks of each, and what the step changed. Must not know how a step is done or
shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from emu.kube.flow.flow import Flow
from emu.scenario.expectations import NOTHING, Checked
from emu.scenario.kinds import StoryLine


@dataclass
class FlowResult:
    """One flow of a step, its checks, and the files that hold its frames."""

    flow: Flow
    checked: Checked
    expected: str = ""
    label: str = ""
    files: tuple[Path, ...] = ()

    @property
    def nat(self) -> str:
        return self.flow.nat


@dataclass
class StepResult:
    """One step, counted from 1: its flows, or what it changed, in words."""

    number: int
    name: str
    action: str
    flows: list[FlowResult] = field(default_factory=list)
    change: str = ""
    checked: Checked = NOTHING  # of the step itself, beside those of its flows
    story: str | tuple[StoryLine, ...] = ""  # see `story.lines_of`
    started_ns: int = 0  # virtual
    ended_ns: int = 0


def flow_name(flow: Flow) -> str:
    """A flow's own name, else its ends."""
    return flow.name or f"{flow.kind} {flow.source} -> {flow.target.name}"
