"""What a page shows, as one value, whatever it is made from: a run, a flow, a lab. Must not know the page's format."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from emu.capture.capture import BACKGROUND, Capture
from emu.capture.interface import Interface
from emu.capture.states import End, States
from emu.errors import InputError
from emu.kernel.net.netns import Netns
from emu.kube.flow.flow import Flow
from emu.report.flows import flow_data
from emu.report.html.model import Namespace, Step
from emu.rule import AnyRule
from emu.scenario.expectations import NOTHING
from emu.scenario.record import Run
from emu.scenario.results import FlowResult, StepResult, flow_name
from emu.wire.addr import ip4_text
from emu.wire.captured import is_ipv4
from emu.wire.frame import AF_INET

NO_FRAMES = "nothing was captured"
_FOLDER = re.compile(r"(?<!\S)/\S*/(?=[^\s/]+:\d+:)")  # of a file that a note names: it is of one machine


class Sighted(Protocol):
    """A frame at an interface, as `Captured` has it."""

    @property
    def number(self) -> int: ...
    @property
    def flow(self) -> int: ...
    @property
    def hop(self) -> int: ...
    @property
    def time_ns(self) -> int: ...
    @property
    def packet_number(self) -> int: ...
    @property
    def cause(self) -> int: ...
    @property
    def place(self) -> Interface: ...
    @property
    def direction(self) -> str: ...
    @property
    def way(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def trail(self) -> Sequence[Any]: ...
    @property
    def counters(self) -> Mapping[AnyRule, tuple[int, int]]: ...
    @property
    def after(self) -> Sequence[End]: ...
    def comment(self) -> str: ...
    def line(self) -> str: ...


class Bed(Protocol):
    """What flows ran on."""

    @property
    def namespaces(self) -> Mapping[str, Netns]: ...
    @property
    def capture(self) -> Capture | None: ...


Story = Callable[[Any], str | None]


@dataclass
class Scene:
    """Frames, and what is known around them. `flows` are as in the JSON of a run; `frames` are theirs, in the order of time.
    `names` gives addresses their names, `namespaces` are those whose tables and rules are known. `filed`: a frame's `number` is the one that its file has for it."""

    name: str
    frames: Sequence[Sighted]
    interfaces: Sequence[Interface]
    roles: list[Namespace]
    flows: list[dict[str, Any]]
    names: Mapping[str, str] = field(default_factory=dict)
    namespaces: Mapping[str, Netns] = field(default_factory=dict)
    stories: Mapping[int, Story] = field(default_factory=dict)
    description: str = ""
    exit: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    seed: int | None = None
    states: States | None = None
    filed: bool = False


# -- runs, flows and labs ----------------------------------------------------------------------


def of_run(run: Run) -> Scene:
    """A whole run. Raises InputError where nothing was captured."""
    cluster = run.cluster
    capture = _capture(cluster.capture)
    flows = [data for step in run.steps for data in _of_step(step)]
    scene = _scene(run.scenario.name, capture, cluster.namespaces, roles(cluster), flows)
    scene.description = run.scenario.spec.metadata.description
    scene.exit, scene.failures, scene.notes = (
        run.exit_status,
        run.failures,
        [_FOLDER.sub("", each) for each in run.notes],
    )
    scene.steps = [_step(each) for each in run.steps]
    scene.seed = cluster.seed
    return scene


def of_flow(flow: Flow) -> Scene:
    """One flow of a cluster. Raises InputError where nothing was captured."""
    return of_flows(flow.testbed, [flow], flow_name(flow))


def of_flows(bed: Bed, flows: Sequence[Flow], name: str) -> Scene:
    """Some flows of a cluster. Raises InputError where nothing was captured."""
    capture = _capture(bed.capture)
    placed = roles(bed) if isinstance(bed, Places) else []
    return _scene(name, capture, bed.namespaces, placed, [_flow(FlowResult(each, NOTHING)) for each in flows])


def of_lab(lab: Bed) -> Scene:
    """All frames of a lab, or of a cluster without flows: those without a flow are one. Raises InputError where nothing was
    captured."""
    capture = _capture(lab.capture)
    numbers = sorted({each.flow for each in capture.frames()})
    placed = roles(lab) if isinstance(lab, Places) else [_alone(name, net) for name, net in lab.namespaces.items()]
    flows = [unjudged(number, capture.frames(number)) for number in numbers]
    return _scene("lab", capture, lab.namespaces, placed, flows)


