"""A scenario run twice: each flow first by the kernel's sockets, then, with the kernel's draws, by the emulator's.

Builds the kernel's side, keeps both sides equal in time, and compares each flow's frames, tables and counters.
Must not know how frames are written or tables read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Protocol

from emu.capture.capture import Capture
from emu.clock import Clock, Values
from emu.kernel.link.bridge import Bridge
from emu.kernel.net.netns import Netns, Tally
from emu.kube.flow.flow import Flow
from emu.twin import compare, draws, programs, sysctls, tables
from emu.twin.compare import Difference
from emu.twin.drops import Drops
from emu.twin.loop import Loop
from emu.twin.mirror import Mirror
from emu.twin.programs import Programs
from emu.twin.report import FlowReport, Report
from emu.twin.sights import Sights
from emu.twin.sockets import RealNet, RealTcp, RealUdp
from emu.twin.space import Space

# A client cannot distinguish a drop from a timeout: the frames and the drop monitor show it
CLASSES = {"dropped": "timeout", "undecided": "timeout"}


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


class RealTestbed:
    """The kernel's side for flows (`emu.kube.flow.testbed.Testbed`). It has no capture, and reports nothing to flows."""

    capture = None
    gone = Tally()

    def __init__(self, clock: Loop) -> None:
        self.clock = clock
        self.namespaces: Mapping[str, Netns] = {}


