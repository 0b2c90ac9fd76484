"""What a page shows, as one value, whatever it is made from: a run, a flow, a lab. Must not know the page's format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from emu.capture.capture import Capture
from emu.capture.captured import Captured
from emu.errors import InputError
from emu.kernel.net.netns import Netns
from emu.report.flows import flow_data
from emu.report.html.model import Namespace, Step
from emu.scenario.record import Run
from emu.scenario.results import StepResult


class Placed(Protocol):
    """A pod's sandbox: the node that it runs on."""

    @property
    def node(self) -> Named: ...


class Named(Protocol):
    @property
    def name(self) -> str: ...


class Outside(Protocol):
    """The underlay: its hosts outside, by name."""

    @property
    def hosts(self) -> Mapping[str, Netns]: ...


class Places(Protocol):
    """What a cluster knows of its namespaces."""

    @property
    def namespaces(self) -> Mapping[str, Netns]: ...
    @property
    def pods(self) -> Mapping[str, Placed]: ...
    @property
    def nodes(self) -> Mapping[str, Named]: ...
    @property
    def underlay(self) -> Outside: ...


@dataclass
class Scene:
    """A capture, and what is known around it. `flows` are as in the JSON of a run; `frames` those of the flows, in the order of time."""

    name: str
    capture: Capture
    namespaces: Mapping[str, Netns]
    roles: list[Namespace]
    flows: list[dict[str, Any]]
    description: str = ""
    exit: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def frames(self) -> list[Captured]:
        return self.capture.frames(flows=[each["flow"] for each in self.flows], background=False)


def of_run(run: Run) -> Scene:
    """A whole run. Raises InputError where nothing was captured."""
    cluster = run.cluster
    capture = cluster.capture
    if capture is None:
        raise InputError("nothing was captured", expected="a run with a capture")
    return Scene(
        run.scenario.name, capture, cluster.namespaces, roles(cluster), _flows(run), run.scenario.spec.metadata.description,
        run.exit_status, run.failures, run.notes, [_step(each) for each in run.steps],
    )  # fmt: skip


def _flows(run: Run) -> list[dict[str, Any]]:
    """Without the files' names: they are of one machine, and a page reads alike wherever it was written."""
    found = []
    for step in run.steps:
        for result in step.flows:
            data = flow_data(result) | {"name": result.flow.name, "step": step.number, "expected": result.expected}
            data |= {"startedNs": result.flow.started_ns, "endedNs": result.flow.ended_ns}
            found.append({key: value for key, value in data.items() if key != "files"})
    return found


def _step(step: StepResult) -> Step:
    return Step(step.number, step.name, step.action, step.change, [each.flow.number for each in step.flows])


def roles(places: Places) -> list[Namespace]:
    """Each namespace's part in a cluster. A pod that has ended is none of its pods, and has no node here."""
    found = []
    for name in places.namespaces:
        if name in places.pods:
            found.append(Namespace(name, "pod", places.pods[name].node.name))
        elif name in places.nodes:
            found.append(Namespace(name, "node"))
        else:
            found.append(Namespace(name, "outside" if name in places.underlay.hosts else "underlay"))
    return found
