"""What every underlay has: LANs, a router between them, and the hosts outside.

A kind of underlay is a file in this folder: it states where a node is that names no LAN, and which namespaces route and
switch. Routes of other prefixes are added by `route`, addresses of single hosts by `advertise`. Must not know pods, or
what a node runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.veth import Veth
from emu.kernel.net.netns import Netns
from emu.kube.underlay.layout import EXTERNAL, lay_out, link_mac
from emu.kube.underlay.shape import Lan, LanSettings, Layout, MachineSettings, Nic
from emu.registry import Shelf
from emu.wire.addr import Prefix, ip4_text

LARGE = Prefix.parse("172.16.0.0/12")
FEW = 190  # nodes that fit the small, readable addresses
Sysctls = Mapping[str, int | str]


class Underlay(ABC):
    """`namespaces` by name, the underlay's own first. `router` routes between the LANs and to the outside, `switches` has a
    bridge for each LAN with a switch. `hosts` are the namespaces outside by name.

    `advertised` maps each address of `advertise` to the node address that it is reached by.
    """

    net: Netns
    router: Netns
    switches: Netns
    # does it translate a node's ExternalIP to the node's own address?
    translates = False

    def __init__(self, clock: Clock, layout: Layout, sysctls: Sysctls) -> None:
        self.clock, self.layout = clock, layout
        self.namespaces: dict[str, Netns] = {}
        self.bridges: dict[str, Bridge] = {}
        self.hosts: dict[str, Netns] = {}
        self.advertised: dict[int, int] = {}
        self.build(sysctls, {"net.ipv4.ip_forward": 1, **sysctls})
        for lan in layout.lans.values():
            if lan.switch:
                self._switch(lan)
        for host in layout.hosts.values():
            self.hosts[host.name] = self.namespace(host.name, sysctls)
            for nic in host.nics:
                self.attach(self.hosts[host.name], nic)

    # -- what a kind of underlay gives -----------------------------------------------------------

    @classmethod
    @abstractmethod
    def default_lan(cls, index: int, nodes: int) -> Lan:
        """Where node `index` (from 0) of `nodes` is if it names no LAN, and the scenario has none."""

    @classmethod
    @abstractmethod
    def default_address(cls, index: int, nodes: int) -> int:
        """Its address there: .11 for the first, .12 for the second, while there are few."""

    @abstractmethod
    def build(self, sysctls: Sysctls, forwarding: Sysctls) -> None:
        """Set `net`, `router`, and `switches` if there are any. `forwarding` are the sysctls of a namespace that routes."""

    @classmethod
    def lay_out(
        cls, nodes: Sequence[MachineSettings], lans: Sequence[LanSettings] = (), hosts: Sequence[MachineSettings] = ()
    ) -> Layout:
        """The complete layout that `__init__` takes. Raises InputError."""
        return lay_out(cls, nodes, lans, hosts)

    # -- what all have ---------------------------------------------------------------------------

    def namespace(self, name: str, sysctls: Sysctls) -> Netns:
        """A new namespace of the underlay. Raises InputError for a name that is taken."""
        if name in self.namespaces:
            raise InputError(
                f'the underlay has a "{name}" of its own', path="cluster.external", expected="another name"
            )
        made = self.namespaces[name] = boot.namespace(self.clock, name, sysctls)
        return made

    @property
    def external(self) -> Netns:
        """The first host outside."""
        return self.hosts[EXTERNAL]

    def _switch(self, lan: Lan) -> None:
        """A bridge for a LAN, and the router's interface there, if it has one."""
        number = len(self.bridges)
        serial = number << 16
        bridge = self.bridges[lan.name] = boot.bridge(self.switches, f"br{number}", link_mac(0xAA, serial), lan.mtu)
        self.switches.sysctl["net.bridge.bridge-nf-call-iptables"] = 0
        if lan.gateway:
            port, leg = boot.cable(
                self.switches, "gw" + (f"{number}" if number else ""), self.router, f"eth{number}",
                link_mac(0xAA, serial | 1), link_mac(0x42, serial | 1), lan.mtu,
            )  # fmt: skip
            bridge.add_port(port)
            boot.address(self.router, leg, f"{ip4_text(lan.gateway)}/{lan.subnet.length}")

    def connect(self, net: Netns, index: int) -> None:
        """Plug node `index` in: its interfaces, their addresses, and its default route."""
        for nic in self.layout.nodes[index].nics:
            self.attach(net, nic)

    def attach(self, net: Netns, nic: Nic) -> Veth:
        """Lay a cable from a machine's new interface to its LAN. Raises InputError for a name that is taken."""
        lan = self.layout.lans[nic.lan]
        where = self.switches if lan.switch else self.router
        port, device = boot.cable(where, nic.port, net, nic.name, nic.port_mac, nic.mac, lan.mtu)
        if nic.mtu != lan.mtu:
            device.set_mtu(nic.mtu)
        boot.address(net, device, nic.cidr)
        if nic.gateway:
            boot.route(net, f"default via {ip4_text(nic.gateway)} dev {nic.name}")
        if lan.switch:
            self.bridges[lan.name].add_port(port)
        else:
            boot.address(self.router, port, f"{ip4_text(lan.gateway)}/{lan.subnet.length}")
        return device

    def route(self, prefix: Prefix, via: int) -> None:
        """Have the router send `prefix` to the node address `via`. Raises InputError when the prefix has a route."""
        boot.route(self.router, f"{prefix} via {ip4_text(via)}")

    def route_as_stated(self, routes: Iterable[str]) -> None:
        """The router's routes that the config states, as `ip route add` has them. Raises InputError with the route's place."""
        for number, text in enumerate(routes):
            try:
                boot.route(self.router, text)
            except InputError as error:
                raise error.at(path=f"cluster.routes[{number}]") from None

    def reserve(self, addresses: Iterable[int]) -> None:
        """These addresses are pods' of a cluster that runs: an underlay that gives addresses leaves them alone."""
        del addresses  # this one gives none

    def ways(self, prefix: Prefix) -> list[int]:
        """The node addresses that exactly this prefix is routed to."""
        return [route.gateway for route in self.router.ipv4.fib.main.of(prefix)]

    def advertise(self, addresses: Mapping[int, int]) -> None:
        """Route exactly these addresses to a node address each, by host routes of the router, as a BGP session of the
        nodes would. A host outside whose own subnet has one gets a route to the router. What a host of the underlay
        has as its own address stays there, and a node on a LAN without the router gets none."""
        if addresses:
            here = {each.addr for net in self.namespaces.values() for each in net.ipv4.addresses}
            near = [lan.subnet for lan in self.layout.lans.values() if lan.gateway]
            addresses = {
                addr: node
                for addr, node in addresses.items()
                if addr not in here and any(node in subnet for subnet in near)
            }
        for addr, node in [*self.advertised.items()]:
            if addresses.get(addr) != node:
                self._withdraw(addr)
        for addr, node in addresses.items():
            if addr not in self.advertised:
                self.route(Prefix(addr, 32), node)
                for host, nic in self._beside(addr):
                    boot.route(host, f"{ip4_text(addr)} via {ip4_text(self.layout.lans[nic.lan].gateway)}")
                self.advertised[addr] = node

    def _beside(self, addr: int) -> list[tuple[Netns, Nic]]:
        """The hosts outside that take an address for one of their own cable, where only the router is."""
        return [
            (self.hosts[host.name], nic)
            for host in self.layout.hosts.values()
            for nic in host.nics
            if addr in nic.subnet and not self.layout.lans[nic.lan].switch
        ]

    def _withdraw(self, addr: int) -> None:
        del self.advertised[addr]
        prefix = Prefix(addr, 32)
        for net in (self.router, *self.hosts.values()):
            for route in [*net.ipv4.fib.main.of(prefix)]:
                net.ipv4.fib.remove(route)


underlays: Shelf[type[Underlay]] = Shelf("underlay", "emu.kube.underlay")