class Twin:
    """Both sides of one cluster. `report` grows with each flow. `without` names the settings that are left out."""

    def __init__(self, cluster: Emulated, report: Report, without: Collection[str] = ()) -> None:
        assert cluster.capture is not None
        self.cluster, self.report = cluster, report
        self.mirror = Mirror(without)
        self.nets: dict[Netns, RealNet] = {}
        self.real: dict[int, Flow] = {}  # the kernel's side of each flow, by number
        links = [each for net in cluster.namespaces.values() for each in net.devices.values() if each.name != "lo"]
        self.sights = Sights(cluster.capture, max((each.mtu for each in links), default=1500) + 14)
        self.drops = Drops()
        if self.drops.why_not:
            report.leave_out(f"the reasons of drops: this kernel offers no drop monitor ({self.drops.why_not})", False)
        self.loop = Loop(self._look)
        self.testbed = RealTestbed(self.loop)
        self.programs = Programs(cluster, self.nets, report.notes)
        self.offset_ns = 0
        self.counters: dict[Netns, tuple[tables.Counters, tables.Counters]] = {}

    # -- building -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Build the kernel's side; both sides start with empty caches."""
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
        """Apply a change of the emulated cluster to the kernel's side. Its frames are not compared, as the emulator's plugins
        and the tools here take different steps; the resulting tables are."""
        self._sync()
        self._start_over(name)

    def _sync(self) -> None:
        come, gone = self.mirror.sync(self.cluster.namespaces)
        for net in come:
            space = self.mirror.spaces[net]
            self.sights.watch(net, space)
            self.drops.watch(net, space)
            self.nets[net] = RealNet(net, space, self.loop, asks_at_once="so-error" not in self.mirror.without)
        self.programs.sync()
        for net in gone:
            self.nets.pop(net).close()
            self.sights.forget(net)
            self.drops.forget(net)
            self.mirror.remove(net)
        self.sights.learn_roles()
        for unset in self.mirror.unset.values():
            # the first namespace's own variables are the cluster's business only where a scenario sets them
            self.report.leave_out(str(unset), unset.matters)

    def _start_over(self, name: str) -> None:
        """Compare the tables now, and ignore all frames until now."""
        self.loop.catch_up()
        self._align()
        self.sights.drop()
        self.drops.drop()
        done = FlowReport(name)
        done.differences += self._tables()  # first: to read the rest takes time, which ages them
        for net, space in self.mirror.spaces.items():
            text = net.ipv4.tables.save()
            if text or self.mirror.pictures[net].iptables:
                kernel = space.run("iptables-save", "-c")
                self.counters[net] = tables.counters(kernel), tables.counters(net.ipv4.tables.save(counters=True))
                stripped = [line.partition("] ")[2] if line.startswith("[") else line for line in tables.rules(kernel)]
                difference = compare.sequences("rules", space.name, stripped, tables.rules(text))
                done.differences += [difference] if difference is not None else []
            done.differences += self._built(net, space)
        if done.differences:
            self.report.flows.append(done)

    def _built(self, net: Netns, space: Space) -> Iterator[Difference]:
        """The devices, addresses and sysctls of a namespace, as the kernel has them, beside the emulator's."""
        kernel, emu = sysctls.differences(space, net, self.mirror.apart(space))
        theirs, ours = tables.kernel_setup(space), tables.emulated_setup(net)
        yield from compare.tables(
            space.name, {**theirs, "sysctls": kernel}, {**ours, "sysctls": emu}, lambda one, other: False
        )

    def close(self) -> None:
        for net in self.nets.values():
            net.close()
        self.sights.close()
        self.drops.close()
        self.loop.close()
        self.mirror.close()

    def _look(self) -> None:
        self.sights.take()
        self.drops.take()

    # -- time and frames ------------------------------------------------------------------------

    def _align(self) -> None:
        """Let time pass on the side that is behind."""
        clock, loop = self.cluster.clock, self.loop
        if not self.offset_ns:
            self.offset_ns = clock.now - loop.now
        loop.run_until(max(loop.now, clock.now - self.offset_ns))
        clock.run_until(max(clock.now, loop.now + self.offset_ns))

    def prepare(self) -> None:
        """Before a flow: bring both sides to one time, and apply the changes that timers made in the emulated cluster.
        Raises Undecided."""
        self.loop.catch_up()
        self._align()
        if self.mirror.behind(self.cluster.namespaces):
            self.change("changes in the meantime")
        for net, space in self.mirror.spaces.items():
            draws.reachable(self.cluster.clock, net, tables.reachable_ms(space))

    # -- flows ----------------------------------------------------------------------------------

    def flow(
        self, made: Flow, real: Callable[[Flow], object], emulated: Callable[[], Flow], *, answered: bool = True
    ) -> Flow:
        """Run the flow `made` on both sides, by `real` and `emulated`. Without `answered` the client's socket cannot see the
        outcome, and it is not compared."""
        net = next(net for each, net in self.nets.items() if each is made.client)
        for each in self.nets.values():
            each.sockets.opened.clear()
        self.loop.take_drawn()
        theirs = Flow(self.testbed, made.number, made.kind, "", made.source, made.target, net)
        theirs.before = self.real[made.before.number] if made.before is not None else None
        self.real[made.number] = theirs
        connections = {each: self._connections(each) for each in self.counters}
        real(theirs)
        reached = self._learn(connections)
        result = emulated()
        self._align()
        done = FlowReport(result.name)
        self.report.flows.append(done)
        kernel, emu = self.sights.both()
        done.frames = len(kernel)
        done.differences += compare.frames(kernel, emu)
        if answered:
            difference = compare.sequences("result", net.name, _shown(theirs), _shown(result))
            done.differences += [difference] if difference is not None else []
        done.differences += self._tables()
        done.differences += self.drops.differences()
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
        """Give the emulator the draws of the kernel and of the programs on its side; returns the kernel's counters."""
        clock = self.cluster.clock
        for purpose, values in self.loop.take_drawn().items():
            clock.script(purpose, Values(values))
        for each, net in self.nets.items():
            for protocol, kind in (("tcp", RealTcp), ("udp", RealUdp)):
                ports = [one.port for one in net.sockets.opened if isinstance(one, kind) and one.ephemeral]
                draws.ports(clock, each, protocol, ports)
        self.sights.take()
        for each, space in self.mirror.spaces.items():
            draws.proxied(clock, each, [seen for seen in self.sights.seen if seen.space == space.name])
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
            if theirs != ours:  # counters that a timer changed after `_learn` count, as its frames do
                kernel = tables.counters(self.mirror.spaces[net].run("iptables-save", "-c"))
                theirs = tables.counted(old, kernel)
            self.counters[net] = kernel, emu
            difference = compare.sequences("counters", net.name, _counter_lines(theirs), _counter_lines(ours))
            if difference is not None:
                yield difference

    def _tables(self) -> Iterator[Difference]:
        for net, space in self.mirror.spaces.items():
            kernel, emu, old = tables.kernel_tables(space, net), tables.emulated_tables(net), tables.aged(net)

            def alike(one: str, other: str, old: set[str] = old) -> bool:
                return tables.seconds_alike(one, other) or tables.ageing_alike(one, other, old)

            yield from compare.tables(space.name, kernel, emu, alike)


def _shown(flow: Flow) -> list[str]:
    outcome = flow.outcome
    word = CLASSES.get(outcome.word, outcome.word)
    lines = [f"{word} {outcome.detail}" if word in ("error", "rejected") else word]
    if flow.received:
        lines.append(f"received {flow.received!r}")
    if flow.kind == "ping":
        lines.append(f"{len(flow.rtt_ns)} replies")
    return lines


def _counter_lines(counted: tables.Counters) -> list[str]:
    return [f"{table} {chain} rule {number}: {packets} packets, {size} bytes"
            for (table, chain, number), (packets, size) in sorted(counted.items())]  # fmt: skip
