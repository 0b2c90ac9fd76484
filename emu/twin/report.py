"""The result of a comparison: as text, as plain values, and as an exit status.

Must not know how anything was compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

from emu.clock import MS
from emu.twin.compare import Difference

__all__ = ["Difference", "Earlier", "FlowReport", "Report", "Unjudged"]

EQUAL, DIFFERENT, UNDECIDED = 0, 1, 3


@dataclass(slots=True)
class FlowReport:
    """One flow (or one change of the cluster): how many frames were compared, of how many the time, how many were probes of neighbours, by how much the programs on
    the kernel's side were late at most, and where the sides differ."""

    name: str
    frames: int = 0
    times: int = 0
    late_ns: int = 0
    probes: int = 0
    differences: list[Difference] = field(default_factory=list)


class Unjudged(NamedTuple):
    """What could not be set or read on the kernel's side. `matters`: flows may be equal or different because of it."""

    what: str
    matters: bool


class Earlier(NamedTuple):
    """A try whose sides differed: how many places, the first of them and its flow, and by how much the programs on the
    kernel's side were late at most until then."""

    places: int
    flow: str
    difference: Difference
    late_ns: int

    def __str__(self) -> str:
        """One line: where it was, the two lines that differ, and the machine's lateness."""
        kernel, emu = (" ".join(line.split()) for line in self.difference.pair)
        more = f"; {self.places - 1} more places" if self.places > 1 else ""
        return (
            f"{self.flow}: {self.difference.what} at {self.difference.where}: kernel: {kernel} | emu: {emu}{more}; "
            f"a program was up to {self.late_ns / MS:.1f} ms late"
        )


@dataclass(slots=True)
class Report:
    """The result of a scenario. `undecided` is the reason why the rest could not be judged, "" if all was; `unjudged` is what
    could not be set or read on the kernel's side; `notes` are sentences for the user; `earlier` are the tries before."""

    scenario: str
    kernel: str
    flows: list[FlowReport] = field(default_factory=list)
    undecided: str = ""
    unjudged: list[Unjudged] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    earlier: tuple[Earlier, ...] = ()

    @property
    def tries(self) -> int:
        return len(self.earlier) + 1

    @property
    def late_ns(self) -> int:
        """By how much the programs on the kernel's side were late at most."""
        return max((each.late_ns for each in self.flows), default=0)

    def as_earlier(self) -> Earlier:
        """This report, which has a difference, for the report of the next try."""
        assert self.first is not None
        flow, difference = self.first
        until = next(number for number, each in enumerate(self.flows, 1) if each is flow)
        late_ns = max(each.late_ns for each in self.flows[:until])
        return Earlier(len(list(self.differences)), flow.name, difference, late_ns)

    @property
    def frames(self) -> int:
        return sum(flow.frames for flow in self.flows)

    @property
    def differences(self) -> Iterator[tuple[FlowReport, Difference]]:
        for flow in self.flows:
            for difference in flow.differences:
                yield flow, difference

    @property
    def first(self) -> tuple[FlowReport, Difference] | None:
        """The first difference; later ones may follow from it."""
        return next(self.differences, None)

    def leave_out(self, what: str, matters: bool) -> None:
        """Note once what is not judged."""
        each = Unjudged(what, matters)
        if each not in self.unjudged:
            self.unjudged.append(each)

    @property
    def exit_status(self) -> int:
        """0 equal, 1 different, 3 undecided: also where the sides differ, if a part that was not judged matters. A flow without a frame (an OUTPUT rule drops it) is judged too: by the
        client's socket, tables and counters."""
        if any(each.matters for each in self.unjudged):
            return UNDECIDED
        if self.first is not None:
            return DIFFERENT
        return UNDECIDED if self.undecided or not self.flows else EQUAL

    @property
    def _later(self) -> str:
        return f" at try {self.tries}" if self.earlier else ""

    def text(self) -> str:
        """The report as text: the first difference with both sides side by side, and how many more there are."""
        lines = [f"{self.scenario}: {len(self.flows)} flows, {self.frames} frames held against Linux {self.kernel}"]
        first = self.first
        if first is None:
            lines.append(
                (f"equal{self._later}" if self.exit_status == EQUAL else "no difference")
                if self.flows
                else "nothing was compared"
            )
        else:
            flow, difference = first
            every = list(self.differences)
            lines += [
                f"different{self._later}" if self.exit_status == DIFFERENT else "undecided, and different",
                "",
                f"{flow.name}: {difference.what} at {difference.where}",
            ]
            lines += side_by_side(difference)
            if len(every) > 1:
                lines += ["", f"{len(every) - 1} more places differ, perhaps because of it:"]
                lines += [f"  {other.name}: {more.what} at {more.where}" for other, more in every[1:12]]
        lines += [f"try {number} differed: {each}" for number, each in enumerate(self.earlier, 1)]
        for each in self.unjudged:
            lines.append(f"not judged{', and flows may depend on it' if each.matters else ''}: {each.what}")
        if self.undecided:
            lines.append(f"undecided: {self.undecided}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes), ""])

    def data(self) -> dict[str, Any]:
        """The report as plain values, with every difference."""
        return {
            "scenario": self.scenario,
            "kernel": self.kernel,
            "result": {EQUAL: "equal", DIFFERENT: "different", UNDECIDED: "undecided"}[self.exit_status],
            "frames": self.frames,
            "tries": self.tries,
            "earlier": [str(each) for each in self.earlier],
            "undecided": self.undecided,
            "not_judged": [{"what": each.what, "matters": each.matters} for each in self.unjudged],
            "notes": self.notes,
            "flows": [
                {
                    "name": flow.name,
                    "frames": flow.frames,
                    "probes": flow.probes,
                    "differences": [
                        {
                            "what": each.what,
                            "where": each.where,
                            "at": each.at,
                            "kernel": list(each.kernel),
                            "emu": list(each.emu),
                        }
                        for each in flow.differences
                    ],
                }
                for flow in self.flows
            ],
        }


def side_by_side(difference: Difference, around: int = 6) -> list[str]:
    """Both sequences around the first difference."""
    begin = max(0, difference.at - around)
    lines = [f"    ... {begin} before, the same on both sides"] if begin else []
    pairs = list(zip_longest(difference.kernel, difference.emu))
    for kernel, emu in pairs[begin : difference.at + around]:
        if kernel == emu:
            lines.append(f"    both    {kernel}")
        else:
            lines.append(f"  ! kernel  {'(nothing more)' if kernel is None else kernel}")
            lines.append(f"  ! emu     {'(nothing more)' if emu is None else emu}")
    rest = len(pairs) - difference.at - around
    return [*lines, f"    ... {rest} more"] if rest > 0 else lines
