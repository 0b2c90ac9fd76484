"""A scenario run twice: each flow first by the kernel's sockets, then, with what the kernel drew, by the emulator's.

Builds the kernel's side, keeps both in step, and holds each flow's frames, tables and counters against each other.
Must not know how frames are told or tables read.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

from emu.apps import apps
from emu.apps.dns import DnsServer
from emu.capture.interface import roles
from emu.capture.tap import DROP
from emu.clock import Values
from emu.errors import EmuError, Undecided
from emu.kernel.link.bridge import Bridge
from emu.kernel.net.netns import Netns
from emu.kube import cluster as kube
from emu.kube.api import core
from emu.kube.cluster import Cluster
from emu.kube.dns.zone import outside
from emu.kube.flow.ends import Target
from emu.kube.flow.flow import Flow, Testbed
from emu.kube.node.kubelet import apps_of
from emu.scenario import build
from emu.scenario import run as scenario_run
from emu.scenario.script import Scenario, load
from emu.twin import compare, draws, tables
from emu.twin.cluster import TwinCluster
from emu.twin.compare import Difference, Sight
from emu.twin.loop import Loop
from emu.twin.mirror import Mirror
from emu.twin.normalise import Normaliser
from emu.twin.report import FlowReport, Report
from emu.twin.ring import Ring, Seen
from emu.twin.sockets import RealNet, RealTcp, RealUdp
from emu.twin.space import TwinError, missing
from emu.wire.dns import PORT

# A client cannot tell a reset from a rejection, nor a drop from silence: the frames tell
CLASSES = {"rejected": "refused", "dropped": "timeout", "undecided": "timeout"}


class Twin:
    """Both sides of one cluster. `report` grows with each flow."""

    def __init__(self, cluster: Cluster, report: Report) -> None:
        assert cluster.capture is not None
        self.cluster, self.capture, self.report = cluster, cluster.capture, report
        self.mirror = Mirror()
        self.nets: dict[Netns, RealNet] = {}
        self.rings: dict[Netns, Ring] = {}
        self.real: dict[int, Flow] = {}  # the kernel's side of each flow, by number
        self.apps: dict[str, list[Any]] = {}
        self.seen: list[Seen] = []
        self.loop = Loop(self._take)
        self.stand_in = cast(Testbed, SimpleNamespace(clock=self.loop, namespaces={}, capture=None))
        self.theirs, self.ours = Normaliser({}), Normaliser({})
        self.mark = 0
        links = [each for net in cluster.namespaces.values() for each in net.devices.values() if each.name != "lo"]
        self.largest = max((each.mtu for each in links), default=1500) + 14
        self.snap = 0
        self.offset_ns = 0
        self.counters: dict[Netns, tuple[tables.Counters, tables.Counters]] = {}

    # -- building -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Build the kernel's side; both begin cold."""
        self._sync()
        self.mirror.flush()
        for net in self.cluster.namespaces.values():
            net.flush_neighbours()
            if net.conntrack is not None:
                net.conntrack.flush()
            for device in net.devices.values():
                if isinstance(device, Bridge):
                    device.flush()
        self._start_over("setup")

    def change(self, name: str) -> None:
        """Carry over what a change of the emulated cluster did. Frames of it are not compared: the emulator's plugins
        and the tools here do the same in other steps; what they left is."""
        self._sync()
        self._start_over(name)

    def _sync(self) -> None:
        come, gone = self.mirror.sync(self.cluster.namespaces)
        for net in come:
            space = self.mirror.spaces[net]
            self.rings[net] = Ring(space, self.largest)
            self.snap = self.rings[net].snap
            self.nets[net] = RealNet(net, space, self.loop)
        self._apps()
        for net in gone:
            self.nets.pop(net).close()
            self.rings.pop(net).close()
            self.mirror.remove(net)
        self.capture.mark()  # it looks at the devices again: a bridge's MAC may have changed
        for side in (self.theirs, self.ours):
            side.roles.update(roles(self.capture.interfaces))

    def _apps(self) -> None:
        """Run what the emulated cluster's containers run, by the same code."""
        wanted: dict[str, tuple[Netns, str, list[tuple[str, int, str]]]] = {
            "external": (self.cluster.underlay.external, "external", self._outside())
        }
        for kubelet in self.cluster.kubelets:
            for name, sandbox in kubelet.node.sandboxes.items():
                pod = self.cluster.store.get(core.Pod, sandbox.namespace, sandbox.pod)
                chosen = [app for _container, some in apps_of(pod) for app in some] if pod is not None else []
                wanted[f"{name} {sandbox.uid}"] = sandbox.net, sandbox.name, chosen
        for name in [name for name in self.apps if name not in wanted]:
            for running in self.apps.pop(name):
                running.stop()
        for key, (net, called, chosen) in wanted.items():
            if key not in self.apps:
                self.apps[key] = running = []
                for app, port, protocol in chosen:
                    try:
                        running.append(apps[app](cast(Netns, self.nets[net]), port, protocol, called))
                        if called != "external":
                            self.cluster.dns.configure(running[-1])
                        elif isinstance(running[-1], DnsServer):
                            running[-1].authority = outside(self.cluster.dns.config)
                    except OSError as error:
                        self.report.notes.append(f"kernel: {called} cannot listen on {port}/{protocol}: {error}")

    def _outside(self) -> list[tuple[str, int, str]]:
        """What answers outside the cluster."""
        names = self.cluster.dns
        resolver = [("dns", PORT, "UDP"), ("dns", PORT, "TCP")] if names.built_in else []
        return [*names.beside_resolver(kube.EXTERNAL_APPS), *resolver]

    def _start_over(self, name: str) -> None:
        """Tables must be alike now; frames count from here."""
        self.loop.catch_up()
        self._align()
        self._drop_frames()
        done = FlowReport(name)
        for net, space in self.mirror.spaces.items():
            text = net.ipv4.tables.save()
            if text or self.mirror.pictures[net].iptables:
                kernel = space.run("iptables-save", "-c")
                self.counters[net] = tables.counters(kernel), tables.counters(net.ipv4.tables.save(counters=True))
                stripped = [line.partition("] ")[2] if line.startswith("[") else line for line in tables.rules(kernel)]
                difference = compare.sequences("rules", space.name, stripped, tables.rules(text))
                done.differences += [difference] if difference is not None else []
        done.differences += self._tables()
        if done.differences:
            self.report.flows.append(done)

    def close(self) -> None:
        for net in self.nets.values():
            net.close()
        for ring in self.rings.values():
            ring.close()
        self.loop.close()
        self.mirror.close()

    # -- time and frames ------------------------------------------------------------------------

    def _align(self) -> None:
        """Let the side that is behind wait for the other."""
        clock, loop = self.cluster.clock, self.loop
        if not self.offset_ns:
            self.offset_ns = clock.now - loop.now
        loop.run_until(max(loop.now, clock.now - self.offset_ns))
        clock.run_until(max(clock.now, loop.now + self.offset_ns))

    def _take(self) -> None:
        for ring in self.rings.values():
            self.seen += ring.take()

    def _drop_frames(self) -> None:
        self._take()
        self.seen.clear()
        self.mark = self.capture.mark()

    def _frames(self) -> tuple[list[Sight], list[Sight]]:
        """Both sides' frames since the last time, in the order seen."""
        self._take()
        names = {(each.owner.partition("#")[0], each.device_name): each.name for each in self.capture.interfaces}
        names.update(
            {
                (each.device.net.name, each.device.name): each.name
                for each in self.capture.interfaces
                if each.device is not None and each.device.net in self.nets
            }
        )
        # a frame that is handed up keeps its old time: within a namespace the ring's order rules
        latest: dict[str, int] = {}
        ordered = []
        for number, seen in enumerate(self.seen):
            latest[seen.space] = max(latest.get(seen.space, 0), seen.at_ns)
            ordered.append((latest[seen.space], number, seen))
        ordered.sort(key=lambda each: each[:2])
        self.seen = []
        kernel = []
        for _, _, seen in ordered:
            line = self.theirs.render(seen.data, length=seen.length, loopback=seen.device == "lo")
            place = names.get((seen.space, seen.device), f"{seen.space}/{seen.device}")
            kernel.append(Sight(place, seen.way, line))
        end = self.capture.mark()
        emu = []
        for captured in self.capture.frames(since=self.mark, until=end):
            if captured.code & 3 != DROP:
                data = captured.data[: self.snap]  # as much as the rings keep
                loopback = captured.place.kind == "loopback"
                line = self.ours.render(data, length=len(captured.data), loopback=loopback)
                emu.append(Sight(captured.interface, captured.way, line))
        self.mark = end
        return kernel, emu

    def prepare(self) -> None:
        """Before a flow: the same time on both sides, and whatever timers changed in the emulated cluster carried over.
        Raises Undecided."""
        self.loop.catch_up()
        self._align()
        if self.mirror.behind(self.cluster.namespaces):
            self.change("changes in the meantime")
        for net, space in self.mirror.spaces.items():
            draws.reachable(self.cluster.clock, net, tables.reachable_ms(space))

    # -- flows ----------------------------------------------------------------------------------

    def flow(
        self,
        source: Netns,
        kind: str,
        where: Target,
        real: Callable[[Flow], object],
        emulated: Callable[[], Flow],
        *,
        judged: bool = True,
    ) -> Flow:
        """One flow on both sides. Without `judged` its outcome is nothing that a client's socket could know."""
        net = self.nets[source]
        for each in self.nets.values():
            each.sockets.opened.clear()
        self.loop.take_drawn()
        number = len(self.cluster.flows) + 1
        display = next(name for name, each in self.cluster.namespaces.items() if each is source)
        made = Flow(self.stand_in, number, kind, "", display, where, cast(Netns, net))
        self.real[number] = made
        connections = {each: self._connections(each) for each in self.counters}
        real(made)
        reached = self._learn(connections)
        result = emulated()
        self._align()
        done = FlowReport(result.name)
        self.report.flows.append(done)
        kernel, emu = self._frames()
        done.frames = len(kernel)
        done.differences += compare.frames(kernel, emu)
        if judged:
            told = compare.sequences("result", net.name, _told(made), _told(result))
            done.differences += [told] if told is not None else []
        done.differences += self._tables()
        done.differences += self._counted(reached)
        for socket in net.sockets.opened:
            if isinstance(socket, RealTcp) and socket.state == "CLOSE":
                socket.release()
        return result

    def _connections(self, net: Netns) -> set[str]:
        if net.conntrack is None:
            return set()
        return draws.connections(tables.kernel_connections(self.mirror.spaces[net]))

    def _learn(self, before: dict[Netns, set[str]]) -> dict[Netns, tables.Counters]:
        """Tell the emulator what the kernel and the programs on its side drew; gives where the kernel's counters are."""
        clock = self.cluster.clock
        for purpose, values in self.loop.take_drawn().items():
            clock.script(purpose, Values(values))
        for each, net in self.nets.items():
            for protocol, kind in (("tcp", RealTcp), ("udp", RealUdp)):
                ports = [one.port for one in net.sockets.opened if isinstance(one, kind) and one.ephemeral]
                draws.ports(clock, each, protocol, ports)
        self._take()
        for each, space in self.mirror.spaces.items():
            draws.proxied(clock, each, [seen for seen in self.seen if seen.space == space.name])
        reached: dict[Netns, tables.Counters] = {}
        for each, (old, _) in self.counters.items():
            reached[each] = tables.counters(self.mirror.spaces[each].run("iptables-save", "-c"))
            each.random("statistic").script = Values(draws.statistic(each, tables.counted(old, reached[each])))
            if each.conntrack is not None:
                moved = draws.nat(before[each], tables.kernel_connections(self.mirror.spaces[each]))
                each.random("nat").script = Values(moved)
        return reached

    def _counted(self, reached: dict[Netns, tables.Counters]) -> Iterator[Difference]:
        for net, kernel in reached.items():
            old, before = self.counters[net]
            emu = tables.counters(net.ipv4.tables.save(counters=True))
            theirs, ours = tables.counted(old, kernel), tables.counted(before, emu)
            if theirs != ours:  # what a timer sent after `_learn` had looked counts, as its frames do
                kernel = tables.counters(self.mirror.spaces[net].run("iptables-save", "-c"))
                theirs = tables.counted(old, kernel)
            self.counters[net] = kernel, emu
            told = compare.sequences("counters", net.name, _counter_lines(theirs), _counter_lines(ours))
            if told is not None:
                yield told

    def _tables(self) -> Iterator[Difference]:
        for net, space in self.mirror.spaces.items():
            kernel, emu, old = tables.kernel_tables(space, net), tables.emulated_tables(net), tables.aged(net)

            def alike(one: str, other: str, old: set[str] = old) -> bool:
                return tables.seconds_alike(one, other) or tables.ageing_alike(one, other, old)

            yield from compare.tables(space.name, kernel, emu, alike)


