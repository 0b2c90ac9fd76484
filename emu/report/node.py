"""One real node from the output of its own commands: iptables-save, ipset save, `ip route`, `addr`, `rule`, `neigh`, conntrack.

A namespace is built anew for each packet that is sent, so that none meets the connections of another. What the texts leave
open is assumed, and listed (`assumed`). Must not know packets or their outcomes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from emu.clock import Clock
from emu.kernel import boot
from emu.kernel.dumped.ip_routes import Known, devices, is_ip4, read_route, read_rule, with_devices
from emu.kernel.dumped.rules import pasted_rules
from emu.kernel.link.edge import Edge, Sent
from emu.kernel.net.fib_rules import LOCAL_TABLE, IpRule
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ctnetlink import create
from emu.kernel.netfilter.dump import Unknown, unknown
from emu.kernel.netfilter.ipset import IpSets
from emu.kernel.netfilter.ipset_text import parse_ipset
from emu.kernel.netfilter.matches import FROM_DUMPS
from emu.kernel.netfilter.matches.ip import Ip
from emu.kernel.netfilter.ruleset import RuleSet
from emu.pasted.connections import Connection
from emu.pasted.connections import connections as pasted_connections
from emu.pasted.ip_json import Item, read
from emu.report.edge import answer_arp
from emu.wire.addr import ip4, ip4_text, mac

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII | re.IGNORECASE)
MAX_MTU = 0x7FFFFFFF
SPARE, SPARE_LENGTH, SPARE_GATEWAY = "192.0.2.1", 24, "192.0.2.254"  # RFC 5737: where no text states the node's address
UPLINK = "eth0"


@dataclass
class Node:
    """What is known of a node. `links` are (MAC, MTU) by name; `addresses` (device, address, length, scope).

    `extra` are routes that no text states, assumed for a packet."""

    ruleset: RuleSet
    ipset_text: str = ""
    links: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    addresses: list[tuple[str, int, int, str]] = field(default_factory=list)
    routes: list[Item] = field(default_factory=list)
    extra: list[Item] = field(default_factory=list)
    policy: list[IpRule] | None = None
    sysctls: dict[str, int | str] = field(default_factory=dict)
    routes_given: bool = False
    assumed: list[str] = field(default_factory=list)
    neighbours: list[Item] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def unknown(self) -> list[Unknown]:
        return unknown(self.ruleset)

    def ipsets(self) -> IpSets:
        return parse_ipset(self.ipset_text)

    def link(self, name: str, address: str = "", mtu: int = 1500) -> None:
        """Know an interface; one that is known already stays as it is."""
        if name and name != "lo" and name not in self.links:
            number = len(self.links) + 1
            self.links[name] = (mac(address) if address else b"\x02\xed\0\0" + number.to_bytes(2, "big"), mtu)

    def build(self) -> tuple[Netns, Sent]:
        """The node as a namespace without a past, and the list of what leaves it. Raises InputError."""
        own = {name for name in self.sysctls if any(f".{device}." in name for device in self.links)}
        sysctls = {"net.ipv4.ip_forward": 1} | {name: self.sysctls[name] for name in self.sysctls if name not in own}
        net = boot.namespace(Clock(), "node", sysctls)
        sent: Sent = []
        for name, (address, mtu) in self.links.items():
            net.attach(Edge(net.clock, name, address, mtu, sent))
        for name in sorted(own):  # an interface's, once it is there
            net.sysctl[name] = self.sysctls[name]
        answer_arp(net, self.failed)
        for device, addr, length, scope in self.addresses:
            net.ipv4.add_address(net.device(device), addr, length, scope)
        if self.routes:
            for old in list(net.ipv4.fib.main):
                net.ipv4.fib.remove(old)
        for entry in (*self.routes, *self.extra):
            route = with_devices(read_route(entry), net.device)
            for hop in route.hops or (route,):
                if hop.linkdown and hop.device is not None:
                    hop.device.carrier = False
            _add_route(net, route)
        if self.policy is not None:
            for rule in net.ipv4.fib.rules:
                net.ipv4.fib.remove_rule(rule)
            for rule in self.policy:
                net.ipv4.fib.add_rule(rule)
        boot.netfilter(net)
        net.ipv4.tables.replace(self.ruleset)
        net.ipv4.tables.memory[FROM_DUMPS] = True
        net.ipv4.tables.load()
        net.ipv4.tables.ipsets = self.ipsets()
        for each in self.connections:
            assert net.conntrack is not None
            create(net.conntrack, each.orig, each.reply, seconds=each.seconds, state=each.state, replied=each.replied,
                   assured=each.assured, mark=each.mark)  # fmt: skip
        net.tracing = True
        return net, sent

    @property
    def failed(self) -> frozenset[tuple[str, int]]:
        """The neighbours that did not answer ARP when the text was taken: (device, address)."""
        return frozenset(
            (each.text("dev"), each.address("dst")) for each in self.neighbours if "FAILED" in each.words("state")
        )

    def assume(self, text: str) -> None:
        if text not in self.assumed:
            self.assumed.append(text)


def read_node(
    rules: str,
    *,
    ipset: str = "",
    routes: str = "",
    addresses: str = "",
    policy: str = "",
    neighbours: str = "",
    connections: str = "",
    files: Mapping[str, str] | None = None,
    sysctls: Mapping[str, int | str] | None = None,
) -> Node:
    """A node from the texts of its commands. `files` names them for messages, by the same words. Raises InputError."""
    named = files or {}
    ruleset, notes = pasted_rules(rules, named.get("rules"))
    node = Node(ruleset, ipset, sysctls=dict(sysctls or {}), notes=notes)
    parse_ipset(ipset, named.get("ipset"))
    links = read(addresses, named.get("addresses", "ip -j addr"), "addr")
    for link in links:
        _add_link(node, link)
    node.routes_given = bool(routes.strip())
    node.routes = [each for each in read(routes, named.get("routes", "ip -j route"), "route") if is_ip4(each)]
    for route in node.routes:
        for name in devices(read_route(route)):
            node.link(name)
    node.neighbours = [
        each
        for each in read(neighbours, named.get("neighbours", "ip -j neigh"), "neigh")
        if ":" not in each.text("dst")
    ]
    for neighbour in node.neighbours:
        node.link(neighbour.text("dev"))
    node.connections = [each for each in pasted_connections(connections, named.get("connections")) if not each.zone]
    if policy:
        known = Known(
            vrfs=not links or any(link.has("master") for link in links),
            groups=any(link.text("group", "default") != "default" for link in links),
        )
        node.policy = [read_rule(each, known) for each in read(policy, named.get("policy", "ip -j rule"), "rule")]
    for rule in node.ruleset.rules():
        for match in rule.matches:
            if isinstance(match, Ip):
                for device in (match.indev, match.outdev):
                    if device is not None and not device[0].endswith("+"):
                        node.link(device[0])
    _guess(node)
    return node


def _guess(node: Node) -> None:
    """Fill in what routes and rules need: addresses from `src` of routes, else one of the documentation."""
    if not node.addresses:
        for route in node.routes:
            device = next(iter(devices(read_route(route))), "")
            source = route.address("prefsrc") if route.has("prefsrc") else 0
            if not source or device in ("", "lo") or any(a == source for _d, a, _l, _s in node.addresses):
                continue
            prefix = route.prefix("dst")
            length = prefix.length if route.text("dst") != "default" and source in prefix else 32
            node.addresses.append((device, source, length, "global"))
            node.assume(f"{device} has the address {ip4_text(source)}/{length}: that is a route's src")
    if not node.routes and not node.addresses:
        uplink = UPLINK if UPLINK in node.links or not node.links else next(iter(node.links))
        node.link(uplink)
        node.addresses.append((uplink, ip4(SPARE), SPARE_LENGTH, "global"))
        node.routes = [
            Item({"dst": f"192.0.2.0/{SPARE_LENGTH}", "dev": uplink, "prefsrc": SPARE, "scope": "link"}),
            Item({"dst": "default", "gateway": SPARE_GATEWAY, "dev": uplink}),
        ]
        node.assume(f"no routes are given: the node is {SPARE} on {uplink}, and its default route goes there")
    if "net.ipv4.ip_forward" not in node.sysctls:
        node.assume("net.ipv4.ip_forward is 1, rp_filter is off, and every next hop answers ARP")


def _add_link(node: Node, link: Item) -> None:
    name = link.text("ifname")
    address = link.text("address", "")
    node.link(name, address if MAC.fullmatch(address) else "", link.number("mtu", 1500, MAX_MTU))
    for each in link.items("addr_info"):
        if each.text("family") == "inet" and name != "lo":
            length = each.number("prefixlen", -1, 32)
            node.addresses.append((name, each.address("local"), length, each.text("scope", "global")))


def _add_route(net: Netns, route: Route) -> None:
    """Add a route, unless an address has brought it along."""
    fib = net.ipv4.fib
    same = [r for r in fib.table(route.table).of(route.prefix) if (r.tos, r.metric) == (route.tos, route.metric)]
    if route.table == LOCAL_TABLE and same:
        return
    fib.append(route)
