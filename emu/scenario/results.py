"""The result of a step: its flows, the checks of each, and what the step changed. Must not know how a step is done or
shown.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PosixPath, WindowsPath
from typing import Protocol, SupportsIndex

from emu.capture.shelved import Folder, Shelved
from emu.capture.spool import REDUCED
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import Nat
from emu.scenario.expectations import NOTHING, Checked
from emu.scenario.kinds import StoryLine

HELD_RESULTS = 1 << 12  # of a step, where they stream to disk
ODD_RESULTS = 100  # that are left of a step whose results are dropped
TOGETHER = 512  # flows that are judged at a time


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


# What is written of a result; all else in it is shared with other results, or with the cluster, and stays in memory
WRITTEN: frozenset[type] = frozenset((FlowResult, Flow, Checked, Nat, PosixPath, WindowsPath))


class Results(Protocol):
    """The results of a step's flows, in order: a list, or `Streamed`."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[FlowResult]: ...
    def __getitem__(self, index: SupportsIndex, /) -> FlowResult: ...
    def __setitem__(self, index: SupportsIndex, result: FlowResult, /) -> None: ...
    def append(self, result: FlowResult, /) -> None: ...
    def sort(self, *, key: Callable[[FlowResult], int]) -> None: ...


class Streamed:
    """Results of which the last are in memory and the others on disk, in `folder`. One that is read from there is equal to what was written, and
    another object: who changes it sets it anew. `ended` is called with each flow that goes to disk."""

    def __init__(self, folder: Folder, ended: Callable[[Flow], object], *, held: int = HELD_RESULTS) -> None:
        self._shelved = Shelved(folder, WRITTEN, REDUCED)
        self._ended, self._held = ended, held
        self._last: list[FlowResult] = []
        self._numbers, self._places = array("q"), array("q")  # of those on disk: the flow, the place there

    def __len__(self) -> int:
        return len(self._places) + len(self._last)

    def __iter__(self) -> Iterator[FlowResult]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: SupportsIndex, /) -> FlowResult:
        at = range(len(self))[index]
        if at >= len(self._places):
            return self._last[at - len(self._places)]
        found: FlowResult = self._shelved.read(self._places[at])
        return found

    def __setitem__(self, index: SupportsIndex, result: FlowResult, /) -> None:
        at = range(len(self))[index]
        if at >= len(self._places):
            self._last[at - len(self._places)] = result
        else:
            self._places[at] = self._shelved.append(result)

    def append(self, result: FlowResult, /) -> None:
        self._last.append(result)
        if len(self._last) >= 2 * self._held:
            self._spill(self._held)

    def sort(self, *, key: Callable[[FlowResult], int]) -> None:
        """By the number of the flow: the `key` must be that."""
        if not self._places:
            self._last.sort(key=key)
            return
        self._spill(len(self._last))
        ordered = sorted(range(len(self._places)), key=self._numbers.__getitem__)
        self._places = array("q", [self._places[at] for at in ordered])
        self._numbers = array("q", sorted(self._numbers))

    def _spill(self, count: int) -> None:
        for result in self._last[:count]:
            self._numbers.append(result.flow.number)
            self._places.append(self._shelved.append(result))
            self._ended(result.flow)
        del self._last[:count]


@dataclass
class Tally:
    """Of flows that left no result: how many there were, their checks, those that are not as expected or undecided, and what they came to."""

    flows: int = 0
    checks: int = 0
    failed: int = 0
    undecided: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


class Tallied(list[FlowResult]):
    """Results that are counted and dropped, but for the first of those that are not as expected. `ended` is called with flows that are about to be
    dropped, some at a time."""

    def __init__(self, tally: Tally, ended: Callable[[list[Flow]], object]) -> None:
        super().__init__()
        self._tally, self._ended = tally, ended
        self._last: list[FlowResult] = []

    def append(self, result: FlowResult, /) -> None:
        self._last.append(result)
        if len(self._last) >= TOGETHER:
            self.end()

    def end(self) -> None:
        """The step has ended."""
        last, tally = self._last, self._tally
        self._last = []
        self._ended([each.flow for each in last])
        for each in last:
            word = each.flow.outcome.word
            failed, undecided = bool(each.checked.failures), word == "undecided" != each.expected
            if (failed or undecided) and len(self) < ODD_RESULTS:
                super().append(each)
                continue
            tally.flows += 1
            tally.checks += each.checked.checks
            tally.failed += failed
            tally.undecided += undecided
            tally.outcomes[word] += 1


@dataclass
class StepResult:
    """One step, counted from 1: its flows, or what it changed, in words. `passed` counts the flows that left no result."""

    number: int
    name: str
    action: str
    flows: Results = field(default_factory=list[FlowResult])
    passed: Tally = field(default_factory=Tally)
    change: str = ""
    checked: Checked = NOTHING  # of the step itself, beside those of its flows
    story: str | tuple[StoryLine, ...] = ""  # see `story.lines_of`
    started_ns: int = 0  # virtual
    ended_ns: int = 0


def flow_name(flow: Flow) -> str:
    """A flow's own name, else its ends."""
    return flow.name or f"{flow.kind} {flow.source} -> {flow.target.name}"
