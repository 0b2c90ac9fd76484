"""What a proxy mode is: one way in which kube-proxy turns Services into rules of the kernel. One folder a mode.

`compile` is pure; `apply` puts rules in force in one namespace. A mode is found by the word of `mode` in
KubeProxyConfiguration. Must not know when kube-proxy syncs, or which mode a cluster has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from emu.kernel.net.netns import Netns
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.services import Snapshot
from emu.registry import Shelf

Rules = TypeVar("Rules")


class Mode(ABC, Generic[Rules]):
    """One object for all nodes of a cluster, so that nodes that agree share their rules."""

    @abstractmethod
    def compile(self, snapshot: Snapshot, config: ProxyConfig) -> Rules:
        """The rules of one node. Pure. Raises InputError."""

    def alike(self, snapshot: Snapshot) -> bool:
        """Whether a node's name and zone make no difference: nodes that had the same rules have the same again."""
        return False

    @abstractmethod
    def apply(self, nets: Sequence[Netns], before: Any, rules: Rules, *, full: bool, keep_stale: bool) -> Sequence[Any]:
        """Put rules in force in namespaces where the last `apply` left `before` (None: there was none): all of them
        (`full`), or what changed since. With `keep_stale` chains that are no longer in use may stay. What it left in each
        namespace, one object where that is the same; None: it failed there, and nothing changed."""

    @abstractmethod
    def intact(self, net: Netns) -> bool:
        """Whether the rules were not flushed by another program."""

    def all_intact(self, nets: Sequence[Netns]) -> bool:
        """Whether that is so in each of these namespaces. A mode whose nodes share their rules looks once for all of them."""
        return all(map(self.intact, nets))


modes: Shelf[Callable[[], Mode[Any]]] = Shelf("proxy mode", "emu.kube.proxy", file="mode", named=True)
