"""A scenario run: the cluster is built, the steps follow each other, and what became of each flow is kept.

Files come last, and all at once (`files.py`): whatever goes wrong on the way leaves nothing behind. Must not know how
results are shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from emu.errors import InputError
from emu.kube.api.core import Pod
from emu.kube.flow.ends import Target, sources, targets
from emu.scenario.endpoints import endpoint
from emu.scenario.expectations import Checked, check, translations
from emu.scenario.files import Split, write
from emu.scenario.invariants import Verdict, judge, together
from emu.scenario.kinds import CHANGING, FLOWS, Step, StoryLine
from emu.scenario.quantity import duration_ns, share
from emu.scenario.script import Scenario, load, object_key

if TYPE_CHECKING:
    from emu.capture.capture import Captured
    from emu.kube.cluster import Cluster
    from emu.kube.flow.flow import Flow

HELD, FAILED, UNDECIDED = 0, 1, 3
SECOND_NS, MS_NS = 1_000_000_000, 1_000_000
TCP_TIMEOUT_S, UDP_TIMEOUT_S = 10.0, 5.0


@dataclass
class FlowResult:
    """One flow of a step, how it met its expectation, and the files that show it."""

    flow: Flow
    checked: Checked
    expected: str = ""
    files: tuple[Path, ...] = ()

    @property
    def nat(self) -> str:
        return "; ".join(map(str, translations(self.flow)))


@dataclass
class StepResult:
    """One step, counted from 1: its flows, or what it changed, in words."""

    number: int
    name: str
    action: str
    flows: list[FlowResult] = field(default_factory=list)
    change: str = ""


@dataclass
class Run:
    """A whole run. `folder` and `files` are set where captures were written."""

    scenario: Scenario
    cluster: Cluster
    steps: list[StepResult] = field(default_factory=list)
    invariants: tuple[Verdict, ...] = ()
    folder: Path | None = None
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_open: dict[str, list[Flow]] = field(default_factory=dict)

    @property
    def flows(self) -> Iterator[FlowResult]:
        for step in self.steps:
            yield from step.flows

    @property
    def checks(self) -> int:
        """How many things were held against something: expectations, and flows that an invariant spoke of."""
        return sum(each.checked.checks for each in self.flows) + sum(verdict.flows for verdict in self.invariants)

    @property
    def failures(self) -> list[str]:
        """Everything that did not hold, a sentence each."""
        found = []
        for step in self.steps:
            for result in step.flows:
                found += [
                    f"step {step.number}, {_title(step, result.flow)}: {each}" for each in result.checked.failures
                ]
        for verdict in self.invariants:
            found += [f"{verdict.name}: {each}" for each in verdict.failures]
        return found

    @property
    def undecided(self) -> list[str]:
        """The flows that met something which is not modelled, where nobody expected so."""
        return [
            f"{_name(each.flow)}: {each.flow.outcome.detail or 'not modelled'}"
            for each in self.flows
            if each.flow.outcome.word == "undecided" and each.expected != "undecided"
        ]

    @property
    def exit_status(self) -> int:
        """0 held; 1 something failed, or nothing was checked at all; 3 something was met that is not modelled."""
        if self.undecided:
            return UNDECIDED
        return FAILED if self.failures or not self.checks else HELD


Progress = Callable[[int, int, str], None]


def run(
    scenario: Scenario | str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    *,
    split: Split = "flow",
    build: Callable[[Scenario], Cluster] | None = None,
    progress: Progress | None = None,
    force: bool = False,
) -> Run:
    """Run a scenario (or the file of one) and, with `out_dir`, write its captures to `out_dir/NAME/`.

    `force` replaces files that emu did not write. `progress(done, of, what)` is called before each step. Raises InputError with the step's place, and then nothing is
    written.
    """
    if not isinstance(scenario, Scenario):
        scenario = load(scenario)
    tell = progress or (lambda done, of, what: None)
    steps = scenario.spec.steps
    tell(0, len(steps), "building the cluster")
    result = Run(scenario, (build or _build)(scenario))
    check_endpoints(scenario, result.cluster)
    judged: list[tuple[Verdict, ...]] = []
    for number, step in enumerate(steps):
        tell(number, len(steps), step.name or step.action)
        done = StepResult(number + 1, step.name, step.action)
        try:
            _STEPS[step.action](result, done, number, step)
        except InputError as error:
            raise scenario.error(error, number, step.action) from None
        result.steps.append(done)
        judged.append(judge(result.cluster, [each.flow for each in done.flows]))
    tell(len(steps), len(steps), "writing")
    result.invariants = together(judged)
    result.notes += result.cluster.warnings
    if out_dir is not None:
        write(result, out_dir, split=split, force=force)
    return result


def _build(scenario: Scenario) -> Cluster:
    from emu.scenario.build import build

    return build(scenario)


def check_endpoints(scenario: Scenario, cluster: Cluster) -> None:
    """Resolve the ends of every flow before the first packet, up to the first step that changes the objects."""
    for number, step in enumerate(scenario.spec.steps):
        if step.action in CHANGING:
            return
        if step.action in FLOWS:
            _ends(scenario, cluster, number, step)


def _ends(scenario: Scenario, cluster: Cluster, number: int, step: Step) -> tuple[list[str], list[Target]]:
    part = getattr(step, step.action)
    try:
        senders = [_reference(cluster, name) for name in sources(cluster, part.from_)]
    except InputError as error:
        raise scenario.error(_waiting(cluster, part.from_) or error, number, step.action, "from") from None
    if step.send is not None:
        return senders, []
    try:
        if step.ping is not None:
            return senders, _ping_targets(cluster, _plain(part.to))
        return senders, targets(cluster, _plain(part.to), "UDP" if step.action == "udp" else "TCP")
    except InputError as error:
        raise scenario.error(_waiting(cluster, part.to) or error, number, step.action, "to") from None


def _waiting(cluster: Cluster, text: str) -> InputError | None:
    """An unknown pod may be one that is there and does not run: then that is what to say."""
    found = endpoint(text)
    pod = cluster.store.get(Pod, found.namespace, found.name) if found.kind == "pod" else None
    if pod is None:
        return None
    condition = pod.condition("PodScheduled")
    why = pod.status.message or (condition.message if condition is not None else "")
    return InputError(f'pod "{pod.namespace}/{pod.name}" does not run{": " if why else ""}{why.rstrip(".")}')


def _reference(cluster: Cluster, name: str) -> str:
    """A namespace's display name as an endpoint."""
    if name in cluster.pods:
        return name
    return f"node/{name}" if name in cluster.nodes else f"external/{name}"


