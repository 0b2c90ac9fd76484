"""What a node has because of the others: routes to their blocks, their ends of the tunnel, sets of their addresses. Pure.

What nodes have in common is made once, and each leaves itself out: there are as many routes as nodes on each of them. Must not know
pods, or how anything is put in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from emu.fork import itself
from emu.kube.api.calico import IPPoolSpec
from emu.kube.networks.calico import pool, rules
from emu.kube.networks.calico.dataplane import IpSetMembers, Tunnel, Vtep
from emu.kube.networks.within import Within
from emu.wire.addr import Prefix, ip4_text


class Peer(NamedTuple):
    """A node: its InternalIP, the address of its tunnel (0: none), and the blocks that it has claimed."""

    name: str
    ip: int
    tunnel: int
    blocks: tuple[Prefix, ...]


class Link(NamedTuple):
    """How a node is attached: the device with its InternalIP, its subnet and MTU, and the default gateway (0: none)."""

    node: str
    ip: int
    device: str
    subnet: Prefix
    mtu: int
    gateway: int


class Paths(NamedTuple):
    """What a node is to have, as `dataplane.State` has it. `ways` to the nodes of `peers`."""

    sets: tuple[IpSetMembers, ...]
    tunnel: Tunnel | None
    ways: Ways


class Ways(NamedTuple):
    """The ways from the node of a link to all others (`dataplane.Ways`)."""

    peers: Peers
    link: Link

    @property
    def within(self) -> Prefix:
        return self.peers.within

    def routes(self) -> tuple[str, ...]:
        return self.peers.routes_of(self.link)

    def vteps(self) -> tuple[Vtep, ...]:
        return self.peers.vteps_of(self.link.node)


class _Way(NamedTuple):
    """All that the route to another node depends on, but for that node; `tunnelled`: this one has an end of the tunnel."""

    device: str
    subnet: Prefix
    gateway: int
    tunnelled: bool


class Peers:
    """The nodes and their pool."""

    __slots__ = ("_all", "_by_name", "_known", "_pools", "_routes", "_tunnelled", "kind", "spec", "within")
    __deepcopy__ = itself

    def __init__(self, spec: IPPoolSpec, peers: Iterable[Peer], within: Within) -> None:
        self.spec, self.kind = spec, pool.tunnel(spec)
        self._all = tuple(peers)
        self._by_name = {each.name: each for each in self._all}
        pools = (spec.cidr,)
        self._pools: tuple[IpSetMembers, ...] = (
            IpSetMembers(rules.MASQ_POOLS, pools if spec.nat_outgoing else ()),
            IpSetMembers(rules.ALL_POOLS, pools),
            IpSetMembers(rules.ALL_HOSTS, tuple(ip4_text(each.ip) for each in self._all)),
        )
        self._tunnelled: dict[str, tuple[str, Vtep]] = {}  # the end of the tunnel of each node that has one
        if self.kind == pool.VXLAN:
            self._tunnelled = {each.name: (ip4_text(each.ip), _vtep(each)) for each in self._all if each.tunnel}
        ends = (Prefix(each.tunnel, 32) for each in self._all if each.tunnel)
        self.within = within.of(self, chain((block for each in self._all for block in each.blocks), ends))
        self._routes: dict[_Way, dict[str, tuple[str, ...]]] = {}  # to each node
        self._known: dict[Link, Paths] = {}

    def same(self, spec: IPPoolSpec, peers: Iterable[Peer]) -> bool:
        return self.spec == spec and self._all == tuple(peers)

    def of(self, link: Link) -> Paths:
        """What the node of a link is to have: one object for the same link."""
        found = self._known.get(link)
        if found is None:
            found = self._known[link] = self._paths(link)
        return found

    def _paths(self, link: Link) -> Paths:
        sets = self._pools
        if self.kind == pool.VXLAN:
            others = tuple(ip for name, (ip, _) in self._tunnelled.items() if name != link.node)
            sets = (*sets, IpSetMembers(rules.VXLAN_HOSTS, others))
        return Paths(sets, _tunnel(self.kind, self._own(link), link), Ways(self, link))

    def _own(self, link: Link) -> Peer:
        return self._by_name.get(link.node) or Peer(link.node, link.ip, 0, ())

    def vteps_of(self, node: str) -> tuple[Vtep, ...]:
        """The ends of the tunnel on the other nodes."""
        return tuple(vtep for name, (_, vtep) in self._tunnelled.items() if name != node)

    def routes_of(self, link: Link) -> tuple[str, ...]:
        """As `ip route add` takes them: the node's own blocks have no pods beside those that have routes of their own."""
        own = self._own(link)
        routes = [f"blackhole {block} proto {self._proto}" for block in own.blocks]
        for name, texts in self._to_all(_Way(link.device, link.subnet, link.gateway, bool(own.tunnel))).items():
            if name != link.node:
                routes += texts
        return tuple(routes)

    @property
    def _proto(self) -> str:
        return "80" if self.kind == pool.VXLAN else "bird"

    def _to_all(self, way: _Way) -> dict[str, tuple[str, ...]]:
        found = self._routes.get(way)
        if found is None:
            found = self._routes[way] = {each.name: tuple(self._to(each, way)) for each in self._all}
        return found

    def _to(self, peer: Peer, way: _Way) -> Iterator[str]:
        """As `ip route add` takes them: to the blocks of another node."""
        on_link, mode = peer.ip in way.subnet, pool.mode(self.spec)
        via, device, flag = peer.ip, way.device, " onlink" if self.kind == pool.VXLAN else ""
        if mode == "Always" or (mode == "CrossSubnet" and not on_link):
            via, device, flag = (peer.tunnel if self.kind == pool.VXLAN else peer.ip), pool.DEVICE[self.kind], " onlink"
            if not peer.tunnel or not way.tunnelled:
                return
        elif not on_link:  # BIRD: `gateway recursive`, by the default route
            via = way.gateway
            if not via:
                return
        for block in peer.blocks:
            yield f"{block} via {ip4_text(via)} dev {device} proto {self._proto}{flag}"


def _tunnel(kind: str, own: Peer, link: Link) -> Tunnel | None:
    if not own.tunnel:
        return None
    mac = pool.tunnel_mac(own.name) if kind == pool.VXLAN else b""
    return Tunnel(kind, own.tunnel, mac, own.ip, link.device, link.mtu - pool.OVERHEAD[kind])


def _vtep(peer: Peer) -> Vtep:
    return Vtep(peer.tunnel, pool.tunnel_mac(peer.name), peer.ip)
