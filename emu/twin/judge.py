"""Runs a scenario on both sides and reports the differences. Must not know how the sides are compared."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from emu.errors import EmuError, Undecided
from emu.kube.cluster import Cluster
from emu.scenario import build
from emu.scenario import run as scenario_run
from emu.scenario.script import Scenario, load
from emu.scenario.steps.link import Link
from emu.twin import itself, machines, settings
from emu.twin.cluster import TwinCluster
from emu.twin.cni import FOLDER, absent
from emu.twin.pods import RealPods
from emu.twin.report import DIFFERENT, Earlier, FlowReport, Report
from emu.twin.space import TwinError, missing
from emu.twin.twin import Twin
from emu.twin.wired import Wired, Wiring
from emu.twin.wiring import Pod, compared

TRIES = 2  # what differs runs once more: a busy machine lets programs be late, and the kernel's timers fire first


@contextmanager
def one_cpu() -> Iterator[None]:
    """Bind this process to one CPU, where all events have one order. Parallel twins use different CPUs, or wait for one:
    when a program is a tick late, the kernel's timers fire before it."""
    before, nice = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    os.sched_setaffinity(0, {sorted(before)[os.getpid() % len(before)]})
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        os.sched_setaffinity(0, before)


def judge(
    scenario: Scenario | str | os.PathLike[str],
    progress: Callable[[int, int, str], None] | None = None,
    *,
    tries: int = TRIES,
    without: Collection[str] = (),
    wiring: bool = False,
    wired: Wiring | None = None,
) -> Report:
    """Run a scenario on both sides and compare. What differs runs again, up to `tries` times, as a busy machine may be late;
    the report names what differed before, and where the kernel's own runs differ. `without` names settings of the kernel's side that are left out
    (`settings.py`). With `wiring` the real CNI plugins wire each node's first pods, too (`wiring.py`). `wired` wires the
    whole kernel's side from the objects, in place of the mirror (`wired.py`). Raises InputError, and TwinError that names what is missing here."""
    settings.check(without)
    lost = missing()
    if lost:
        raise TwinError(lost)
    if not isinstance(scenario, Scenario):
        scenario = load(scenario)
    earlier: list[Earlier] = []
    before: Report | None = None
    while True:
        report = _once(scenario, progress, without, wiring, wired)
        report.earlier = tuple(earlier)
        if before is not None:
            report.notes += itself.runs(before, report)
        if report.exit_status != DIFFERENT or report.tries >= tries:
            return report
        earlier.append(report.as_earlier())
        before = report


def _once(
    scenario: Scenario,
    progress: Callable[[int, int, str], None] | None,
    without: Collection[str],
    wiring: bool,
    wired: Wiring | None,
) -> Report:
    report = Report(scenario.name, platform.release())
    with one_cpu():
        twins: list[Twin] = []

        def made(script: Scenario) -> Cluster:
            spec = script.spec
            cluster = TwinCluster(*build.asked(script), seed=spec.seed)
            pullable = [(str(cluster.netns(where).name), device) for where, device in _pulled(script)]
            pods = RealPods(lambda: cluster.kubelets, pullable) if wiring else None
            whole = Wired(wired, lambda: cluster.kubelets) if wired is not None else None
            twin = Twin(cluster, report, without, pullable, pods, whole)
            twins.append(twin)
            try:
                if spec.cluster.cpus > 1:
                    raise Undecided("cluster.cpus: the twin's programs and machines share one CPU")
                if wiring:
                    _wire(cluster, report)
                    _wire_machines(script, cluster, report)
                twin.begin()
                cluster.twin = twin
                build.join(cluster, script)
            except Undecided as reason:
                report.undecided = str(reason)
            return cluster

        try:
            ran = scenario_run.run(scenario, build=made, progress=progress)
            report.notes += [*ran.cluster.warnings, *ran.failures]
            count = sum(twin.mirror.pods.wired for twin in twins if twin.mirror.pods is not None)
            if count:
                report.notes.append(f"the CNI plugins in {FOLDER} wired {count} pods")
        finally:
            for twin in twins:
                twin.close()
    return report


def _pulled(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """The nodes and pods whose links a step takes down or up, with the device."""
    for step in scenario.steps:
        if isinstance(step.part, Link) and step.part.down is not None:
            yield step.part.name, step.part.device


def _wire(cluster: Cluster, report: Report) -> None:
    """Compare the wiring of each node's pods with that of the real plugins."""
    for kubelet in cluster.kubelets:
        node, network = kubelet.node, kubelet.network
        lost = absent(network.config)
        if lost:
            report.leave_out(f"the wiring of {node.name}: there is no {', '.join(lost)} in {FOLDER}", False)
            continue
        pods = [
            Pod(each.name, each.net, each.uid.replace("-", ""), each.result, each.capability_args)
            for each in node.sandboxes.values()
            if not each.host_network
        ]
        done = FlowReport(
            f"wiring of {node.name}", differences=compared(node.name, node.net, network, pods, node.files)
        )
        if done.differences:
            report.flows.append(done)


def _wire_machines(scenario: Scenario, cluster: Cluster, report: Report) -> None:
    """Compare the nodes' interfaces with what `ip` makes of the scenario's own words."""
    found = machines.compared(scenario.document.value.get("cluster", {}), cluster.namespaces)
    if found:
        report.flows.append(FlowReport("interfaces of the nodes", differences=found))


def main(path: str, output: str = "text") -> int:
    """The command: prints the report (`output` text or json); gives the exit status."""
    try:
        report = judge(path)
    except EmuError as error:
        sys.stderr.write(f"emu twin: {error}\n")
        return error.exit_status
    sys.stdout.write(json.dumps(report.data(), indent=2) + "\n" if output == "json" else report.text())
    return report.exit_status