def _told(flow: Flow) -> list[str]:
    outcome = flow.outcome
    word = CLASSES.get(outcome.word, outcome.word)
    lines = [f"{word} {outcome.detail}" if word == "error" else word]
    if flow.received:
        lines.append(f"received {flow.received!r}")
    if flow.kind == "ping":
        lines.append(f"{len(flow.rtt_ns)} replies")
    return lines


def _counter_lines(counted: tables.Counters) -> list[str]:
    return [f"{table} {chain} rule {number}: {packets} packets, {size} bytes"
            for (table, chain, number), (packets, size) in sorted(counted.items())]  # fmt: skip


@contextmanager
def one_cpu() -> Iterator[None]:
    """On one CPU all of an exchange happens in one order. Twins side by side take different ones; others on it wait, for
    a program that is late by a tick finds that the kernel's timers acted before it."""
    before, nice = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    os.sched_setaffinity(0, {sorted(before)[os.getpid() % len(before)]})
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        os.sched_setaffinity(0, before)


def judge(
    scenario: Scenario | str | os.PathLike[str], progress: Callable[[int, int, str], None] | None = None
) -> Report:
    """Run a scenario on both sides and compare. Raises InputError, and TwinError with what is missing here."""
    lost = missing()
    if lost:
        raise TwinError(lost)
    if not isinstance(scenario, Scenario):
        scenario = load(scenario)
    report = Report(scenario.name, platform.release())
    with one_cpu():
        twins: list[Twin] = []

        def made(script: Scenario) -> Cluster:
            spec = script.spec
            cluster = TwinCluster(build.config(spec.cluster, script.conflist), script.objects, seed=spec.seed)
            twin = Twin(cluster, report)
            twins.append(twin)
            try:
                twin.begin()
                cluster.twin = twin
            except Undecided as reason:
                report.undecided = str(reason)
            return cluster

        try:
            ran = scenario_run.run(scenario, build=made, progress=progress)
            report.notes += ran.failures
        finally:
            for twin in twins:
                twin.close()
    return report


def main(path: str, output: str = "text") -> int:
    """The command: prints the report (`output` text or json); gives the exit status."""
    try:
        report = judge(path)
    except EmuError as error:
        sys.stderr.write(f"emu twin: {error}\n")
        return error.exit_status
    sys.stdout.write(json.dumps(report.data(), indent=2) + "\n" if output == "json" else report.text())
    return report.exit_status
