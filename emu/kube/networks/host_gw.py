"""host-gw, a node agent: a route to the pod CIDR of every other node on the same link, by that node's address.

flannel's host-gw backend and kindnet do so. A node on another link is left to the underlay's router. Must not know
which networks bring it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from emu.kernel import boot
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api.core import Node as NodeObject
from emu.wire.addr import Prefix, ip4, ip4_text

NAME = "host-gw"


class Peer(NamedTuple):
    """A node of the cluster: its InternalIP first, so that peers sort by it."""

    ip: int
    name: str
    pod_cidr: Prefix


class Link(NamedTuple):
    """How a node is attached: the device with its InternalIP, and the subnet of that address."""

    node: str
    device: str
    subnet: Prefix


class Routes(NamedTuple):
    """Pod CIDRs with the gateway of each, all out of `device`."""

    device: str
    via: Mapping[Prefix, int]


@agents.add(NAME)
class HostGw(Agent[tuple[Peer, ...], Link, Routes]):
    watches = (NodeObject,)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._view: tuple[Peer, ...] | None = None
        self._made: dict[Link, Routes] = {}  # of the view
        self._applied: dict[str, Routes] = {}  # by node

    def view(self, objects: Objects, before: tuple[Peer, ...] | None) -> tuple[Peer, ...]:
        found = []
        for node in objects.list(NodeObject):
            ip = next((each.address for each in node.status.addresses if each.type == "InternalIP"), "")
            if ip and node.spec.pod_cidr:
                found.append(Peer(ip4(ip), node.name, Prefix.parse(node.spec.pod_cidr)))
        peers = tuple(sorted(found))
        return before if before == peers else peers

    def facts(self, node: Node) -> Link:
        own = next(each for each in node.root.ipv4.addresses if each.addr == node.ip)
        return Link(node.name, own.device.name, own.prefix)

    def compile(self, view: tuple[Peer, ...], facts: Link) -> Routes:
        if view is not self._view:
            self._view, self._made = view, {}
        made = self._made.get(facts)
        if made is None:
            first, end = (bisect_left(view, addr, key=_ip) for addr in (facts.subnet.net, facts.subnet.broadcast))
            via = {peer.pod_cidr: peer.ip for peer in view[first:end] if peer.name != facts.node}
            made = self._made[facts] = Routes(facts.device, via)
        return made

    def apply(self, node: Node, value: Routes) -> bool:
        before = self._applied.get(node.name)
        if value is not before:
            for prefix, gateway in before.via.items() if before is not None else ():
                if value.via.get(prefix) != gateway:
                    _remove(node, prefix)
            for prefix, gateway in value.via.items():
                if before is None or before.via.get(prefix) != gateway:
                    _remove(node, prefix)
                    if any(not each.metric for each in node.root.ipv4.fib.main.of(prefix)):
                        continue  # a LAN of the node is the peer's pod CIDR: the kernel has the route (EEXIST)
                    boot.route(node.root, f"{prefix} via {ip4_text(gateway)} dev {value.device}")
            self._applied[node.name] = value
        return True


def _remove(node: Node, prefix: Prefix) -> None:
    """`ip route del`, if there is such a route without a metric; the routes of the node's own addresses stay."""
    for route in [each for each in node.root.ipv4.fib.main.of(prefix) if not each.metric and each.proto != "kernel"]:
        node.root.ipv4.fib.remove(route)


def _ip(peer: Peer) -> int:
    return peer.ip