def _ping_targets(cluster: Cluster, text: str) -> list[Target]:
    """A ping has no port: a Service is one target, whatever its ports."""
    if not text.startswith("svc/"):
        return targets(cluster, text)
    try:
        found = targets(cluster, f"{text}:*", "TCP")
    except InputError:
        found = targets(cluster, f"{text}:*", "UDP")
    return [replace(each, port=0, name=text) for each in {each.addr: each for each in found}.values()]


def _plain(text: str) -> str:
    return text.replace("localhost", "127.0.0.1", 1) if text.split(":", maxsplit=1)[0] == "localhost" else text


def _flows(run: Run, done: StepResult, number: int, step: Step) -> None:
    senders, found = _ends(run.scenario, run.cluster, number, step)
    for sender in senders:
        flows = [_send(run.cluster, step, sender, target) for target in found]
        if step.send is not None:
            flows = [run.cluster.send(sender, step.send.scapy, name=step.name)]
        for flow in flows:
            _tell_story(run.cluster, flow, step)
            done.flows.append(_result(flow, step))
    run.left_open[step.name] = [each.flow for each in done.flows]


def _more(run: Run, done: StepResult, number: int, step: Step) -> None:
    more = step.more
    assert more is not None
    timeout_s = TCP_TIMEOUT_S if more.timeout is None else duration_ns(more.timeout) / SECOND_NS
    left_open = [each for each in run.left_open.get(more.of, ()) if each.socket is not None]
    if not left_open:
        raise InputError(f'"{more.of}" has no connection open')
    flows = []
    for before in left_open:
        flow = run.cluster.more(before, more.send.encode(), close=more.close, timeout_s=timeout_s, name=step.name)
        flows.append(flow)
        _tell_story(run.cluster, flow, step)
        done.flows.append(_result(flow, step))
    run.left_open[more.of] = flows


def _result(flow: Flow, step: Step) -> FlowResult:
    expect = step.expect
    return FlowResult(flow, Checked(0, ()) if expect is None else check(flow, expect), expect.outcome if expect else "")


