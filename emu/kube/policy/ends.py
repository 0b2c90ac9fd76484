"""The ends of a packet as policies see them: an address, and the pod, the node or the outside host that has it.

Addresses are those after DNAT and before the node's SNAT. A hostNetwork pod is its node. Must not know policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from emu.fork import itself
from emu.kube.api.core import Pod


class NamedPort(NamedTuple):
    """A port of a container that has a name."""

    name: str
    protocol: str
    number: int


class PodEnd(NamedTuple):
    """A living pod with an address of its own; `own` are the addresses of its node."""

    namespace: str
    name: str
    node: str
    labels: Mapping[str, str]
    namespace_labels: Mapping[str, str]
    ports: tuple[NamedPort, ...]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class NodeEnd(NamedTuple):
    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """One end of a packet: `addr` of `width` bits (32 or 128), and whose it is. Neither pod nor node: a host outside, with the
    domain `names` by which the sender knows it. Compared by identity: one object for each end, as long as nothing of it changes."""

    addr: int
    width: int = 32
    pod: PodEnd | None = None
    node: NodeEnd | None = None
    names: tuple[str, ...] = ()

    __deepcopy__ = itself

    def __str__(self) -> str:
        if self.pod is not None:
            return str(self.pod)
        return self.node.name if self.node is not None else address_text(self.addr, self.width)


def address(text: str) -> tuple[int, int]:
    """An address as (number, bits). Raises ValueError."""
    found = ip_address(text)
    return int(found), found.max_prefixlen


def address_text(addr: int, width: int) -> str:
    return str(ip_address(addr.to_bytes(width // 8, "big")))


def is_peer(pod: Pod) -> bool:
    """Whether selectors may mean the pod: it lives, and has an address of its own."""
    return bool(pod.status.pod_ip) and not pod.finished and not pod.spec.host_network


def pod_end(pod: Pod, namespace_labels: Mapping[str, str]) -> PodEnd:
    ports = tuple(NamedPort(each.name, each.protocol, each.container_port) for each in pod.spec.ports if each.name)
    meta = pod.metadata
    return PodEnd(meta.namespace, meta.name, pod.spec.node_name, meta.labels, namespace_labels, ports)
