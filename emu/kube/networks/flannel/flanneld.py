"""flanneld, the node agent: the node's VXLAN device, its rules, and the way to each other node's pod CIDR.

It reads other nodes' leases from their Node objects. Source: main.go, pkg/backend/vxlan, pkg/backend/hostgw and
route_network.go of flannel v0.28. Must not know pods, or what carries the packets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel import boot, commands
from emu.kernel.link.device import Device
from emu.kernel.link.vxlan import Remote, Vxlan
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api.core import Node as NodeObject
from emu.kube.cni.links import random_mac
from emu.kube.networks.flannel import rules
from emu.kube.networks.flannel.lease import Lease, stored_mac
from emu.kube.networks.flannel.network import HOST_GW, VXLAN, NetConf
from emu.kube.networks.within import Within
from emu.wire.addr import Prefix, ip4_text

SUBNET_ENV = "/run/flannel/subnet.env"
RESYNC_NS = 5 * SECOND  # of the rules (--iptables-resync); host-gw looks at its routes every second time
Peers = Mapping[Prefix, Lease]
Leases = tuple[Lease, ...]


class Own(NamedTuple):
    """A node: its name, its pod CIDR, and the device that reaches the others, with its address."""

    name: str
    subnet: Prefix
    device: str
    address: int


@agents.add("flanneld")
class Flanneld(Agent[Leases, Own, Leases]):
    watches = (NodeObject,)
    resync_period_ns = RESYNC_NS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.conf = settings.of(NetConf)
        self.network = self.conf.prefix(settings.pod_subnet)
        self._within = Within()
        self._planned: dict[str, Leases] = {}  # by node, what it adds ways to when it routes
        self._applied: dict[str, Peers] = {}
        self._checks: dict[str, int] = {}
        self._there: dict[str, tuple[RuleSet, Own]] = {}  # by node, the rules in force that its own were found in

    def start(self, node: Node, own: NodeObject) -> NodeObject:
        facts, backend, net = self.facts(node), self.conf.backend, node.root
        address = b""
        if backend.type == VXLAN:
            address = self._device(net, facts, stored_mac(own)).mac
        lease = Lease(node.name, facts.subnet, facts.address, backend.type, address)
        for each in self._rules(facts):
            rules.put(net, each)
        mtu = self.conf.mtu_inside(net.device(facts.device).mtu)
        first = f"{ip4_text(facts.subnet.net + 1)}/{facts.subnet.length}"
        lines = (f"NETWORK={self.network}", f"SUBNET={first}", f"MTU={mtu}", "IPMASQ=true")
        node.disk["file", SUBNET_ENV] = "".join(f"FLANNEL_{line}\n" for line in lines)
        return lease.annotated(own, backend.vni)

    def view(self, objects: Objects, before: Leases | None) -> Leases:
        found = (Lease.of(node) for node in objects.list(NodeObject))
        leases = tuple(lease for lease in found if lease is not None and lease.backend == self.conf.backend.type)
        return before if before == leases else leases

    def facts(self, node: Node) -> Own:
        """Raises InputError: no device, or no pod CIDR."""
        device = self._outer(node)
        address = node.root.ipv4.select_addr(device, 0)
        if node.pod_cidr is None or not any(each.device is device for each in node.root.ipv4.addresses):
            raise InputError(f"flanneld of {node.name} needs a pod CIDR and an address on {device.name}")
        return Own(node.name, node.pod_cidr, device.name, address)

    def compile(self, view: Leases, facts: Own) -> Leases:
        """All leases: which of them is its own a node finds when it routes."""
        return view

    def apply(self, node: Node, value: Leases) -> bool:
        facts, net = self.facts(node), node.root
        for each in self._rules(facts):
            if not rules.there(net, each):
                rules.put(net, each)
        if self._planned.get(node.name) is not value:
            self._planned[node.name] = value
            self._applied.setdefault(node.name, {})
            within = self._within.of(value, (lease.subnet for lease in value))
            net.put_off(within, partial(self._sync, node, facts, value))
        return True

    def _sync(self, node: Node, facts: Own, leases: Leases) -> None:
        if self._planned.get(node.name) is leases:
            del self._planned[node.name]
        net, before = node.root, self._applied[node.name]
        others = {lease.subnet: lease for lease in leases if lease.subnet != facts.subnet}
        add, remove = self._backend(net, facts)
        for subnet in [each for each in before if each not in others]:
            remove(before[subnet])
        for subnet, lease in others.items():
            if before.get(subnet) != lease or (self.conf.backend.type == HOST_GW and not _direct(net, lease)):
                add(lease)
        self._applied[node.name] = others

    def intact(self, node: Node) -> bool:
        """Are the rules there, and every ten seconds: host-gw's routes?"""
        count = self._checks[node.name] = self._checks.get(node.name, 0) + 1
        ruleset, facts = node.root.ipv4.tables.ruleset, self.facts(node)
        known, of = self._there.get(node.name, (None, None))
        if known is not ruleset or of != facts:
            if not all(rules.there(node.root, each) for each in self._rules(facts)):
                return False
            self._there[node.name] = ruleset, facts
        if self.conf.backend.type != HOST_GW or count % 2:
            return True
        return all(_direct(node.root, lease) for lease in self._applied.get(node.name, {}).values())

    # -- the node ---------------------------------------------------------------------------------

    def _outer(self, node: Node) -> Device:
        """The device of --iface, else that of the default route."""
        net, name = node.root, self.conf.iface
        if name:
            if name not in net.devices:
                raise InputError(
                    f"{node.name} has no device {name!r}", path="cluster.flannel.iface", expected=", ".join(net.devices)
                )
            return net.device(name)
        route = next((each for each in net.ipv4.fib.main.of(Prefix(0, 0)) if each.device is not None), None)
        if route is None:
            raise InputError(
                f"flanneld of {node.name} finds no default route", path="cluster.flannel", expected="iface: NAME"
            )
        device: Device = route.device
        return device

    def _rules(self, facts: Own) -> tuple[rules.Rules, ...]:
        return rules.masquerade(self.network, facts.subnet), rules.forward(self.network)

    def _device(self, net: Netns, facts: Own, address: bytes) -> Vxlan:
        """The node's VXLAN device with the first address of its subnet, as a /32: no route comes with it. One that is there
        stays, with its MAC; `address` is that of a new one, b"" for any."""
        backend = self.conf.backend
        name = f"flannel.{backend.vni}"
        device = net.devices.get(name)
        if not isinstance(device, Vxlan):
            words = f"id {backend.vni} dstport {backend.udp_port} local {ip4_text(facts.address)} dev {facts.device}"
            words += " learning" if backend.learning else " nolearning"
            mtu = self.conf.mtu_inside(net.device(facts.device).mtu)
            device = boot.vxlan(net, name, address or random_mac(net.clock, f"mac/{net.name}"), words, mtu)
        if all(each.device is not device for each in net.ipv4.addresses):
            boot.address(net, device, f"{ip4_text(facts.subnet.net)}/32")
        return device

    # -- the other nodes --------------------------------------------------------------------------

    def _backend(self, net: Netns, facts: Own) -> tuple[Callable[[Lease], None], Callable[[Lease], None]]:
        """What to do for a node that comes, and for one that goes."""
        if self.conf.backend.type == HOST_GW:
            return lambda lease: _add_direct(net, lease, facts.device), lambda lease: _remove_route(net, lease.subnet)
        name = f"flannel.{self.conf.backend.vni}"
        return lambda lease: self._add_vxlan(net, name, lease), lambda lease: self._remove_vxlan(net, name, lease)

    def _add_vxlan(self, net: Netns, name: str, lease: Lease) -> None:
        device, gateway = net.device(name), lease.subnet.net
        assert isinstance(device, Vxlan)
        if self._routes_directly(net, lease):
            commands.route_replace(net, f"{lease.subnet} via {ip4_text(lease.public_ip)}")
            return
        boot.neigh(net, name, gateway, lease.vtep_mac)
        device.replace(lease.vtep_mac, Remote(lease.public_ip))
        new = Route(lease.subnet, device=device, gateway=gateway, onlink=True)
        commands.replace_route(net, new, name)

    def _remove_vxlan(self, net: Netns, name: str, lease: Lease) -> None:
        device = net.device(name)
        assert isinstance(device, Vxlan)
        if not self._routes_directly(net, lease):
            entry = device.neigh[net.ipv4.number].get(lease.subnet.net)
            if entry is not None:
                entry.delete()
            with suppress(InputError):
                device.delete(lease.vtep_mac, Remote(lease.public_ip))
        _remove_route(net, lease.subnet)

    def _routes_directly(self, net: Netns, lease: Lease) -> bool:
        """DirectRouting, and the other node is on a link of this one: one route without a gateway."""
        if not self.conf.backend.direct_routing:
            return False
        route = net.ipv4.lookup_output(lease.public_ip)
        return route is not None and not route.gateway


def _routes(net: Netns, subnet: Prefix) -> list[Route]:
    """The routes to a subnet that are not the kernel's own."""
    return [each for each in net.ipv4.fib.main.of(subnet) if each.proto != "kernel"]


def _direct(net: Netns, lease: Lease) -> bool:
    return any(each.gateway == lease.public_ip for each in _routes(net, lease.subnet))


def _add_direct(net: Netns, lease: Lease, device: str) -> None:
    """routeAdd: one route to the subnet, by the node's address. Where that is on no link of the device, none is added:
    flanneld writes a line to its log, and tries again."""
    first = next(iter(_routes(net, lease.subnet)), None)
    if first is not None and first.gateway != lease.public_ip:
        net.ipv4.fib.remove(first)
    if not _direct(net, lease):
        with suppress(InputError):
            boot.route(net, f"{lease.subnet} via {ip4_text(lease.public_ip)} dev {device}")


def _remove_route(net: Netns, subnet: Prefix) -> None:
    for each in [each for each in _routes(net, subnet) if each.gateway]:
        net.ipv4.fib.remove(each)
