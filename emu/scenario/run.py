"""A scenario run: the cluster is built, the steps follow each other, and the result of each is kept.

Files come last, and all at once (`files.py`): an error on the way leaves nothing behind. Must not know what a step does
(`steps/`), or how results are shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from itertools import islice

from emu.invariants import Evidence, Verdict, invariants, judge, together
from emu.kube.api.core import Node, Pod
from emu.kube.cluster import Cluster
from emu.kube.flow.flow import Flow
from emu.scenario.asked import REQUIREMENTS, further
from emu.scenario.ends import Ends
from emu.scenario.files import Split, write
from emu.scenario.kinds import Step
from emu.scenario.lint import meant, named_nodes, waiting, without_nodes
from emu.scenario.record import FAILED, HELD, UNDECIDED, Run
from emu.scenario.results import TOGETHER, Results, StepResult, Streamed, Tallied
from emu.scenario.script import Scenario, load
from emu.scenario.steps import Doing, Place, actions
from emu.scenario.story import Teller

__all__ = ["FAILED", "HELD", "UNDECIDED", "Progress", "Run", "check_endpoints", "run"]

SHOWN = 100  # flows, after which their count is shown anew
Progress = Callable[[int, int, str], None]


def run(
    scenario: Scenario | str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    *,
    split: Split = "flow",
    build: Callable[[Scenario], Cluster] | None = None,
    progress: Progress | None = None,
    force: bool = False,
    record: bool = False,
    only: Container[int] | None = None,
    stream: str | os.PathLike[str] | None = None,
    results: bool = True,
) -> Run:
    """Run a scenario (or the file of one) and, with `out_dir`, write its captures to `out_dir/NAME/`.

    `stream` names a folder for files without names: frames and results beyond some thousands lie there, so that memory does not grow with
    flows. What needs every frame (`record`, and invariants that the scenario names) holds them all. Without `results` the flows of traffic and replays
    are counted, and only the first that are not as expected leave one.
    `record`: the capture notes also what the tables hold at each frame (`Capture.record`). `force` replaces files that emu did not
    write. Of the steps `only` those are run, by their number from 0 (`only.py`); None: all. `progress(done, of, what)` is called before each step. Raises InputError
    with the step's place, and then nothing is written.
    """
    if not isinstance(scenario, Scenario):
        scenario = load(scenario)
    report = progress or (lambda done, of, what: None)
    steps = scenario.steps
    report(0, len(steps), "building the cluster")
    result = Run(scenario, (build or _build)(scenario), only=only)
    named = further(scenario)
    if record or named:
        stream = None
    if stream is not None and result.cluster.capture is not None:
        result.cluster.capture.stream(stream)
    if record and result.cluster.capture is not None:
        result.cluster.capture.record()
    check_endpoints(scenario, result.cluster)
    # what reads frames is not judged without a capture
    required = [name for name in REQUIREMENTS if result.cluster.capture is not None or not invariants[name].captured]
    judged: list[tuple[Verdict, ...]] = []
    for number, step in enumerate(steps):
        if only is not None and number not in only:
            continue
        report(number, len(steps), step.name or step.action)
        done = StepResult(number + 1, step.name, step.action, story=step.story, started_ns=result.cluster.clock.now)
        if not results and actions[step.action].many:
            done.flows = Tallied(done.passed, partial(_dropped, result.cluster, judged, required))
        elif stream is not None:
            done.flows = Streamed(stream, lambda flow: result.cluster.flows.pop(flow.number, None))
        _do(result, number, step, done, _Ended(result.cluster, step, partial(report, number, len(steps))))
        result.steps.append(done)
        if isinstance(done.flows, Tallied):
            done.flows.end()
        else:
            for flows in _batches(done.flows):
                judged[:] = [together([*judged, judge(Evidence(result.cluster, flows), required)])]
    report(len(steps), len(steps), "writing")
    if named:
        judged.append(judge(result.cluster, named))
    result.invariants = together([judge(Evidence(result.cluster, ()), required), *judged])
    store, loaded = result.cluster.store, scenario.loaded
    result.notes += [*map(str, () if loaded.live else meant(loaded)), *result.cluster.warnings]
    if not loaded.live:  # what an export shows is among the warnings
        nodes = store.list(Node)
        odd = *waiting(store.list(Pod)), *without_nodes(loaded, nodes), *named_nodes(loaded, nodes)
        result.notes += map(str, odd)
    if out_dir is not None:
        write(result, out_dir, split=split, force=force)
    return result


def _build(scenario: Scenario) -> Cluster:
    from emu.scenario.build import build

    return build(scenario)


def check_endpoints(scenario: Scenario, cluster: Cluster) -> None:
    """Resolve the ends of every flow before the first packet, up to the first step that changes the objects.
    Raises InputError."""
    ends = Ends(cluster)
    for number, step in enumerate(scenario.steps):
        action = actions[step.action]()
        if action.changes:
            return
        place = Place(scenario, number, step)
        with place.at():
            action.resolve(step.part, place, ends)


def _batches(results: Results) -> Iterator[list[Flow]]:
    """The flows of a step, some at a time; at least once."""
    left = iter(results)
    flows = [each.flow for each in islice(left, TOGETHER)]
    yield flows
    while len(flows) == TOGETHER:
        flows = [each.flow for each in islice(left, TOGETHER)]
        yield flows


def _dropped(
    cluster: Cluster, judged: list[tuple[Verdict, ...]], required: Sequence[str], flows: Sequence[Flow]
) -> None:
    """Flows whose results are about to be dropped."""
    judged[:] = [together([*judged, judge(Evidence(cluster, flows), required)])]
    for flow in flows:
        cluster.flows.pop(flow.number, None)


def _do(result: Run, number: int, step: Step, done: StepResult, ended: Callable[[Flow, Step], None]) -> None:
    cluster = result.cluster
    place = Place(result.scenario, number, step)
    begun = {**result.moments}
    result.moments |= {step.name: cluster.clock.now} if step.name else {}
    doing = Doing(
        place,
        done,
        cluster,
        Ends(cluster),
        result.left_open,
        ended,
        begun,
        cluster.capture,
        cluster.clock,
        cluster.clock.random,
    )
    with place.at():
        actions[step.action]().run(step.part, doing)
    done.ended_ns = cluster.clock.now


class _Ended:
    """Called with each flow of a step that has ended: its frames get the step's sentences, and the count is shown."""

    def __init__(self, cluster: Cluster, step: Step, show: Callable[[str], None]) -> None:
        self._capture, self._show = cluster.capture, show
        self._name, self._teller = step.name or step.action, Teller(step.story)
        self._count = 0

    def __call__(self, flow: Flow, step: Step) -> None:
        self._count += 1
        if self._count % SHOWN == 0:
            self._show(f"{self._name}, {self._count:,} flows")
        if self._capture is not None and step.story:
            self._capture.stories[flow.number] = self._teller
