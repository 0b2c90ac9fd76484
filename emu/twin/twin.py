"""A scenario run twice: each flow first by the kernel's sockets, then, with the kernel's draws, by the emulator's.

Builds the kernel's side, keeps both sides equal in time, and compares each flow's frames, tables and counters.
Must not know how frames are written or tables read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Protocol

from emu.capture.capture import Capture
from emu.clock import MS, TICK_NS, Clock, Values
from emu.errors import Undecided
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.veth import Veth
from emu.kernel.link.vxlan import Vxlan
from emu.kernel.net.netns import Netns, Tally
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.netfilter.save import parse_restore
from emu.kube.flow.flow import Flow
from emu.kube.proxy.cleanup import stale
from emu.kube.underlay.underlay import Underlay
from emu.kube.underlay.vpc.vpc import Vpc
from emu.twin import compare, draws, programs, sysctls, tables, times
from emu.twin.changes import Moment, Synced, Watch
from emu.twin.compare import Difference, Sight
from emu.twin.drops import Drops
from emu.twin.fabric import Ports
from emu.twin.loop import PERIOD_TICKS, Loop, urgent
from emu.twin.mirror import Mirror
from emu.twin.pods import RealPods
from emu.twin.programs import Programs
from emu.twin.report import FlowReport, Report
from emu.twin.results import shown
from emu.twin.sights import Sights
from emu.twin.sockets import RealNet, RealTcp, RealUdp
from emu.twin.space import Space
from emu.twin.traces import Traces
from emu.twin.wired import Wired

QUIET_NS = 40 * MS  # between two readings of counters
TRIES = 5  # readings, until no packet comes in between
AFTER_TICK_NS = MS // 10
PROXY_NS = 900 * MS  # neigh/default/proxy_delay is 0.8 s, and a slot of the wheel
LINGER_NS = 300 * MS  # a timer that is set up to 16 s ahead fires up to 256 ms late


class Emulated(programs.Emulated, Protocol):
    """The emulated side: a cluster with a capture."""

    @property
    def clock(self) -> Clock: ...
    @property
    def namespaces(self) -> Mapping[str, Netns]: ...
    @property
    def flows(self) -> Mapping[int, Flow]: ...
    @property
    def capture(self) -> Capture | None: ...
    @property
    def underlay(self) -> Underlay: ...
    @property
    def synced(self) -> Mapping[str, Synced]: ...
    def foreseen(self) -> Sequence[Moment]:
        """What the control loops are going to change."""
        ...


class RealTestbed:
    """The kernel's side for flows (`emu.kube.flow.testbed.Testbed`). It has no capture, and reports nothing to flows."""

    capture = None
    gone = Tally()

    def __init__(self, clock: Loop) -> None:
        self.clock = clock
        self.namespaces: Mapping[str, Netns] = {}


