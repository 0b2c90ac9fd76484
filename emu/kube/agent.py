"""The interface of a node agent: a program that runs on every node, watches objects, and changes its own node by them.

`compile` is pure: it makes a value from the present objects and the facts of one node. `apply` puts the value in force on
that node and is the only method that changes it. kube-proxy is an agent; flanneld, felix or a policy engine are others.
An agent is found by its name in `agents`. Must not know any agent, or when agents run (`agents.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from emu.kernel.net.netns import Netns
from emu.kube.api.core import Node as NodeObject
from emu.kube.api.meta import Object
from emu.registry import Shelf
from emu.wire.addr import Prefix

O = TypeVar("O", bound=Object)
T = TypeVar("T")
View = TypeVar("View")
Facts = TypeVar("Facts")
Value = TypeVar("Value")


class Node(Protocol):
    """The node that an agent runs on: `ip` is its InternalIP, `net` its root namespace, `disk` what programs keep on it. `root` is the same
    namespace for an agent that finds a pod's port as its wiring leaves it: a node that it alone touches wires no pod."""

    name: str
    ip: int
    pod_cidr: Prefix | None
    disk: dict[Any, Any]

    @property
    def net(self) -> Netns: ...
    @property
    def root(self) -> Netns: ...


class Objects:
    """The objects of some kinds at one time. Of kinds that an agent follows there are at first all, and then the changes
    since its last view."""

    def __init__(
        self,
        by_kind: Mapping[type[Object], Iterable[Object]],
        changes: Mapping[type[Object], Sequence[tuple[Object | None, Object | None]]] | None = None,
    ) -> None:
        self._by_kind = {kind: [*objects] for kind, objects in by_kind.items()}
        self._changes = {} if changes is None else changes

    def changes(self, kind: type[O]) -> Sequence[tuple[O | None, O | None]] | None:
        """What happened to the objects of a kind since the last view, one change after another: each before (None: it is new)
        and after (None: it is gone). None: look at all of them."""
        found: Any = self._changes
        changes: Sequence[tuple[O | None, O | None]] | None = found.get(kind)
        return changes

    def list(self, kind: type[O]) -> list[O]:
        """The objects of a kind that the agent watches, in the order of creation. Raises KeyError for another kind."""
        found: list[Any] = self._by_kind[kind]
        return found


class Settings(NamedTuple):
    """The part of a cluster's configuration that agents read: one value for each type of configuration. `pods_outside`: pods
    have addresses of the underlay, and none of the pod subnet."""

    pod_subnet: Prefix
    parts: tuple[object, ...] = ()
    pods_outside: bool = False

    def of(self, kind: type[T]) -> T:
        """The value of type `kind`, or a new one with its defaults."""
        return next((part for part in self.parts if isinstance(part, kind)), None) or kind()


class Agent(ABC, Generic[View, Facts, Value]):
    """One program for all nodes of a cluster: one object of the class, so that nodes share what they have in common.

    `watches` are the kinds that it watches, `follows` those of which it wants the changes after its first view. `delay_ns` is the time in which it collects further changes, from the first that
    its watch brings. `min_period_ns` is the least time between two runs on a node;
    `resync_period_ns` (0: never) the time between checks of `intact`; `max_period_ns` (0: none) the most time without a run.
    """

    watches: ClassVar[tuple[type[Object], ...]] = ()
    follows: ClassVar[tuple[type[Object], ...]] = ()
    delay_ns: int = 0
    min_period_ns: int = 0
    resync_period_ns: int = 0
    max_period_ns: int = 0

    def __init__(self, settings: Settings) -> None:
        """Raises InputError when the agent's own settings contradict each other."""
        self.settings = settings

    def start(self, node: Node, own: NodeObject) -> NodeObject:
        """The program starts on a node, before there are pods and before it has read any object: it may change the node, and
        gives the node's object as it leaves that in the API. Idempotent. Raises InputError when it cannot run."""
        return own

    def delay_of(self, kind: type[Object]) -> int:
        """The time in which it collects changes of one kind, ns."""
        return self.delay_ns

    @abstractmethod
    def view(self, objects: Objects, before: View | None) -> View:
        """The agent's view of the objects, made once for all nodes. Pure. `before` is the last view, whose unchanged parts
        may be used again. Raises InputError."""

    @abstractmethod
    def facts(self, node: Node) -> Facts:
        """The facts that the agent reads on the node itself. Changes nothing."""

    @abstractmethod
    def compile(self, view: View, facts: Facts) -> Value:
        """The value that is to be in force on a node. Pure. Raises InputError."""

    @abstractmethod
    def apply(self, node: Node, value: Value) -> bool:
        """Put `value` in force on a node. Idempotent. False: it failed; the agent tries again after the resync period."""

    def run(self, view: View, nodes: Sequence[Node]) -> Sequence[Node]:
        """Compile and apply on each of `nodes`, which run at one moment; those where it failed. An agent whose nodes have
        much in common does that once for all of them."""
        return [node for node in nodes if not self.apply(node, self.compile(view, self.facts(node)))]

    def intact(self, node: Node) -> bool:
        """Is the applied value still in force? False: the agent runs again."""
        return True

    def damaged(self, nodes: Sequence[Node]) -> set[str]:
        """The names of the nodes where it is not."""
        return {node.name for node in nodes if not self.intact(node)}


agents: Shelf[Callable[[Settings], Agent[Any, Any, Any]]] = Shelf(
    "node agent", "emu.kube.proxy", "emu.kube.policy", "emu.kube.networks"
)
