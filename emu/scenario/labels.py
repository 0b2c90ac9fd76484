"""The ground truth of a run's capture: one row for each frame, in the order of the file that has all of them.

A row has plain values; `COLUMNS` are their names and types. Must not know formats of files.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any

from emu.capture.captured import Captured
from emu.clock import EPOCH_NS
from emu.kube.flow.outcome import address
from emu.rule import AnyRule
from emu.scenario.frame_fields import same_packet
from emu.scenario.record import Run
from emu.scenario.results import FlowResult, Results, StepResult
from emu.scenario.ways import Ways
from emu.trail import Answered, Asked, Born, Dropped, Encapsulated, Natted

COLUMNS: dict[str, type] = {
    "capture": str, "frame": int, "time_ns": int, "interface": str, "direction": str, "flow": int, "step": int, "name": str, "label": str,
    "way": str, "kind": str, "cause": str, "nat": str, "nat_before": str, "nat_after": str, "verdict": str, "reason": str, "rule": str,
    "outcome": str,
}  # fmt: skip
BACKGROUND = "background"
REMEMBERED = 1 << 12  # results
PASSED, DROPPED, REJECTED = "passed", "dropped", "rejected"
_ARP = {"resolve": "ARP resolves an address", "probe": "ARP probes an address", "announce": "ARP announces an address"}


def rows(run: Run, capture_name: str) -> Iterator[dict[str, Any]]:
    """A row for each frame of a run. `frame` counts from 1, as Wireshark's frame.number; `time_ns` is that of the file, since 1970;
    `verdict` is that of the frame at its place, `outcome` that of its flow. A value that does not apply is "" or 0."""
    capture = run.cluster.capture
    if capture is None:
        return
    labeller = _Labeller(_Finder(run), capture.log.count_of)
    for number, frame in enumerate(capture.each(), 1):
        yield {"capture": capture_name, "frame": number, **labeller.row(frame)}


class _Finder:
    """The results of a run by the numbers of their flows. The last that were asked for are held."""

    def __init__(self, run: Run) -> None:
        self._steps = run.steps
        self._numbers = [_in_order(step.flows) for step in run.steps]
        self._known: dict[int, tuple[StepResult, FlowResult] | None] = {}

    def of(self, flow: int) -> tuple[StepResult, FlowResult] | None:
        if flow not in self._known:
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[flow] = self._find(flow)
        return self._known[flow]

    def _find(self, flow: int) -> tuple[StepResult, FlowResult] | None:
        for step, (numbers, places) in zip(self._steps, self._numbers, strict=True):
            at = bisect_left(numbers, flow)
            if at < len(numbers) and numbers[at] == flow:
                return step, step.flows[places[at]]
        return None


def _in_order(results: Results) -> tuple[array[int], array[int]]:
    """The numbers of the flows, ascending, and the places of their results."""
    numbers = array("q", [each.flow.number for each in results])
    places = array("q", sorted(range(len(numbers)), key=numbers.__getitem__))
    return array("q", [numbers[at] for at in places]), places


class _Labeller:
    """Goes through the frames in the order of time, and remembers why each packet was sent, until the flow's last frame. `count_of` gives a flow's
    number of frames."""

    def __init__(self, results: _Finder, count_of: Callable[[int], int]) -> None:
        self._results, self._count_of = results, count_of
        self._ways: dict[int, Ways] = {}
        self._causes: dict[int, dict[object, str]] = {}

    def row(self, frame: Captured) -> dict[str, Any]:
        found = self._results.of(frame.flow)
        step, result = found if found is not None else (None, None)
        row = self._row(frame, step, result)
        if frame.flow and frame.hop == self._count_of(frame.flow):
            self._ways.pop(frame.flow, None)
            self._causes.pop(frame.flow, None)
        return row

    def _row(self, frame: Captured, step: StepResult | None, result: FlowResult | None) -> dict[str, Any]:
        nats = [entry for entry in frame.trail if isinstance(entry, Natted)]
        verdict, reason, rule = _verdict(frame)
        return {
            "time_ns": EPOCH_NS + frame.time_ns,
            "interface": frame.interface,
            "direction": frame.direction,
            "flow": frame.flow,
            "step": step.number if step is not None else 0,
            "name": result.flow.name if result is not None else "",
            "label": result.label if result is not None else "",
            "way": self._way(frame, result),
            "kind": result.flow.kind if result is not None else BACKGROUND,
            "cause": self._cause(frame),
            "nat": ";".join(each.kind for each in nats),
            "nat_before": ";".join(address(each.before) for each in nats),
            "nat_after": ";".join(address(each.after) for each in nats),
            "verdict": verdict,
            "reason": reason,
            "rule": rule,
            "outcome": result.flow.outcome.word if result is not None else "",
        }

    def _way(self, frame: Captured, result: FlowResult | None) -> str:
        if result is None:
            return ""
        ways = self._ways.get(frame.flow)
        if ways is None:
            ways = self._ways[frame.flow] = Ways(result.flow.source)
        return ways.of(frame)

    def _cause(self, frame: Captured) -> str:
        """Why the packet was sent: what its first frame has, and each later one of the same packet."""
        causes, key = self._causes.setdefault(frame.flow, {}), same_packet(frame.data)
        for entry in frame.trail:
            if isinstance(entry, Born):
                causes[key] = entry.what
            elif isinstance(entry, Asked):
                causes[key] = _ARP.get(entry.why, f"ARP: {entry.why}")
            elif isinstance(entry, Answered):
                causes[key] = "ARP answers"
            elif isinstance(entry, Encapsulated) and key not in causes:
                causes[key] = "a tunnel carries a packet"
        return causes.get(key, "")


def _verdict(frame: Captured) -> tuple[str, str, str]:
    """What was decided about a frame where it was captured: the verdict, the reason of a drop, and the last rule that decided."""
    rules = [entry for entry in frame.trail if isinstance(entry, AnyRule)]
    acted = next((rule for rule in reversed(rules) if rule.act or rule.rejects), None)
    if frame.direction != "drop":
        return PASSED, "", str(acted) if acted is not None else ""
    fact = next((entry for entry in reversed(frame.trail) if isinstance(entry, Dropped)), None)
    by = fact.by if fact is not None else None
    rule = by if isinstance(by, AnyRule) else acted
    rejected = isinstance(rule, AnyRule) and rule.rejects
    reason = fact.reason if fact is not None else ""
    return REJECTED if rejected else DROPPED, reason, str(rule) if rule is not None else ""
