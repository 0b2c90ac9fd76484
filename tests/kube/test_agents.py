"""When node agents run: after the watch delay, no sooner than their minimum period, again after a failure or damage."""

from __future__ import annotations

import pytest

from emu.clock import MS, SECOND, Clock
from emu.errors import InputError
from emu.kube.agent import Agent, Node, Objects, Settings
from emu.kube.agents import Agents
from emu.kube.api.core import Namespace
from emu.kube.api.core import Node as NodeObject
from emu.kube.api.meta import ObjectMeta
from emu.kube.node.node import Node as RealNode
from emu.kube.store import Store
from emu.kube.underlay.shape import Machine
from emu.registry import Shelf
from emu.wire.addr import Prefix

SETTINGS = Settings(Prefix.parse("10.244.0.0/16"))


class Recorder(Agent[tuple[str, ...], str, tuple[str, ...]]):
    """Counts Namespaces, and notes when it ran on which node."""

    watches = (Namespace,)
    min_period_ns = SECOND
    resync_period_ns = 30 * SECOND
    max_period_ns = 100 * SECOND

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.runs: list[tuple[int, str, int]] = []
        self.views = 0
        self.works = self.whole = True
        self.fails_on: set[str] = set()  # only there
        self.refuses = False

    def view(self, objects: Objects, before: tuple[str, ...] | None) -> tuple[str, ...]:
        self.views += 1
        with pytest.raises(KeyError):
            objects.list(NodeObject)  # not watched: not known
        return tuple(each.name for each in objects.list(Namespace))

    def facts(self, node: Node) -> str:
        return node.name

    def compile(self, view: tuple[str, ...], facts: str) -> tuple[str, ...]:
        if self.refuses:
            raise InputError("these objects cannot be")
        return (facts, *view)

    def apply(self, node: Node, value: tuple[str, ...]) -> bool:
        assert value[0] == node.name
        self.runs.append((node.net.clock.now, node.name, len(value) - 1))
        return self.works and node.name not in self.fails_on

    def intact(self, node: Node) -> bool:
        return self.whole


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.nodes = [RealNode(self.clock, n, Machine(f"node-{n}", (), n), None, {}) for n in (1, 2)]
        self.clock.run_until(SECOND)
        self.store, self.pending = Store(), set[object]()
        made = Agents(["recorder", "recorder"], SETTINGS, self.clock, self.store, self.nodes, self.pending)
        assert len(made) == 1
        found = made["recorder"]
        assert isinstance(found, Recorder)
        self.agent = found
        made.start(5 * MS)
        self.start_ns = self.clock.now

    def add(self, name: str) -> None:
        self.store.put(Namespace(metadata=ObjectMeta(name=name, namespace="")))

    def runs(self, until_ns: int) -> list[tuple[int, str, int]]:
        """The runs from now on, in ns since the start."""
        done = len(self.agent.runs)
        self.clock.run_until(self.start_ns + until_ns)
        return [(at_ns - self.start_ns, node, count) for at_ns, node, count in self.agent.runs[done:]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    shelf: Shelf[type[Recorder]] = Shelf("node agent")
    shelf.add("recorder")(Recorder)
    monkeypatch.setattr("emu.kube.agents.agents", shelf)
    return World()


class Patient(Recorder):
    delay_ns = 20 * MS


def test_an_agent_collects_changes_for_its_own_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf: Shelf[type[Recorder]] = Shelf("node agent")
    shelf.add("recorder")(Patient)
    monkeypatch.setattr("emu.kube.agents.agents", shelf)
    world = World()
    world.clock.run_until(world.start_ns + 10 * SECOND)
    world.add("one")
    world.clock.run_until(world.clock.now + 15 * MS)
    world.add("two")
    at_ns = 10 * SECOND + 25 * MS
    assert world.runs(at_ns) == [(at_ns, "node-1", 2), (at_ns, "node-2", 2)]


def test_an_agent_starts_at_once_on_every_node(world: World) -> None:
    assert world.agent.runs == [(world.start_ns, "node-1", 0), (world.start_ns, "node-2", 0)]
    assert not world.pending


def test_changes_arrive_after_the_delay_and_together(world: World) -> None:
    world.clock.run_until(world.start_ns + 10 * SECOND)
    for number in range(3):
        world.add(f"n{number}")
        world.clock.run_until(world.clock.now + MS)
    assert world.pending
    at_ns = 10 * SECOND + 5 * MS
    assert world.runs(at_ns) == [(at_ns, "node-1", 3), (at_ns, "node-2", 3)]
    assert world.agent.views == 2 and not world.pending
    world.store.put(NodeObject(metadata=ObjectMeta(name="x", namespace="")))
    assert world.runs(20 * SECOND) == []  # a kind that it does not watch


def test_runs_keep_their_distance(world: World) -> None:
    world.clock.run_until(world.start_ns + 10 * SECOND)
    world.add("a")
    first = 10 * SECOND + 5 * MS
    assert [at for at, node, _ in world.runs(10 * SECOND + 100 * MS) if node == "node-1"] == [first]
    world.add("b")
    world.clock.run_until(world.start_ns + 10 * SECOND + 200 * MS)
    world.add("c")
    assert world.runs(20 * SECOND) == [(first + SECOND, "node-1", 3), (first + SECOND, "node-2", 3)]


def test_a_run_that_failed_is_tried_again_after_the_resync_period(world: World) -> None:
    world.clock.run_until(world.start_ns + 2 * SECOND)
    world.agent.works = False
    world.add("a")
    at_ns = 2 * SECOND + 5 * MS
    assert [at for at, *_ in world.runs(3 * SECOND)] == [at_ns] * 2
    assert world.pending
    world.agent.works = True
    assert [at for at, *_ in world.runs(40 * SECOND)] == [at_ns + 30 * SECOND] * 2
    assert not world.pending


def test_a_node_where_it_failed_goes_its_own_way_until_all_run_together_again(world: World) -> None:
    world.clock.run_until(world.start_ns + 2 * SECOND)
    world.agent.fails_on = {"node-2"}
    world.add("a")
    first, later = 2 * SECOND + 5 * MS, 10 * SECOND + 5 * MS
    assert world.runs(3 * SECOND) == [(first, "node-1", 1), (first, "node-2", 1)]
    world.agent.fails_on = set()
    world.clock.run_until(world.start_ns + 10 * SECOND)
    world.add("b")
    assert world.runs(31 * SECOND) == [(later, "node-1", 2)]
    assert world.runs(40 * SECOND) == [(first + 30 * SECOND, "node-2", 2)]
    world.add("c")
    at_ns = 40 * SECOND + 5 * MS
    assert sorted(world.runs(50 * SECOND)) == [(at_ns, "node-1", 3), (at_ns, "node-2", 3)]
    world.clock.run_until(world.start_ns + 60 * SECOND)
    assert not world.pending


def test_objects_that_are_refused_leave_nothing_pending(world: World) -> None:
    world.clock.run_until(world.start_ns + 2 * SECOND)
    world.agent.refuses = True
    world.add("a")
    with pytest.raises(InputError, match="cannot be"):
        world.runs(3 * SECOND)
    assert not world.pending
    world.agent.refuses = False
    world.clock.run_until(world.start_ns + 4 * SECOND)
    world.add("b")
    at_ns = 4 * SECOND + 5 * MS
    assert world.runs(6 * SECOND) == [(at_ns, "node-1", 2), (at_ns, "node-2", 2)]


def test_what_was_damaged_is_applied_again(world: World) -> None:
    world.agent.whole = False
    assert [at for at, *_ in world.runs(31 * SECOND)] == [30 * SECOND] * 2
    world.agent.whole = True
    assert world.runs(100 * SECOND) == []


def test_an_agent_runs_after_its_longest_period_without_a_change(world: World) -> None:
    assert [at for at, *_ in world.runs(125 * SECOND)] == [120 * SECOND] * 2


def test_an_unknown_agent_is_bad_input() -> None:
    with pytest.raises(InputError, match="no node agent is called 'host-gv'"):
        Agents(["host-gv"], SETTINGS, Clock(), Store(), [], set())