class Twin:
    """Both sides of one cluster. `report` grows with each flow. `without` names the settings that are left out; `pullable`,
    `pods` and `wired`: as for `Mirror`."""

    def __init__(
        self,
        cluster: Emulated,
        report: Report,
        without: Collection[str] = (),
        pullable: Iterable[tuple[str, str]] = (),
        pods: RealPods | None = None,
        wired: Wired | None = None,
    ) -> None:
        assert cluster.capture is not None
        self.cluster, self.report = cluster, report
        self.mirror = Mirror(without, pullable, pods, wired)
        self.nets: dict[Netns, RealNet] = {}
        self.real: dict[int, Flow] = {}  # the kernel's side of each flow, by number
        links = [each for net in cluster.namespaces.values() for each in net.devices.values() if each.name != "lo"]
        self.sights = Sights(cluster.capture, max((each.mtu for each in links), default=1500) + 14)
        self.drops = Drops()
        if self.drops.why_not:
            report.leave_out(f"the reasons of drops: this kernel offers no drop monitor ({self.drops.why_not})", False)
        self.loop = Loop(self._look)
        self.testbed = RealTestbed(self.loop)
        # what stands between the nodes and is no kernel's
        self.ports = Ports(cluster.underlay, self.loop) if isinstance(cluster.underlay, Vpc) else None
        self._apart = () if self.ports is None else (self.ports.net.name,)
        if self.ports is not None:
            report.leave_out("times: the VPC is a program here, and takes its time", False)
        self.programs = Programs(cluster, self.nets, report.notes)
        self.watch = Watch(cluster, self.programs.running)
        self.traces: dict[Netns, Traces] = {}
        self.drawn: dict[Netns, list[int]] = {}  # at statistic rules, in this flow
        self.ruled: set[Netns] = set()  # where rules have changed since they were compared
        self.offset_ns = 0
        self.rulesets: dict[Netns, RuleSet] = {}  # as the counters were read last
        self.counters: dict[Netns, tuple[tables.Counters, tables.Counters]] = {}

    # -- building -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Build the kernel's side; both sides start with empty caches."""
        self._follow()
        self.mirror.flush()
        for net in self.cluster.namespaces.values():
            net.flush_neighbours()
            if net.conntrack is not None:
                net.conntrack.flush()
            for device in net.devices.values():
                if isinstance(device, Bridge | Vxlan):
                    device.flush()
                elif isinstance(device, Veth) and self.ports is None:
                    device.cable = False  # the kernel's side has veth pairs for cables, and one kernel for all machines
        self.loop.catch_up()
        self._match_ticks()
        self._align()
        self.sights.drop()
        self.drops.take()
        self.drops.drop()
        self._judge_change("setup")

    def _follow(self) -> bool:
        """Apply what has changed in the emulated cluster by now; gives whether anything has. Raises Undecided."""
        moment = self.watch.look()
        if moment is not None:
            self._apply(moment)
        return moment is not None

    def _apply(self, moment: Moment) -> None:
        """Make the kernel's side as the emulated cluster is at that moment: programs end, then links, addresses and rules
        change, then connections are deleted, then programs start."""
        self.programs.stop(moment.programs)
        mapped: dict[Netns, set[int]] = {}
        made = {
            net: new.links.keys() - self.mirror.pictures[net].links.keys()
            for net, new in moment.pictures.items()
            if net in self.mirror.pictures
        }
        for net, new in moment.pictures.items():
            old = self.mirror.pictures.get(net)
            if old is not None and old.iptables != new.iptables:
                if net in self.traces:
                    self._trace(net)
                self.ruled.add(net)
                mapped[net] = tables.newly_mapped(old.iptables, new.iptables)
        come, gone = self.mirror.sync(moment.namespaces, moment.pictures)
        self.sights.renamed()
        for net in gone:
            self.nets.pop(net).close()
            if net in self.traces:
                self.traces.pop(net).close()
            self.sights.forget(net)
            self.drops.forget(net)
            self.mirror.remove(net)
        self.sights.watch({net: self.mirror.spaces[net] for net in come})
        for net in come:
            space = self.mirror.spaces[net]
            if self.ports is None or net is not self.ports.net:
                self.drops.watch(net, space)
            else:
                self.drops.watch_apart(space)
            self.nets[net] = RealNet(net, space, self.loop, asks_at_once="so-error" not in self.mirror.without)
        if self.ports is not None:
            links = moment.pictures[self.ports.net].links
            self.ports.follow(self.mirror.spaces[self.ports.net], [name for name in links if name != "lo"])
        for net in self.nets:  # rules may switch connection tracking on later
            if net.conntrack is not None and net not in self.traces:
                self.traces[net] = Traces(self.mirror.spaces[net])
        self.sights.learn_roles()
        self.sights.wired(moment.mark)
        self.drops.wired(made, moment.at_ns)
        for net, serving in moment.stale.items():
            tables.forget(self.mirror.spaces[net], partial(stale, serving))
        for net, ports in mapped.items():
            if ports:
                tables.forget(self.mirror.spaces[net], partial(_towards, ports))
        self.programs.start(moment.programs)
        for unset in self.mirror.unset.values():
            # the first namespace's own variables are the cluster's business only where a scenario sets them
            self.report.leave_out(str(unset), unset.matters)

    def change(self, name: str, moments: Sequence[Moment]) -> None:
        """The emulated cluster has changed in these moments: do the same at the same times on the kernel's side, and, if the
        change has a `name`, compare frames and tables. Interfaces that came are compared from then on: the emulator's plugins and the tools here take
        different steps to make them."""
        for moment in moments:
            self.loop.run_until(max(self.loop.now, moment.at_ns - self.offset_ns))
            self._apply(moment)
        if name:
            with self.together():
                self.loop.catch_up()
            self._judge_change(name)

    def _judge_change(self, name: str) -> None:
        done = FlowReport(name)
        self._frames(done)
        self.ruled.update(net for net, picture in self.mirror.pictures.items() if picture.iptables)
        self._tables_and_counters(done)
        done.differences += self._rules()
        for net, space in self.mirror.spaces.items():
            done.differences += self._built(net, space)
        if done.differences or done.frames:
            self.report.flows.append(done)

    def _frames(self, done: FlowReport) -> tuple[list[Sight], list[Sight]]:
        """Compare the frames until now. Where they differ, more time passes on both sides before that is a difference: the
        kernel's timers are late, so that what one timer sends may be just before the end on one side, and after it on the
        other."""
        kernel, emu = self.sights.both()
        done.differences += compare.frames(kernel, emu, self._apart)
        if done.differences:
            self._linger()
            later, too = self.sights.both()
            kernel, emu = [*kernel, *later], [*emu, *too]
            done.differences = compare.frames(kernel, emu, self._apart)
        done.frames, done.probes = len(kernel), compare.probes(kernel)
        return kernel, emu

    def _built(self, net: Netns, space: Space) -> Iterator[Difference]:
        """The devices, addresses and sysctls of a namespace, as the kernel has them, beside the emulator's."""
        kernel, emu = sysctls.differences(space, net, self.mirror.apart(space))
        theirs, ours = tables.kernel_setup(space), tables.emulated_setup(net)
        if self.mirror.wired is not None:
            for what, (one, other) in self.mirror.wired.besides(net, space).items():
                theirs[what], ours[what] = one, other
        yield from compare.tables(
            space.name, {**theirs, "sysctls": kernel}, {**ours, "sysctls": emu}, lambda one, other: False
        )

    def _linger(self) -> None:
        """Let so much time pass on both sides that what was about to happen has happened."""
        with self.together():
            self.loop.catch_up()
            self.loop.run_until(self.loop.now + LINGER_NS)

    def _rules(self) -> Iterator[Difference]:
        """The rules of the namespaces where they have changed. Counting begins anew there."""
        changed = [each for each in self.ruled if each in self.mirror.spaces]
        for net in changed:
            kernel, emu = (
                tables.rules(self.mirror.spaces[net].run("iptables-save")),
                tables.rules(net.ipv4.tables.save()),
            )
            if self.mirror.wired is not None:
                kernel, emu = self.mirror.wired.rules(kernel), self.mirror.wired.rules(emu)
            difference = compare.sequences("rules", net.name, kernel, emu)
            if difference is not None:
                yield difference
        if changed:
            self._count_anew(changed)
        self.ruled.clear()

    def _count_anew(self, nets: Sequence[Netns]) -> None:
        """Read the counters of both sides at one time: none changes on one side only until they are read again."""
        for _ in range(TRIES):
            before = {net: self._counters(net) for net in nets}
            with self.together():
                self.loop.catch_up()
                self.loop.run_until(self.loop.now + QUIET_NS)
            after = {net: self._counters(net) for net in nets}
            self.counters.update(after)
            self.rulesets.update((net, net.ipv4.tables.ruleset) for net in nets)
            grown = (
                [tables.counted(one, other) for one, other in zip(before[net], after[net], strict=True)] for net in nets
            )
            if all(kernel == emu for kernel, emu in grown):
                return

    def _counters(self, net: Netns) -> tuple[tables.Counters, tables.Counters]:
        """Each rule's counters, the kernel's and the emulator's."""
        kernel = tables.counters(self.mirror.spaces[net].run("iptables-save", "-c"))
        return kernel, tables.counters(net.ipv4.tables.save(counters=True))

    def close(self) -> None:
        for net in self.nets.values():
            net.close()
        for trace in self.traces.values():
            trace.close()
        if self.ports is not None:
            self.ports.close()
        self.sights.close()
        self.drops.close()
        self.loop.close()
        self.mirror.close()

    def _look(self) -> None:
        self.sights.take()
        self.drops.take()

    # -- time and frames ------------------------------------------------------------------------

    def _match_ticks(self) -> None:
        """Set the difference between the two clocks: the emulator's ticks and slots of the timer wheel end when the kernel's
        do, and its time is not set back."""
        period_ns, phase_ns = PERIOD_TICKS * TICK_NS, self.loop.phase()
        behind_ns = self.cluster.clock.now - self.loop.now - phase_ns
        self.offset_ns = phase_ns + -(-behind_ns // period_ns) * period_ns

    def _align(self) -> None:
        """Let time pass on the side that is behind."""
        clock, loop = self.cluster.clock, self.loop
        loop.run_until(max(loop.now, clock.now - self.offset_ns))
        clock.run_until(max(clock.now, loop.now + self.offset_ns))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run the block on the kernel's side, which changes at the moments when the control loops are going to change the
        cluster. After it, both sides are at one time, and as the emulated cluster is by then. Raises Undecided."""
        foreseen = self.cluster.foreseen()
        timers = [self.loop.call_at(moment.at_ns - self.offset_ns, partial(self._apply, moment)) for moment in foreseen]
        try:
            yield
            self.loop.catch_up()
            self._align()
        finally:
            for timer in timers:
                timer.cancel()
        moment = self.watch.look()
        if moment is not None:  # nothing is left to do if it was all foreseen
            self._apply(moment._replace(stale={}) if foreseen else moment)

    def prepare(self) -> None:
        """Before a flow or a change: bring both sides to one time. Raises Undecided."""
        with self.together():
            self.loop.catch_up()
        for net, space in self.mirror.spaces.items():
            draws.reachable(self.cluster.clock, net, tables.reachable_ms(space))

    # -- flows ----------------------------------------------------------------------------------

    def flow(
        self,
        made: Flow,
        real: Callable[[Flow], object],
        emulated: Callable[[], Flow],
        *,
        answered: bool = True,
    ) -> Flow:
        """Run the flow `made` on both sides, by `real` and `emulated`. Without `answered` the client's socket cannot see the
        outcome, and it is not compared. Raises Undecided."""
        net = next((net for each, net in self.nets.items() if each is made.client), None)
        if net is None:
            raise Undecided(f"{made.source} is gone, and a connection of it goes on")
        for each in self.nets.values():
            each.sockets.opened.clear()
        self.loop.take_drawn()
        self._forget_draws()
        theirs = Flow(self.testbed, made.number, made.kind, "", made.source, made.target, net)
        theirs.before = self.real[made.before.number] if made.before is not None else None
        self.real[made.number] = theirs
        with self.together():
            self.loop.catch_up()
            self.cluster.clock.run_until(self.loop.now + self.offset_ns)
            with urgent():
                self._start()
                real(theirs)
                self._let_proxies_answer()
            late_ns, end_ns = self.loop.take_late(), self.loop.now + self.offset_ns
            self._learn()
            result = emulated()
        self._judge(result, theirs if answered else None, late_ns, end_ns)
        for socket in net.sockets.opened:
            if isinstance(socket, RealTcp) and socket.state == "CLOSE":
                socket.release()
        return result

    def _start(self) -> None:
        """Bring both sides to one time, right after a tick: what the programs do at once is then done before the next one, where
        a program that is a little late would meet the timers."""
        clock = self.cluster.clock
        for _ in range(TRIES):  # the emulator takes a while to come to the kernel's time
            self.loop.catch_up()
            tick_ns = -(-(self.loop.now + self.offset_ns) // TICK_NS) * TICK_NS
            clock.run_until(tick_ns)
            self.loop.run_until(tick_ns - self.offset_ns + AFTER_TICK_NS)
            clock.run_until(tick_ns + AFTER_TICK_NS)
            if self.loop.behind() < TICK_NS // 4:
                break
        self.loop.take_late()

    def _judge(self, result: Flow, theirs: Flow | None, late_ns: int, end_ns: int) -> None:
        """Compare all of a flow. Times are judged while the flow ran, until `end_ns`: then the kernel's side had to wait for the
        emulator, and acted late."""
        done = FlowReport(result.name)
        self.report.flows.append(done)
        kernel, emu = self._frames(done)
        done.late_ns = late_ns
        if not done.differences and late_ns <= times.BUSY_NS and self.ports is None:
            done.differences += times.differences(kernel, emu, late_ns, end_ns)
            done.times = times.judged(emu, end_ns)
        if theirs is not None:
            difference = compare.sequences("result", theirs.client.name, shown(theirs), shown(result))
            done.differences += [difference] if difference is not None else []
        self._tables_and_counters(done)
        done.differences += self._rules()

    def _tables_and_counters(self, done: FlowReport) -> None:
        """Compare what is left, and what was dropped. A timer may change it on one side a little earlier: what differs is read
        again later."""
        # rules that were written meanwhile, perhaps as they were before, count from then on
        self.ruled.update(net for net in self.counters if net.ipv4.tables.ruleset is not self.rulesets[net])
        for last in (False, False, True):
            found = [*self._tables(), *self.drops.differences(), *self._counted()]
            if last or not found:
                self.drops.drop()
                done.differences += found
                odd = {each.where for each in found if each.what == "counters"}
                self.ruled.update(net for net in self.counters if net.name in odd)  # and counting begins anew
                return
            self._linger()

    def _trace(self, net: Netns) -> None:
        """Read what the kernel reports of a namespace, while the rules that it reports of are in force."""
        trace = self.traces[net]
        trace.settle()
        rules = _parsed(self.mirror.pictures[net].iptables)
        self.drawn.setdefault(net, []).extend(draws.statistic(rules, trace.walked))
        trace.walked.clear()

    def _forget_draws(self) -> None:
        for net, trace in self.traces.items():
            self._trace(net)
            trace.opened.clear()
        self.drawn.clear()

    def _let_proxies_answer(self) -> None:
        """A reply of a proxy waits for a time that is drawn. The flow is over when it has come, or cannot come any more."""
        until_ns = self.loop.now + PROXY_NS
        while self._learn_from_frames() and self.loop.now < until_ns:
            self.loop.run_until(min(self.loop.now + QUIET_NS, until_ns))

    def _learn_from_frames(self) -> int:
        """The draws that frames show; gives how many requests wait for a proxy's reply."""
        self.sights.take()
        return draws.from_frames(self.cluster.clock, self.mirror.spaces, self.sights.seen)

    def _learn(self) -> None:
        """Give the emulator the draws of the kernel and of the programs on its side."""
        clock = self.cluster.clock
        for purpose, values in self.loop.take_drawn().items():
            clock.script(purpose, Values(values))
        for each, net in self.nets.items():
            for protocol, kind in (("tcp", RealTcp), ("udp", RealUdp)):
                ports = [one.port for one in net.sockets.opened if isinstance(one, kind) and one.ephemeral]
                draws.ports(clock, each, protocol, ports)
        for each, trace in self.traces.items():
            self._trace(each)
            each.random("statistic").script = Values(self.drawn.pop(each))
            each.random("nat").script = Values(draws.nat(trace.opened))

    def _counted(self) -> Iterator[Difference]:
        for net in [each for each in self.counters if each not in self.ruled and each in self.mirror.spaces]:
            pairs = zip(self.counters[net], self._counters(net), strict=True)
            theirs, ours = (tables.counter_lines(tables.counted(old, now)) for old, now in pairs)
            difference = compare.sequences("counters", net.name, theirs, ours)
            if difference is not None:
                yield difference

    def _tables(self) -> Iterator[Difference]:
        for net, space in self.mirror.spaces.items():
            kernel, emu, old = tables.kernel_tables(space, net), tables.emulated_tables(net), tables.aged(net)

            def alike(one: str, other: str, old: set[str] = old) -> bool:
                return tables.seconds_alike(one, other) or tables.ageing_alike(one, other, old)

            yield from compare.tables(space.name, kernel, emu, alike)


@lru_cache(maxsize=32)  # each flow asks for the same rules of each node
def _parsed(saved: str) -> RuleSet:
    return parse_restore(saved)


def _towards(ports: Collection[int], entries: Iterable[tables.Entry]) -> Iterator[tables.Entry]:
    return (entry for entry in entries if entry.orig[4] in ports)
