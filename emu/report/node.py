"""One real node from what its own commands say: iptables-save, ipset save, `ip -j route`, `ip -j addr`, `ip -j rule`.

A namespace is built anew for each packet that is tried, so that no try sees another's connections. What the texts leave
open is assumed, and said (`assumed`). Must not know packets or what becomes of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.device import Device
from emu.kernel.net.fib import KINDS, LOCAL_TABLE, MAIN_TABLE, TABLE_NAMES, Route
from emu.kernel.net.fib_rules import ANY, IpRule
from emu.kernel.net.neighbour import REACHABLE
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.dump import Unknown, parse_dump, unknown
from emu.kernel.netfilter.ipset import IpSets, parse_ipset
from emu.kernel.netfilter.matches.ip import Ip
from emu.kernel.netfilter.ruleset import RuleSet
from emu.wire.addr import Prefix, ip4, mac
from emu.wire.frame import Frame

GATEWAY_MAC = b"\x02\xee\0\0\0\x01"  # whoever is at the far end of a link
SPARE, SPARE_LENGTH, SPARE_GATEWAY = "192.0.2.1", 24, "192.0.2.254"  # RFC 5737: where nothing says the node's address
UPLINK = "eth0"
Sent = list[tuple[Device, Frame]]


class Edge(Device):
    """An interface of the node whose far end is not modelled: what leaves by it is kept in `sent`."""

    __slots__ = ("sent",)

    def __init__(self, clock: Clock, name: str, address: bytes, mtu: int, sent: Sent) -> None:
        super().__init__(clock, name, address, mtu)
        self.sent = sent

    def xmit(self, frame: Frame) -> None:
        self.sent.append((self, frame))


@dataclass
class Node:
    """What is known of a node. `links` are (MAC, MTU) by name; `addresses` (device, address, length, scope).

    `extra` are routes that nobody gave, assumed for a packet's sake."""

    ruleset: RuleSet
    ipset_text: str = ""
    links: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    addresses: list[tuple[str, int, int, str]] = field(default_factory=list)
    routes: list[Mapping[str, Any]] = field(default_factory=list)
    extra: list[Mapping[str, Any]] = field(default_factory=list)
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
        net.ipv4.ops = replace(net.ipv4.ops, solicit=lambda entry, waiting: entry.update(GATEWAY_MAC, REACHABLE))
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
    for link in _entries(addresses, named.get("addresses", "ip -j addr")):
        name = str(link.get("ifname", ""))
        node.link(
            name, str(link.get("address", "")) if _is_mac(link.get("address")) else "", int(link.get("mtu", 1500))
        )
        for each in link.get("addr_info", []):
            if each.get("family") == "inet" and name != "lo":
                scope = str(each.get("scope", "global"))
                node.addresses.append((name, ip4(str(each["local"])), int(each["prefixlen"]), scope))
    node.routes_given = bool(routes.strip())
    node.routes = [each for each in _entries(routes, named.get("routes", "ip -j route")) if _is_ip4(each)]
    for entry in node.routes:
        if entry.get("nexthops"):
            node.assume(f"the first of several next hops is taken for {entry.get('dst')}")
        node.link(str(_hop(entry).get("dev", "")))
    if policy:
        node.policy = [_rule(each) for each in _entries(policy, named.get("policy", "ip -j rule"))]
    for rule in node.ruleset.rules():
        for match in rule.matches:
            if isinstance(match, Ip):
                for device in (match.indev, match.outdev):
                    if device is not None and not device[0].endswith("+"):
                        node.link(device[0])
    _guess(node)
    return node


