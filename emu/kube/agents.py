"""The node agents of a cluster in virtual time: when a change reaches each, and when it runs on which node.

A change reaches an agent after the watch delay; the agent then runs on each node at once, or its minimum period after
its last run there. Source of the periods: pkg/proxy/runner of Kubernetes. Must not know what an agent does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from emu.clock import SECOND, Clock
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.store import Store

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


class Slots:
    """Calls in virtual time, one timer for all calls that are due at one time: most nodes of a cluster run together."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._calls: dict[int, list[Callable[[], None]]] = {}

    def call_at(self, due_ns: int, call: Callable[[], None]) -> None:
        """Call `call()` at `due_ns` (now, if that is past), after the calls that were planned for that time before."""
        if due_ns < self.clock.now:
            due_ns = self.clock.now
        calls = self._calls.get(due_ns)
        if calls is None:
            calls = self._calls[due_ns] = []
            self.clock.call_at(due_ns, partial(self._run, due_ns))
        calls.append(call)

    def _run(self, due_ns: int) -> None:
        drain = self.clock.drain
        for call in self._calls.pop(due_ns):
            call()
            drain()


class Runner:
    """When an agent runs on one node. `run()` returns False when it failed; `pending` holds the runner while a run is due."""

    def __init__(self, slots: Slots, agent: Agent[Any, Any, Any], run: Callable[[], bool], pending: set[Any]) -> None:
        self._slots, self._clock, self._agent = slots, slots.clock, agent
        self._run, self._pending = run, pending
        self._last_ns = LONG_AGO_NS

    def request(self) -> None:
        """Run as soon as the minimum period allows."""
        self._plan(self._last_ns + self._agent.min_period_ns)

    def resync(self, node: Node) -> None:
        """The check of every resync period: run if what was applied is gone, or if the longest pause is over."""
        longest_ns = self._agent.max_period_ns
        if not self._agent.intact(node) or (longest_ns and self._clock.now - self._last_ns >= longest_ns):
            self.request()

    def run(self) -> None:
        """Run now."""
        self._pending.discard(self)
        self._last_ns = self._clock.now
        if not self._run():
            self._plan(self._last_ns + self._agent.resync_period_ns)

    def _plan(self, due_ns: int) -> None:
        if self not in self._pending:
            self._pending.add(self)
            self._slots.call_at(due_ns, self.run)


class _Program:
    """One agent on all nodes of a cluster."""

    def __init__(
        self, agent: Agent[Any, Any, Any], clock: Clock, store: Store, nodes: Iterable[Node], pending: set[Any]
    ) -> None:
        self.agent, self.clock, self.store = agent, clock, store
        self.nodes = [*nodes]
        slots = Slots(clock)
        self.runners = [Runner(slots, agent, partial(self._run, node), pending) for node in self.nodes]
        self._objects: Objects | None = None  # the objects that the agent watches, until a run makes a view of them
        self._view: Any = None

    def start(self, delay_ns: int, pending: set[Any]) -> None:
        """Run on every node at once; then begin to watch."""
        self._read()
        for node, runner in zip(self.nodes, self.runners, strict=True):
            self.agent.start(node)
            runner.run()
        news = News(self.clock, delay_ns, pending, self._changed)
        for kind in self.agent.watches:
            self.store.watch(kind, news.changed)
        self._resync_later()

    def _read(self) -> None:
        self._objects = Objects({kind: self.store.list(kind) for kind in self.agent.watches})

    def _changed(self) -> None:
        self._read()
        for runner in self.runners:
            runner.request()

    def _run(self, node: Node) -> bool:
        agent = self.agent
        if self._objects is not None:
            self._view, self._objects = agent.view(self._objects, self._view), None
        return agent.apply(node, agent.compile(self._view, agent.facts(node)))

    def _resync_later(self) -> None:
        if self.agent.resync_period_ns:
            self.clock.call_later(self.agent.resync_period_ns, self._resync, background=True)

    def _resync(self) -> None:
        for node, runner in zip(self.nodes, self.runners, strict=True):
            runner.resync(node)
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

    def start(self, watch_ns: int) -> None:
        """Run every agent on every node, in no virtual time; afterwards each sees a change `watch_ns` later. Raises InputError."""
        for program in self._programs.values():
            program.start(watch_ns, self._pending)

    def __getitem__(self, name: str) -> Agent[Any, Any, Any]:
        return self._programs[name].agent

    def __iter__(self) -> Any:
        return iter(self._programs)

    def __len__(self) -> int:
        return len(self._programs)
