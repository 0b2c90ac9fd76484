"""One real node from the output of its own commands: iptables-save, ipset save, `ip -j route`, `ip -j addr`, `ip -j rule`.

A namespace is built anew for each packet that is sent, so that none meets the connections of another. What the texts leave
open is assumed, and listed (`assumed`). Must not know packets or their outcomes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.net.fib import KINDS, Route
from emu.kernel.net.fib_rules import ANY, LOCAL_TABLE, MAIN_TABLE, TABLE_NAMES, IpRule
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.dump import Unknown, parse_dump, unknown
from emu.kernel.netfilter.ipset import IpSets, parse_ipset
from emu.kernel.netfilter.matches.ip import Ip
from emu.kernel.netfilter.ruleset import RuleSet
from emu.report.edge import Edge, Sent, answer_arp
from emu.report.ip_json import HIGHEST, Item, read
from emu.wire.addr import Prefix, ip4, ip4_text, mac

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII | re.IGNORECASE)
WITHOUT_DEVICE = ("blackhole", "unreachable", "prohibit", "throw")
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
        sysctls = {"net.ipv4.ip_forward": 1} | self.sysctls
        net = boot.namespace(Clock(), "node", sysctls)
        sent: Sent = []
        for name, (address, mtu) in self.links.items():
            net.attach(Edge(net.clock, name, address, mtu, sent))
        answer_arp(net)
        for device, addr, length, scope in self.addresses:
            net.ipv4.add_address(net.device(device), addr, length, scope)
        if self.routes:
            for old in list(net.ipv4.fib.main):
                net.ipv4.fib.remove(old)
        for entry in (*self.routes, *self.extra):
            _add_route(net, _route(entry, net))
        if self.policy is not None:
            for rule in net.ipv4.fib.rules:
                net.ipv4.fib.remove_rule(rule)
            for rule in self.policy:
                net.ipv4.fib.add_rule(rule)
        boot.netfilter(net)
        net.ipv4.tables.replace(self.ruleset)
        net.ipv4.tables.load()
        net.ipv4.tables.ipsets = self.ipsets()
        net.tracing = True
        return net, sent

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
    files: Mapping[str, str] | None = None,
    sysctls: Mapping[str, int | str] | None = None,
) -> Node:
    """A node from the texts of its commands. `files` names them for messages, by the same words. Raises InputError."""
    named = files or {}
    node = Node(parse_dump(rules, named.get("rules")), ipset, sysctls=dict(sysctls or {}))
    parse_ipset(ipset, named.get("ipset"))
    for link in read(addresses, named.get("addresses", "ip -j addr")):
        _add_link(node, link)
    node.routes_given = bool(routes.strip())
    node.routes = [each for each in read(routes, named.get("routes", "ip -j route")) if _is_ip4(each)]
    for route in node.routes:
        if route.items("nexthops"):
            node.assume(f"the first of several next hops is taken for {route.text('dst')}")
        node.link(_fields(route)[2])
    if policy:
        node.policy = [_rule(each) for each in read(policy, named.get("policy", "ip -j rule"))]
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
            device, source = _fields(route)[2], route.address("prefsrc") if route.has("prefsrc") else 0
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


def _is_ip4(route: Item) -> bool:
    return ":" not in route.text("dst", ":") and route.text("type", "unicast") in KINDS


def _table(item: Item, default: str) -> int:
    named = {text: number for number, text in TABLE_NAMES.items()}
    text = item.values.get("table", default)
    if isinstance(text, str) and text in named:
        return named[text]
    try:
        return item.number("table")
    except InputError:
        what = f"unknown routing table {item.values['table']!r}"
        raise item.error("table", what, "main, local, default or a number") from None


def _fields(route: Item) -> tuple[Prefix, str, str, int, int, str, int, int, str, int, bool]:
    """What a Route is made of, in its order, the device by its name ("": none). Raises InputError."""
    hop = next(iter(route.items("nexthops")), route)
    kind, device = route.text("type", "unicast"), hop.text("dev", "")
    if not device and kind not in WITHOUT_DEVICE:
        raise hop.error("dev", f"is missing from a {kind} route", "a device's name")
    metrics = next(iter(route.items("metrics")), Item({}))
    return (
        route.prefix("dst"),
        kind,
        device,
        hop.address("gateway") if hop.has("gateway") else 0,
        route.address("prefsrc") if route.has("prefsrc") else 0,
        route.text("scope", "global" if hop.has("gateway") else "link"),
        route.number("metric"),
        metrics.number("mtu"),
        route.text("protocol", "boot"),
        _table(route, TABLE_NAMES[MAIN_TABLE]),
        "onlink" in hop.words("flags"),
    )


def _route(item: Item, net: Netns) -> Route:
    prefix, kind, name, gateway, prefsrc, scope, metric, mtu, proto, table, onlink = _fields(item)
    device = net.device(name) if name else None
    return Route(prefix, kind, device, gateway, prefsrc, scope, metric, mtu, proto, table, onlink)


def _add_route(net: Netns, route: Route) -> None:
    """Add a route, unless an address has brought it along."""
    same = [r for r in net.ipv4.fib.table(route.table) if (r.prefix, r.metric) == (route.prefix, route.metric)]
    if route.table == LOCAL_TABLE and same:
        return
    for old in same:
        net.ipv4.fib.remove(old)
    net.ipv4.fib.add(route)


def _rule(item: Item) -> IpRule:
    def prefix(key: str) -> Prefix:
        return ANY if item.text(key, "all") == "all" else item.prefix(key, f"{key}len")

    return IpRule(
        item.number("priority"),
        _table(item, "main"),
        prefix("src"),
        prefix("dst"),
        item.number("fwmark"),
        item.number("fwmask", HIGHEST if item.has("fwmark") else 0),
        item.text("iif", ""),
    )
