"""The node agents of a cluster in virtual time: when a change reaches each, and when it runs on which node.

A change reaches an agent after the watch delay; the agent then runs on each node at once, or its minimum period after
its last run there. Source of the periods: pkg/proxy/runner of Kubernetes. Must not know what an agent does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from emu.clock import SECOND, Clock
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api import core
from emu.kube.api.meta import Key, Object
from emu.kube.store import Event, Store

O = TypeVar("O", bound=Object)
LONG_AGO_NS = -3600 * SECOND * 24


class News:
    """A watch of one reader: `react` runs `delay_ns` after the first change that it has not seen."""

    def __init__(self, clock: Clock, delay_ns: int, pending: set[Any], react: Callable[[], None]) -> None:
        self._clock, self._delay_ns, self._pending, self._react = clock, delay_ns, pending, react

    def changed(self, *_: object) -> None:
        """A watched object has changed."""
        if self not in self._pending:
            self._pending.add(self)
            self._clock.call_later(self._delay_ns, self._arrive)

    def _arrive(self) -> None:
        self._pending.discard(self)
        self._react()


class Followed(Generic[O]):
    """What happened to the objects of a kind since the last `take`: of one that changes twice there is one change."""

    def __init__(self) -> None:
        self._changes: list[tuple[O | None, O | None]] = []
        self._last: dict[Key, int] = {}  # where the last change of an object stands

    def changed(self, event: Event, obj: Any, old: Any) -> None:
        new = None if event == "DELETED" else obj
        at = self._last.get(obj.key)
        if at is None or self._changes[at][1] is None:  # what comes again comes behind all
            self._last[obj.key] = len(self._changes)
            self._changes.append((old, new))
        else:
            self._changes[at] = self._changes[at][0], new

    def take(self) -> list[tuple[O | None, O | None]]:
        taken, self._changes, self._last = self._changes, [], {}
        return [(old, new) for old, new in taken if old is not new]


class Rounds:
    """When an agent runs on which of its nodes. Nodes that ran at one moment, and are due at one moment, stay together:
    `run(nodes)` runs the agent on them and returns those where it failed. `pending` holds each moment that is due.

    No list of nodes is ever changed, so that an agent knows by identity one that it has had before."""

    def __init__(
        self,
        clock: Clock,
        agent: Agent[Any, Any, Any],
        nodes: Iterable[Node],
        run: Callable[[Sequence[Node]], Sequence[Node]],
        pending: set[Any],
    ) -> None:
        self._clock, self._agent, self._run, self._pending = clock, agent, run, pending
        self._idle: dict[int, list[Node]] = {LONG_AGO_NS: [*nodes]}  # by the moment of their last run
        self._due: dict[int, list[Node]] = {}  # by the moment of their next one

    def request(self) -> None:
        """Run on every node as soon as the minimum period allows."""
        idle, self._idle = self._idle, {}
        for last_ns, nodes in idle.items():
            self._plan(last_ns + self._agent.min_period_ns, nodes)

    def resync(self) -> None:
        """What happens every resync period: is the work still there on each node, and is a run due anyway?"""
        now, agent, longest_ns = self._clock.now, self._agent, self._agent.max_period_ns
        for nodes in self._due.values():  # their run is due anyway, but how much it does may depend on the answer
            agent.damaged(nodes)
        for last_ns, nodes in [*self._idle.items()]:
            damaged = agent.damaged(nodes)
            if longest_ns and now - last_ns >= longest_ns:
                damaged = {node.name for node in nodes}
            if damaged:
                del self._idle[last_ns]
                wanting, others = _parted(nodes, damaged)
                _join(self._idle, last_ns, others)
                self._plan(last_ns + agent.min_period_ns, wanting)

    def run_all(self) -> None:
        """Run on all nodes that no run is planned for, now."""
        idle, self._idle = self._idle, {}
        for nodes in idle.values():
            self._run_on(nodes)

    def leave(self, names: set[str]) -> None:
        """Run on the nodes of these names no more."""
        for groups in (self._idle, self._due):
            for moment_ns, nodes in [*groups.items()]:
                groups[moment_ns] = [node for node in nodes if node.name not in names]

    def _plan(self, due_ns: int, nodes: list[Node]) -> None:
        due_ns = max(due_ns, self._clock.now)
        if nodes and due_ns not in self._due:
            self._pending.add((self, due_ns))
            self._clock.call_at(due_ns, partial(self._arrive, due_ns))
        _join(self._due, due_ns, nodes)

    def _arrive(self, due_ns: int) -> None:
        self._pending.discard((self, due_ns))
        self._run_on(self._due.pop(due_ns))

    def _run_on(self, nodes: list[Node]) -> None:
        now = self._clock.now
        failed: Sequence[Node] = ()
        try:
            failed = self._run(nodes)
        finally:
            again, done = _parted(nodes, {node.name for node in failed}) if failed else ([], nodes)
            _join(self._idle, now, done)
            self._plan(now + self._agent.resync_period_ns, again)
        self._clock.drain()


def _join(groups: dict[int, list[Node]], moment_ns: int, nodes: list[Node]) -> None:
    if nodes:
        there = groups.get(moment_ns)
        groups[moment_ns] = there + nodes if there else nodes


def _parted(nodes: Iterable[Node], names: set[str]) -> tuple[list[Node], list[Node]]:
    """The nodes of these names, and the others."""
    parts: tuple[list[Node], list[Node]] = [], []
    for node in nodes:
        parts[node.name not in names].append(node)
    return parts


class _Program:
    """One agent on all nodes of a cluster."""

    def __init__(
        self, agent: Agent[Any, Any, Any], clock: Clock, store: Store, nodes: Iterable[Node], pending: set[Any]
    ) -> None:
        self.agent, self.clock, self.store = agent, clock, store
        self.nodes = [*nodes]
        self.rounds = Rounds(clock, agent, self.nodes, self._run, pending)
        self._objects: Objects | None = None  # what the agent knows, until a run makes a view of it
        self._followed: dict[type[Object], Followed[Object]] = {}
        self._changes: dict[type[Object], list[tuple[Object | None, Object | None]]] = {}  # known since the last view
        self._view: Any = None

    def begin(self) -> None:
        """Start the program on every node."""
        for node in self.nodes:
            own = self.store.get(core.Node, "", node.name)
            assert own is not None
            self.store.put(self.agent.start(node, own))

    def start(self, delay_ns: int, pending: set[Any]) -> None:
        """Run on every node at once; then begin to watch."""
        self._read()
        self.rounds.run_all()
        news: dict[int, News] = {}  # by the delay
        for kind in self.agent.watches:
            delay = delay_ns + self.agent.delay_of(kind)
            if delay not in news:
                news[delay] = News(self.clock, delay, pending, self._changed)
            if kind in self.agent.follows:
                self._followed[kind] = Followed()
                self.store.watch(kind, self._followed[kind].changed)
            self.store.watch(kind, news[delay].changed)
        self._resync_later()

    def run(self) -> None:
        """Run on every node now, unless a run is planned."""
        self._read()
        self.rounds.run_all()

    def _read(self) -> None:
        for kind, each in self._followed.items():
            self._changes[kind] = [*self._changes.get(kind, ()), *each.take()]
        known = {} if self._view is None else {kind: self._changes[kind] for kind in self.agent.follows}
        lists = {kind: self.store.list(kind) for kind in self.agent.watches if kind not in known}
        self._objects = Objects(lists, known)

    def leave(self, names: set[str]) -> None:
        """End the program on the nodes of these names: what it did there stays."""
        self.nodes = [node for node in self.nodes if node.name not in names]
        self.rounds.leave(names)

    def _changed(self) -> None:
        self._read()
        self.rounds.request()

    def _run(self, nodes: Sequence[Node]) -> Sequence[Node]:
        if not nodes:
            return ()
        agent = self.agent
        if self._objects is not None:
            self._view, self._objects, self._changes = agent.view(self._objects, self._view), None, {}
        return agent.run(self._view, nodes)

    def _resync_later(self) -> None:
        if self.agent.resync_period_ns:
            self.clock.call_later(self.agent.resync_period_ns, self._resync, background=True)

    def _resync(self) -> None:
        self.rounds.resync()
        self._resync_later()


class Agents(Mapping[str, Agent[Any, Any, Any]]):
    """The agents of a cluster by name. `pending` holds the runs and watches that are due."""

    def __init__(
        self,
        names: Iterable[str],
        settings: Settings,
        clock: Clock,
        store: Store,
        nodes: Iterable[Node],
        pending: set[Any],
    ) -> None:
        """Raises InputError for an unknown agent, and for settings that contradict each other."""
        nodes = [*nodes]
        self._pending = pending
        self._programs = {
            name: _Program(agents[name](settings), clock, store, nodes, pending) for name in dict.fromkeys(names)
        }

    def begin(self) -> None:
        """Start every program, before there are pods. Raises InputError."""
        for program in self._programs.values():
            program.begin()

    def start(self, watch_ns: int) -> None:
        """Run every agent on every node, in no virtual time; afterwards a change reaches each `watch_ns` and the agent's own delay
        later. Raises InputError."""
        for program in self._programs.values():
            program.start(watch_ns, self._pending)

    def run(self) -> None:
        """Run every agent on every node once more, in no virtual time. Raises InputError."""
        for program in self._programs.values():
            program.run()

    def leave(self, names: Iterable[str]) -> None:
        """End every program on the nodes of these names: what they did there stays, and nothing follows the objects any more."""
        for program in self._programs.values():
            program.leave({*names})

    def __getitem__(self, name: str) -> Agent[Any, Any, Any]:
        return self._programs[name].agent

    def __iter__(self) -> Any:
        return iter(self._programs)

    def __len__(self) -> int:
        return len(self._programs)