def _alone(name: str, net: Netns) -> Namespace:
    return Namespace(name, "router" if net.sysctl["net.ipv4.ip_forward"] else "host")


def _capture(capture: Capture | None) -> Capture:
    if capture is None:
        raise InputError(NO_FRAMES, expected="capture=True")
    capture.mark()  # reads devices and names again
    return capture


def _scene(
    name: str, capture: Capture, namespaces: Mapping[str, Netns], placed: list[Namespace], flows: list[dict[str, Any]]
) -> Scene:
    numbers = [each["flow"] for each in flows]
    return Scene(
        name,
        capture.frames(flows=numbers, background=BACKGROUND in numbers),
        capture.interfaces,
        placed + ended(capture.interfaces, {each.name for each in placed}),
        flows,
        {ip4_text(addr): names[0] for (family, addr), names in capture.names.items() if names and family == AF_INET},
        namespaces,
        capture.stories,
        seed=capture.clock.seed,
        states=capture.states,
    )


def _of_step(step: StepResult) -> list[dict[str, Any]]:
    return [_flow(each) | {"step": step.number} for each in step.flows]


def _flow(result: FlowResult) -> dict[str, Any]:
    """Without the files' folders: they are of one machine, and a page reads alike wherever it was written."""
    data = flow_data(result) | {"name": result.flow.name, "step": 0, "expected": result.expected}
    del data["files"]
    return data | ({"file": result.files[0].name} if result.files else {})


def unjudged(number: int, frames: Sequence[Sighted]) -> dict[str, Any]:
    """Frames of which no outcome is known, as a flow: from where the first one was seen to where the first packet was seen last."""
    packet = next((each.packet_number for each in frames if is_ipv4(each.data)), None)
    way = [each.place.owner for each in frames if packet in (None, each.packet_number)] or [""]
    first, last = frames[0].place.owner if frames else "", way[-1]
    times = (frames[0].time_ns, frames[-1].time_ns) if frames else (0, 0)
    texts = dict.fromkeys(("address", "outcome", "detail", "place", "by", "nat", "received", "expected"), "")
    return {
        "flow": number,
        "kind": "frames",
        "name": f"flow {number}" if number else "all frames",
        "step": 0,
        "source": first,
        "target": last,
        "at": last,
        **texts,
        "rttNs": [],
        "frames": len(frames),
        "checks": 0,
        "failures": [],
        "startedNs": times[0],
        "endedNs": times[1],
    }


def _step(step: StepResult) -> Step:
    return Step(step.number, step.name, step.action, step.change, [each.flow.number for each in step.flows])


def opening(scene: Scene) -> str:
    """The page's address of what to see first: `#flow=2&step=14`, both from 1. The first flow that failed a check, else the
    first that was not delivered, at its drop; else the beginning."""
    wrong = [each["outcome"] not in ("delivered", "") for each in scene.flows]
    failed = [bool(each["failures"]) for each in scene.flows]
    chosen = failed.index(True) if True in failed else wrong.index(True) if True in wrong else 0
    number = scene.flows[chosen]["flow"] if scene.flows else 0
    frames = [each for each in scene.frames if each.flow == number]
    lost = next((step for step, each in enumerate(frames, 1) if each.direction == "drop"), 1)
    return f"#flow={chosen + 1}&step={lost if True in failed or True in wrong else 1}"


# -- roles -------------------------------------------------------------------------------------


class Named(Protocol):
    @property
    def name(self) -> str: ...


class Placed(Protocol):
    """A pod's sandbox: the node that it runs on."""

    @property
    def node(self) -> Named: ...


class Outside(Protocol):
    """The underlay: its hosts outside, by name."""

    @property
    def hosts(self) -> Mapping[str, Netns]: ...


@runtime_checkable
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


def ended(interfaces: Sequence[Interface], known: set[str]) -> list[Namespace]:
    """The namespaces that are gone, of which the capture has frames: pods, whose name is NAMESPACE/POD."""
    gone = dict.fromkeys(each.owner for each in interfaces if each.owner not in known)
    return [Namespace(name, "pod" if "/" in name else "host") for name in gone]


def roles(places: Places) -> list[Namespace]:
    """Each namespace's part in a cluster."""
    found = []
    for name in places.namespaces:
        if name in places.pods:
            found.append(Namespace(name, "pod", places.pods[name].node.name))
        elif name in places.nodes:
            found.append(Namespace(name, "node"))
        else:
            found.append(Namespace(name, "outside" if name in places.underlay.hosts else "underlay"))
    return found
