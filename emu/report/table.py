"""What a run ends with: step, outcome, where, NAT, frames, file, and what did not hold. Must not know terminals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emu.report import Report, aligned, run_views
from emu.report.flows import flow_data, outcome_words
from emu.scenario.record import Run
from emu.scenario.results import StepResult

HEADINGS = ("STEP", "", "OUTCOME", "WHERE", "NAT", "FRAMES", "FILE")
KEYS = ("step", "what", "outcome", "where", "nat", "frames", "file")


@run_views.add("table")
def table(run: Run) -> Report:
    """The rows of every step's flows. A step without flows is a row of its own."""
    data = {
        "scenario": run.scenario.name,
        "file": run.scenario.file,
        "folder": str(run.folder) if run.folder is not None else None,
        "steps": [_step(step) for step in run.steps],
        "invariants": [
            {
                "name": each.name,
                "states": each.states,
                "judged": each.judged,
                "held": each.held,
                "failures": list(each.failures),
            }
            for each in run.invariants
        ],
        "checks": run.checks,
        "failures": run.failures,
        "undecided": run.undecided,
        "notes": run.notes,
        "nothingChecked": nothing_checked(run),
        "exitStatus": run.exit_status,
    }
    return Report(data, "\n".join(lines(run)))


def lines(run: Run) -> Iterator[str]:
    """The table, line by line: of many flows not more than one is held."""
    return (
        aligned(HEADINGS, lambda: (row for step in run.steps for row in _rows(step)), KEYS)
        if run.steps
        else iter(["no steps"])
    )


def _step(step: StepResult) -> dict[str, Any]:
    data = {
        "number": step.number,
        "name": step.name,
        "action": step.action,
        "change": step.change,
        "startedNs": step.started_ns,
        "endedNs": step.ended_ns,
        "flows": [flow_data(result) for result in step.flows],
    }
    return data | {"withoutResult": dict(sorted(step.passed.outcomes.items()))} if step.passed.flows else data


def _rows(step: StepResult) -> Iterator[dict[str, Any]]:
    passed = step.passed.outcomes
    if not len(step.flows) and not passed:
        yield {"step": step.number, "what": f"{step.name}: {step.change}" if step.name else step.change}
    for word, count in sorted(passed.items()):
        what = f"{step.name or step.action}: {count:,} flow{'s' * (count != 1)}"
        yield {"step": step.number, "what": what, "outcome": word}
    for result in step.flows:
        data = flow_data(result)
        ends = f"{data['kind']} {data['source']} -> {data['target']}"
        failed = "" if not data["failures"] else "FAILED: "
        yield {
            "step": step.number,
            "what": step.name if step.name and len(step.flows) == 1 else ends,
            "outcome": failed + outcome_words(data),
            "where": data["at"] or data["place"],
            "nat": data["nat"],
            "frames": data["frames"],
            "file": result.files[0].name if result.files else "",
        }


def nothing_checked(run: Run) -> str:
    """A sentence where a run has compared nothing, and why; else ""."""
    if run.checks or run.undecided:
        return ""
    if run.scenario.bare:
        return "nothing was checked: manifests have no steps"
    if run.scenario.expects(run.only):
        return "nothing was checked: no flow was there that could be held against what is expected"
    return "nothing was checked: no step has an `expect`, and no flow was addressed to a pod or a node"


def summary(run: Run) -> str:
    """One sentence: how many checks, and whether they held. It agrees with the exit status: undecided comes first."""
    undecided, failed = len(run.undecided), len(run.failures)
    failed += sum(max(0, step.passed.failed - 1) for step in run.steps)  # they have one sentence
    undecided += sum(max(0, step.passed.undecided - 1) for step in run.steps)
    if nothing_checked(run):
        return nothing_checked(run)
    flows = sum(len(step.flows) + step.passed.flows for step in run.steps)
    found = [f"{undecided} undecided"] if undecided else []
    held = ", ".join([*found, f"{failed} failed"] if failed else found) or "all held"
    return f"{run.scenario.name}: {flows} flow{'s' * (flows != 1)}, {run.checks} check{'s' * (run.checks != 1)}, {held}"
