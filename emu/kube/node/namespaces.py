"""The namespaces of a cluster by name, some of which are made when someone asks for them. Must not know how.

To a capture these are the absent ones: as far as it goes, they have been there.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from emu.kernel.net.netns import Netns
from emu.kube.node.node import Node, Sandbox


class Namespaces(MutableMapping[str, Netns]):
    """Namespaces by name, or who has them: a node or a pod, whose network may be put off until it is asked for its namespace."""

    def __init__(self) -> None:
        self._holders: dict[str, Netns | Node | Sandbox] = {}

    def hold(self, name: str, holder: Node | Sandbox) -> None:
        """The namespace of that name is the one that a node or pod has."""
        self._holders[name] = holder

    def unwired(self) -> Iterator[str]:
        """The names, without the Kubernetes namespace, of the pods that have none yet."""
        for holder in self._holders.values():
            if isinstance(holder, Sandbox) and holder.wired is None:
                yield holder.pod

    def complete(self) -> None:
        """Make all of them."""
        for holder in [*self._holders.values()]:
            if isinstance(holder, Node):
                holder.wake()

    def __getitem__(self, name: str) -> Netns:
        holder = self._holders[name]
        return holder if isinstance(holder, Netns) else holder.net

    def __setitem__(self, name: str, net: Netns) -> None:
        self._holders[name] = net

    def __delitem__(self, name: str) -> None:
        del self._holders[name]

    def __contains__(self, name: object) -> bool:
        return name in self._holders

    def __iter__(self) -> Iterator[str]:
        return iter(self._holders)

    def __len__(self) -> int:
        return len(self._holders)
