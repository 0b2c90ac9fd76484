"""The flows of a run and what became of each, as data and as a table. Must not know terminals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from emu.report import Report, columns, run_views
from emu.scenario.record import Run
from emu.scenario.results import FlowResult


@run_views.add("flows")
def of_run(run: Run) -> Report:
    """The flows of the run and what became of each, a line a flow."""
    return flows(run.flows)


def flow_data(result: FlowResult) -> dict[str, Any]:
    """One flow as plain data."""
    flow, outcome = result.flow, result.flow.outcome
    data = {
        "flow": flow.number,
        "kind": flow.kind,
        "source": flow.source,
        "target": flow.target.name,
        "address": str(flow.target),
        "outcome": outcome.word,
        "detail": outcome.detail,
        "at": flow.at,
        "place": outcome.place,
        "by": outcome.by,
        "nat": result.nat,
        "received": flow.received.decode("utf-8", "backslashreplace"),
        "rttNs": list(flow.rtt_ns),
        "frames": flow.frame_count,
        "startedNs": flow.started_ns,
        "endedNs": flow.ended_ns,
        "checks": result.checked.checks,
        "failures": list(result.checked.failures),
        "files": [str(path) for path in result.files],
    }
    return data if flow.resolved is None else data | {"resolved": flow.resolved.data}


def outcome_words(data: dict[str, Any]) -> str:
    """`delivered`, `rejected (port-unreachable)`."""
    return f"{data['outcome']} ({data['detail']})" if data["detail"] else str(data["outcome"])


def flows(results: Iterable[FlowResult]) -> Report:
    """A line a flow."""
    data = [flow_data(each) for each in results]
    rows = [each | {"shown": outcome_words(each), "where": each["at"] or each["place"]} for each in data]
    keys = ("flow", "kind", "source", "target", "shown", "where", "nat", "frames")
    return Report(data, columns(("FLOW", "KIND", "FROM", "TO", "OUTCOME", "WHERE", "NAT", "FRAMES"), rows, keys))
