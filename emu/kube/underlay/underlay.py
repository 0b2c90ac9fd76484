"""What every underlay has: a router between the nodes' subnets, and the outside behind it.

A kind of underlay is a file in this folder: it builds the cables between nodes and router. Routes of other prefixes
are added by `route`, addresses of single hosts by `advertise`. Must not know pods, or what a node runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from emu.clock import Clock
from emu.kernel import boot
from emu.kernel.link.veth import Veth
from emu.kernel.net.netns import Netns
from emu.registry import Shelf
from emu.wire.addr import Prefix, ip4_text

EXTERNAL_NET, EXTERNAL_HOST, EXTERNAL_ROUTER = "203.0.113.0/24", "203.0.113.10", "203.0.113.1"
LARGE = Prefix.parse("172.16.0.0/12")
FEW = 190  # nodes that fit the small, readable addresses
Sysctls = Mapping[str, int | str]


def link_mac(kind: int, number: int) -> bytes:
    """A locally administered MAC that one can recognise: kind 0x42 nodes, 0xaa underlay ports, 0xcc the outside."""
    return bytes((2, kind)) + number.to_bytes(4, "big")


class Underlay(ABC):
    """`namespaces` by name, the underlay's own (`net`) first. `router` routes between nodes and to `external`.

    `advertised` maps each address of `advertise` to the node address that it is reached by.
    """

    net: Netns
    router: Netns

    def __init__(self, clock: Clock, nodes: int, sysctls: Sysctls) -> None:
        self.clock, self.few = clock, nodes <= FEW
        self.namespaces: dict[str, Netns] = {}
        self.advertised: dict[int, int] = {}
        forwarding = {"net.ipv4.ip_forward": 1, **sysctls}
        self.build(sysctls, forwarding)
        self.external = self.namespace("external", sysctls)
        boot.cable(self.router, "ext", self.external, "eth0", link_mac(0xCC, 1), link_mac(0xCC, 10))
        boot.address(self.router, "ext", f"{EXTERNAL_ROUTER}/24")
        boot.address(self.external, "eth0", f"{EXTERNAL_HOST}/24")
        boot.route(self.external, f"default via {EXTERNAL_ROUTER} dev eth0")

    # -- what a kind of underlay gives -----------------------------------------------------------

    @abstractmethod
    def build(self, sysctls: Sysctls, forwarding: Sysctls) -> None:
        """Set `net` and `router`. `forwarding` are the sysctls of a namespace that routes."""

    @abstractmethod
    def subnet_of(self, index: int) -> Prefix:
        """The subnet that node `index` (from 0) is in. Its first address is the router's."""

    @abstractmethod
    def address_of(self, index: int) -> int:
        """The address of node `index`: .11 for the first, .12 for the second, while there are few."""

    @abstractmethod
    def plug(self, port: Veth, index: int) -> None:
        """Join the underlay's end of the cable of node `index`."""

    # -- what all have ---------------------------------------------------------------------------

    def namespace(self, name: str, sysctls: Sysctls) -> Netns:
        """A new namespace of the underlay."""
        made = self.namespaces[name] = boot.namespace(self.clock, name, sysctls)
        return made

    def gateway_of(self, index: int) -> int:
        return self.subnet_of(index).net + 1

    def subnets(self, nodes: int) -> list[Prefix]:
        """What the nodes' links and the outside use; other subnets must keep clear of it."""
        own = {self.subnet_of(index) for index in range(nodes)}
        return [*sorted(own), Prefix.parse(EXTERNAL_NET)]

    def connect(self, net: Netns, index: int) -> None:
        """Plug node `index` in: its eth0, its address, and its default route."""
        port, eth0 = boot.cable(
            self.net, f"port{index + 1}", net, "eth0", link_mac(0xAA, 0x11 + index), link_mac(0x42, 0x0B + index)
        )
        boot.address(net, eth0, f"{ip4_text(self.address_of(index))}/{self.subnet_of(index).length}")
        boot.route(net, f"default via {ip4_text(self.gateway_of(index))} dev eth0")
        self.plug(port, index)

    def route(self, prefix: Prefix, via: int) -> None:
        """Have the router send `prefix` to the node address `via`. Raises InputError when the prefix has a route."""
        boot.route(self.router, f"{prefix} via {ip4_text(via)}")

    def advertise(self, addresses: Mapping[int, int]) -> None:
        """Route exactly these addresses to a node address each, by host routes of the router, as a BGP session of the
        nodes would. For those of the outside's own subnet the outside gets a route to the router. What a host of the underlay
        has as its own address stays there."""
        if addresses:
            here = {each.addr for net in self.namespaces.values() for each in net.ipv4.addresses}
            addresses = {addr: node for addr, node in addresses.items() if addr not in here}
        for addr, node in [*self.advertised.items()]:
            if addresses.get(addr) != node:
                self._withdraw(addr)
        for addr, node in addresses.items():
            if addr not in self.advertised:
                self.route(Prefix(addr, 32), node)
                if addr in Prefix.parse(EXTERNAL_NET):
                    boot.route(self.external, f"{ip4_text(addr)} via {EXTERNAL_ROUTER}")
                self.advertised[addr] = node

    def _withdraw(self, addr: int) -> None:
        del self.advertised[addr]
        prefix = Prefix(addr, 32)
        for net in (self.router, self.external):
            for route in [*net.ipv4.fib.main.of(prefix)]:
                net.ipv4.fib.remove(route)


underlays: Shelf[Callable[[Clock, int, Sysctls], Underlay]] = Shelf("underlay", "emu.kube.underlay")