def _guess(node: Node) -> None:
    """Fill in what routes and rules need: addresses from `src` of routes, else one that is nobody's."""
    if not node.addresses:
        for entry in node.routes:
            source, device = entry.get("prefsrc"), str(_hop(entry).get("dev", ""))
            if not source or device in ("", "lo") or any(a == ip4(str(source)) for _d, a, _l, _s in node.addresses):
                continue
            prefix = Prefix.parse(str(entry["dst"]))
            length = prefix.length if entry.get("dst") != "default" and ip4(str(source)) in prefix else 32
            node.addresses.append((device, ip4(str(source)), length, "global"))
            node.assume(f"{device} has the address {source}/{length}: a route's src says so")
    if not node.routes and not node.addresses:
        uplink = UPLINK if UPLINK in node.links or not node.links else next(iter(node.links))
        node.link(uplink)
        node.addresses.append((uplink, ip4(SPARE), SPARE_LENGTH, "global"))
        node.routes = [
            {"dst": f"192.0.2.0/{SPARE_LENGTH}", "dev": uplink, "prefsrc": SPARE, "scope": "link"},
            {"dst": "default", "gateway": SPARE_GATEWAY, "dev": uplink},
        ]
        node.assume(f"no routes are given: the node is {SPARE} on {uplink}, and its default route goes there")
    if "net.ipv4.ip_forward" not in node.sysctls:
        node.assume("net.ipv4.ip_forward is 1, rp_filter is off, and every next hop answers ARP")


def _entries(text: str, file: str) -> list[dict[str, Any]]:
    if not text.strip():
        return []
    try:
        found = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise InputError("not JSON", file=file, line=line, expected="what `ip -j` prints") from None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InputError("not what `ip -j` prints", file=file, expected="a list of objects")
    return [each for each in found if each]


def _is_mac(text: object) -> bool:
    return isinstance(text, str) and text.count(":") == 5


def _is_ip4(entry: Mapping[str, Any]) -> bool:
    return ":" not in str(entry.get("dst", ":")) and entry.get("type", "unicast") in KINDS


def _hop(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    hops: Sequence[Mapping[str, Any]] = entry.get("nexthops") or [entry]
    return hops[0]


def _table(name: object) -> int:
    named = {text: number for number, text in TABLE_NAMES.items()}
    text = str(name)
    if text in named:
        return named[text]
    if not text.isdigit():
        raise InputError(f"unknown routing table {text!r}", expected="main, local, default or a number")
    return int(text)


def _route(entry: Mapping[str, Any], net: Netns) -> Route:
    hop = _hop(entry)
    device = net.device(str(hop["dev"])) if "dev" in hop else None
    metrics: Mapping[str, Any] = next(iter(entry.get("metrics", [])), {})
    return Route(
        Prefix.parse(str(entry["dst"])),
        str(entry.get("type", "unicast")),
        device,
        ip4(str(hop["gateway"])) if "gateway" in hop else 0,
        ip4(str(entry["prefsrc"])) if "prefsrc" in entry else 0,
        str(entry.get("scope", "global" if "gateway" in hop else "link")),
        int(entry.get("metric", 0)),
        int(metrics.get("mtu", 0)),
        str(entry.get("protocol", "boot")),
        _table(entry.get("table", MAIN_TABLE)),
        "onlink" in hop.get("flags", []),
    )


def _add_route(net: Netns, route: Route) -> None:
    """Add a route, unless an address has brought it along."""
    same = [r for r in net.ipv4.fib.table(route.table) if (r.prefix, r.metric) == (route.prefix, route.metric)]
    if route.table == LOCAL_TABLE and same:
        return
    for old in same:
        net.ipv4.fib.remove(old)
    net.ipv4.fib.add(route)


def _rule(entry: Mapping[str, Any]) -> IpRule:
    def prefix(key: str) -> Prefix:
        text = str(entry.get(key, "all"))
        if text == "all":
            return ANY
        return Prefix.parse(f"{text}/{entry[key + 'len']}" if f"{key}len" in entry else text)

    mark = int(str(entry.get("fwmark", "0")), 0)
    bits = int(str(entry["fwmask"]), 0) if "fwmask" in entry else (0xFFFFFFFF if "fwmark" in entry else 0)
    return IpRule(
        int(entry.get("priority", 0)),
        _table(entry.get("table", "main")),
        prefix("src"),
        prefix("dst"),
        mark,
        bits,
        str(entry.get("iif", "")),
    )
