"""The network between nodes: a namespace of its own, and the world outside.

`routed`: a router with a subnet for each node, which routes by node CIDR. `switched`: one switch for all
nodes, which route to each other's pods by host routes; a gateway leads out. `external` hosts sit behind.
Must not know pods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.bridge import Bridge
from emu.kernel.net.netns import Netns
from emu.wire.addr import Prefix, ip4, ip4_text

if TYPE_CHECKING:
    from emu.kube.node.node import Node

EXTERNAL_NET, EXTERNAL_HOST, EXTERNAL_ROUTER = "203.0.113.0/24", "203.0.113.10", "203.0.113.1"
SWITCH_NET = Prefix.parse("192.168.50.0/24")
LARGE = Prefix.parse("172.16.0.0/12")
FEW = 190  # nodes that fit the small, readable addresses


def link_mac(kind: int, number: int) -> bytes:
    """A locally administered MAC that one can recognise: kind 0x42 nodes, 0xaa underlay ports, 0xcc the outside."""
    return bytes((2, kind)) + number.to_bytes(4, "big")


class Underlay:
    """`namespaces` by name, the underlay's own first; `net_of(i)` is where node i sits."""

    def __init__(self, clock: Clock, kind: str, nodes: int, sysctls: Mapping[str, int | str]) -> None:
        if kind not in ("routed", "switched"):
            raise InputError(f"no underlay is called {kind!r}", expected="routed or switched")
        self.clock, self.kind, self.few = clock, kind, nodes <= FEW
        self.namespaces: dict[str, Netns] = {}
        forwarding = {"net.ipv4.ip_forward": 1, **sysctls}
        self.switch: Bridge | None = None
        self.net = boot.namespace(clock, "underlay", forwarding if kind == "routed" else sysctls)
        self.namespaces["underlay"] = self.net
        if kind == "routed":
            self.router = self.net
        else:
            self.switch = boot.bridge(self.net, "br0", link_mac(0xAA, 0))
            self.net.sysctl["net.bridge.bridge-nf-call-iptables"] = 0
            self.router = boot.namespace(clock, "gateway", forwarding)
            self.namespaces["gateway"] = self.router
            port, _eth0 = boot.veth(self.net, "gw", self.router, "eth0", link_mac(0xAA, 1), link_mac(0x42, 1))
            self.switch.add_port(port)
            boot.address(self.router, "eth0", f"{ip4_text(self.gateway_of(0))}/{self._subnet(0).length}")
        self.announced: dict[int, int] = {}
        self.external = boot.namespace(clock, "external", sysctls)
        self.namespaces["external"] = self.external
        boot.veth(self.router, "ext", self.external, "eth0", link_mac(0xCC, 1), link_mac(0xCC, 10))
        boot.address(self.router, "ext", f"{EXTERNAL_ROUTER}/24")
        boot.address(self.external, "eth0", f"{EXTERNAL_HOST}/24")
        boot.route(self.external, f"default via {EXTERNAL_ROUTER} dev eth0")

    def _subnet(self, index: int) -> Prefix:
        """The subnet that node `index` (from 0) is in."""
        if self.kind == "switched":
            return SWITCH_NET if self.few else LARGE
        if self.few:
            return Prefix(ip4(f"192.168.{51 + index}.0"), 24)
        return Prefix(LARGE.net + index * 16, 28)

    def gateway_of(self, index: int) -> int:
        return self._subnet(index).net + 1

    def address_of(self, index: int) -> int:
        """The address of node `index`: .11 for the first, .12 for the second, while there are few."""
        if self.few:
            return self._subnet(index).net + 11 + index
        return self._subnet(index).net + (11 + index if self.kind == "switched" else 2)

    def subnets(self, nodes: int) -> list[Prefix]:
        """What the nodes' links and the outside use; pods and Services must keep clear of it."""
        mine = {self._subnet(index) for index in range(nodes)}
        return [*sorted(mine), Prefix.parse(EXTERNAL_NET)]

    def connect(self, node: Node) -> None:
        """Plug a node in: its eth0, its address and default route, and the way to its pods."""
        index = node.index
        port, eth0 = boot.veth(
            self.net, f"port{index + 1}", node.net, "eth0", link_mac(0xAA, 0x11 + index), link_mac(0x42, 0x0B + index)
        )
        subnet, gateway = self._subnet(index), self.gateway_of(index)
        boot.address(node.net, eth0, f"{ip4_text(node.ip)}/{subnet.length}")
        boot.route(node.net, f"default via {ip4_text(gateway)} dev eth0")
        if self.switch is None:
            boot.address(self.net, port, f"{ip4_text(gateway)}/{subnet.length}")
        else:
            self.switch.add_port(port)
        if node.pod_cidr is not None:
            boot.route(self.router, f"{node.pod_cidr} via {ip4_text(node.ip)}")

    def announce(self, front_ends: Mapping[int, int]) -> None:
        """Lead these addresses (external IPs, load balancer VIPs) to a node each, by host routes of the router, as a
        balancer's BGP session would. Those of the outside's own subnet the outside leaves to the router."""
        if front_ends == self.announced:
            return
        outside = Prefix.parse(EXTERNAL_NET)
        for addr, node in [*self.announced.items()]:
            if front_ends.get(addr) != node:
                self._withdraw(self.router, addr)
                if addr in outside:
                    self._withdraw(self.external, addr)
        for addr, node in front_ends.items():
            if self.announced.get(addr) != node:
                boot.route(self.router, f"{ip4_text(addr)} via {ip4_text(node)}")
                if addr in outside:
                    boot.route(self.external, f"{ip4_text(addr)} via {EXTERNAL_ROUTER}")
        self.announced = dict(front_ends)

    @staticmethod
    def _withdraw(net: Netns, addr: int) -> None:
        prefix = Prefix(addr, 32)
        for route in [each for each in net.ipv4.fib.main if each.prefix == prefix]:
            net.ipv4.fib.remove(route)

    def introduce(self, nodes: list[Node]) -> None:
        """Host routes from each node to the others' pods, where a switch joins them."""
        if self.switch is None:
            return
        for one in nodes:
            for other in nodes:
                if one is not other and other.pod_cidr is not None:
                    boot.route(one.net, f"{other.pod_cidr} via {ip4_text(other.ip)} dev eth0")
