"""What a node agent is: a program that runs on every node, follows objects, and changes its own node by them.

`compile` is pure: the objects known now and the facts of one node in, a value out. `apply` puts the value in force on
that node and is the only part that changes it. kube-proxy is an agent; flanneld, felix or a policy engine are others.
An agent is found by its name in `agents`. Must not know any agent, or when agents run (`agents.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from emu.kernel.net.netns import Netns
from emu.kube.api.meta import Object
from emu.registry import Shelf
from emu.wire.addr import Prefix

O = TypeVar("O", bound=Object)
T = TypeVar("T")
View = TypeVar("View")
Facts = TypeVar("Facts")
Value = TypeVar("Value")


class Node(Protocol):
    """What an agent sees of the node that it runs on: `ip` is its InternalIP, `net` its root namespace."""

    name: str
    ip: int
    pod_cidr: Prefix | None
    net: Netns


class Objects:
    """The objects of some kinds as they were at one moment."""

    def __init__(self, by_kind: Mapping[type[Object], Iterable[Object]]) -> None:
        self._by_kind = {kind: [*objects] for kind, objects in by_kind.items()}

    def list(self, kind: type[O]) -> list[O]:
        """The objects of a kind that the agent watches, in the order of their birth. Raises KeyError for another."""
        found: list[Any] = self._by_kind[kind]
        return found


@dataclass(frozen=True, slots=True)
class Settings:
    """What a cluster is configured with, as far as agents read it: one value for each type of configuration."""

    pod_subnet: Prefix
    parts: tuple[object, ...] = ()

    def of(self, kind: type[T]) -> T:
        """The value of type `kind`, or a new one with its defaults."""
        return next((part for part in self.parts if isinstance(part, kind)), None) or kind()


class Agent(ABC, Generic[View, Facts, Value]):
    """One program for all nodes of a cluster: one object of the class, so that nodes share what they have in common.

    `watches`: the kinds it follows. `min_period_ns` lies between two runs on a node; `resync_period_ns` (0: never) is
    how often it asks whether its work is `intact`; `max_period_ns` (0: none) after the last run it runs anyway.
    """

    watches: ClassVar[tuple[type[Object], ...]] = ()
    min_period_ns: int = 0
    resync_period_ns: int = 0
    max_period_ns: int = 0

    def __init__(self, settings: Settings) -> None:
        """Raises InputError when the agent's own settings do not fit together."""
        self.settings = settings

    def start(self, node: Node) -> None:  # most agents do nothing when they start
        """What the program does to a node before it has read any object."""

    @abstractmethod
    def view(self, objects: Objects, before: View | None) -> View:
        """What the agent takes from the objects, made once for all nodes. Pure. `before` is the last view, whose parts
        that did not change may be used again. Raises InputError."""

    @abstractmethod
    def facts(self, node: Node) -> Facts:
        """What the agent reads on the node itself. Changes nothing."""

    @abstractmethod
    def compile(self, view: View, facts: Facts) -> Value:
        """What is to be in force on a node. Pure. Raises InputError."""

    @abstractmethod
    def apply(self, node: Node, value: Value) -> bool:
        """Put `value` in force on a node. Idempotent. False: it failed, and is tried again after the resync period."""

    def run(self, view: View, nodes: Sequence[Node]) -> Sequence[Node]:
        """Compile and apply on each of `nodes`, which run at one moment; those where it failed. An agent whose nodes have
        much in common does that once for all of them."""
        return [node for node in nodes if not self.apply(node, self.compile(view, self.facts(node)))]

    def intact(self, node: Node) -> bool:
        """Whether what was applied is still there. False: the agent runs again."""
        return True


agents: Shelf[Callable[[Settings], Agent[Any, Any, Any]]] = Shelf("node agent", "emu.kube.proxy", "emu.kube.networks")