def _send(cluster: Cluster, step: Step, source: str, target: Target) -> Flow:
    if step.tcp is not None:
        tcp = step.tcp
        timeout_s = TCP_TIMEOUT_S if tcp.timeout is None else duration_ns(tcp.timeout) / SECOND_NS
        data = tcp.send.encode()
        return cluster.tcp(source, target, data, port=tcp.port, close=tcp.close, timeout_s=timeout_s, name=step.name)
    if step.udp is not None:
        udp = step.udp
        timeout_s = UDP_TIMEOUT_S if udp.timeout is None else duration_ns(udp.timeout) / SECOND_NS
        data = udp.send.encode()
        return cluster.udp(
            source,
            target,
            data,
            port=udp.port,
            connected=udp.connected,
            reply=udp.reply,
            timeout_s=timeout_s,
            name=step.name,
        )
    ping = step.ping
    assert ping is not None
    interval_s = duration_ns(ping.interval) / SECOND_NS
    return cluster.ping(source, target, ping.count, interval_s=interval_s, size=ping.size, name=step.name)


def _tell_story(cluster: Cluster, flow: Flow, step: Step) -> None:
    """Sentences for the comments of the flow's frames."""
    if cluster.capture is not None and step.story:
        cluster.capture.stories[flow.number] = teller(step.story)


def teller(story: str | tuple[StoryLine, ...]) -> Callable[[Captured], str | None]:
    """What the story says of a frame: a text says the same of every one, lines choose theirs."""
    if isinstance(story, str):
        return lambda captured: story

    def tell(captured: Captured) -> str | None:
        said = [
            line.says
            for line in story
            if fnmatchcase(captured.interface, line.at)
            and line.way in ("any", captured.way.partition("-")[0])
            and (line.when == "*" or fnmatchcase(captured.line(), line.when))
        ]
        return "\n".join(said) or None

    return tell


def _apply(run: Run, done: StepResult, number: int, step: Step) -> None:
    objects = run.scenario.applied[number]
    for obj in objects:
        run.cluster.apply(obj, settle=False)
    _settle(run, step)
    done.change = "applied " + (", ".join(str(obj.key) for obj in objects) or "nothing that has an effect")


def _delete(run: Run, done: StepResult, number: int, step: Step) -> None:
    texts = (step.delete,) if isinstance(step.delete, str) else step.delete or ()
    for text in texts:
        key = object_key(text)
        run.cluster.delete(key.kind, key.namespace, key.name, settle=False)
    _settle(run, step)
    done.change = "deleted " + ", ".join(texts)


def _scale(run: Run, done: StepResult, number: int, step: Step) -> None:
    wanted = step.scale or {}
    for text, replicas in wanted.items():
        key = object_key(text)
        run.cluster.scale(key.kind, key.namespace, key.name, replicas, settle=False)
    _settle(run, step)
    done.change = "scaled " + ", ".join(f"{text} to {replicas}" for text, replicas in wanted.items())


def _drain(run: Run, done: StepResult, number: int, step: Step) -> None:
    nodes = (step.drain,) if isinstance(step.drain, str) else step.drain or ()
    names = [text.removeprefix("node/") for text in nodes]
    gone = [pod for name in names for pod in run.cluster.drain(name, settle=False)]
    _settle(run, step)
    done.change = f"drained {', '.join(names)} of {', '.join(gone) or 'nothing'}"


def _settle(run: Run, step: Step) -> None:
    if step.settle:
        run.cluster.settle()


def _wait(run: Run, done: StepResult, number: int, step: Step) -> None:
    assert step.wait is not None
    run.cluster.wait(duration_ns(step.wait) / SECOND_NS)
    done.change = f"waited {step.wait if isinstance(step.wait, str) else f'{step.wait:g}s'}"


def _link(run: Run, done: StepResult, number: int, step: Step) -> None:
    link = step.link
    assert link is not None
    run.cluster.link(
        link.node or link.pod,
        down=link.down,
        delay_ms=None if link.delay is None else duration_ns(link.delay) / MS_NS,
        loss=None if link.loss is None else share(link.loss),
        mtu=link.mtu,
        lose=link.lose,
    )
    words = [
        f"{key} {str(value).lower()}"
        for key in ("down", "delay", "loss", "mtu")
        if (value := getattr(link, key)) is not None
    ]
    words += [f"lose {', '.join(map(str, link.lose))}"] if link.lose else []
    done.change = f"link of {link.node or link.pod}: {', '.join(words)}"


_STEPS = {
    **dict.fromkeys(FLOWS, _flows),
    "more": _more,
    "apply": _apply,
    "delete": _delete,
    "scale": _scale,
    "drain": _drain,
    "wait": _wait,
    "link": _link,
}


def _name(flow: Flow) -> str:
    return flow.name or f"{flow.kind} {flow.source} -> {flow.target.name}"


def _title(step: StepResult, flow: Flow) -> str:
    ends = f"{flow.source} -> {flow.target.name}"
    return f"{step.name} ({ends})" if step.name else f"{step.action} {ends}"
