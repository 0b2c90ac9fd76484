"""host-gw, a node agent: a route to the pod CIDR of every other node on the same link, by that node's address.

flannel's host-gw backend and kindnet do so. A node on another link is left to the underlay's router. Must not know
which networks bring it.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from typing import NamedTuple

from emu.kernel import boot
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api.core import Node as NodeObject
from emu.kube.networks.within import Within
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
    """To the pod CIDR of each of `peers` on the `link`, by its address: what a node that routes nothing does not need."""

    peers: tuple[Peer, ...]
    link: Link

    @property
    def via(self) -> dict[Prefix, int]:
        """The gateway of each pod CIDR."""
        subnet = self.link.subnet
        first, end = (bisect_left(self.peers, addr, key=_ip) for addr in (subnet.net, subnet.broadcast))
        return {peer.pod_cidr: peer.ip for peer in self.peers[first:end] if peer.name != self.link.node}


@agents.add(NAME)
class HostGw(Agent[tuple[Peer, ...], Link, Routes]):
    watches = (NodeObject,)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._within = Within()
        self._wanted: dict[str, Routes] = {}  # by node
        self._there: dict[str, dict[Prefix, int]] = {}

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
        return Routes(view, facts)

    def apply(self, node: Node, value: Routes) -> bool:
        before = self._wanted.get(node.name)
        if before is None or value.peers is not before.peers or value.link != before.link:
            self._wanted[node.name] = value
            self._there.setdefault(node.name, {})
            within = self._within.of(value.peers, (each.pod_cidr for each in value.peers))
            node.root.put_off(within, partial(self._sync, node, value))
        return True

    def _sync(self, node: Node, value: Routes) -> None:
        before, via = self._there[node.name], value.via
        for prefix, gateway in before.items():
            if via.get(prefix) != gateway:
                _remove(node, prefix)
        for prefix, gateway in via.items():
            if before.get(prefix) != gateway:
                _remove(node, prefix)
                if any(not each.metric for each in node.root.ipv4.fib.main.of(prefix)):
                    continue  # a LAN of the node is the peer's pod CIDR: the kernel has the route (EEXIST)
                boot.route(node.root, f"{prefix} via {ip4_text(gateway)} dev {value.link.device}")
        self._there[node.name] = via


def _remove(node: Node, prefix: Prefix) -> None:
    """`ip route del`, if there is such a route without a metric; the routes of the node's own addresses stay."""
    for route in [each for each in node.root.ipv4.fib.main.of(prefix) if not each.metric and each.proto != "kernel"]:
        node.root.ipv4.fib.remove(route)


def _ip(peer: Peer) -> int:
    return peer.ip
