"""A namespace of a running cluster at one moment, to send a packet through copies of it.

A copy has the namespace's interfaces (as edges), addresses, routes, sysctls, rules, sets and what its matches remember
(`recent`, `limit`, nth packets), but a clock and draws of its own, no counters and no connections: nothing that happens in
it reaches the cluster. Must not know rules or packets.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from emu.clock import Clock
from emu.kernel import boot
from emu.kernel.link.edge import Edge, Sent
from emu.kernel.net.fib_rules import IpRule
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ipset import IpSets
from emu.kernel.netfilter.matches import Match
from emu.kernel.netfilter.matches.physdev import Physdev
from emu.kernel.netfilter.ruleset import Chain, RuleSet
from emu.kernel.netfilter.unknown import UnknownMatch
from emu.kernel.sysctl_table import Value
from emu.report.edge import answer_arp

FORWARD = "net.ipv4.ip_forward"


@dataclass(frozen=True)
class Link:
    """One interface. `addresses` are (address, prefix length, scope)."""

    name: str
    mac: bytes
    mtu: int
    up: bool
    addresses: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Snapshot:
    """What a copy is built from. Rules and routes are immutable and shared; `ipsets` and `memory` are copied. A copy has no
    bridge ports, so that a rule that asks for one (`-m physdev`) is undecided there."""

    name: str
    now_ns: int
    links: tuple[Link, ...]
    routes: tuple[Route, ...]
    policy: tuple[IpRule, ...]
    sysctls: Mapping[str, Value]
    ruleset: RuleSet
    ipsets: IpSets
    memory: Mapping[Any, Any]

    @classmethod
    def of(cls, net: Netns) -> Snapshot:
        """The namespace as it is now. Changes nothing in it."""
        links = tuple(
            Link(
                device.name,
                device.mac,
                device.mtu,
                device.up,
                tuple((each.addr, each.length, each.scope) for each in net.ipv4.addresses if each.device is device),
            )
            for device in net.devices.values()
            if device.master is None  # a port's frames are seen where the bridge passes them up
        )
        usual = boot.namespace(Clock(), net.name).sysctl
        for link in links:
            usual.add_device(link.name)
        return cls(
            net.name,
            net.clock.now,
            links,
            tuple(route for table in net.ipv4.fib.tables.values() for route in table),
            net.ipv4.fib.rules,
            {name: net.sysctl[name] for name in usual if net.sysctl[name] != usual[name]},
            _portless(net.ipv4.tables.ruleset) if len(links) < len(net.devices) else net.ipv4.tables.ruleset,
            _sets(net.ipv4.tables.ipsets),
            _copy(net.ipv4.tables.memory),
        )

    def build(self) -> tuple[Netns, Sent]:
        """A copy, and the list of what leaves it."""
        clock = Clock()
        clock.now = self.now_ns
        net = boot.namespace(clock, self.name)
        sent: Sent = []
        for link in self.links:
            if link.name not in net.devices:
                net.attach(Edge(clock, link.name, link.mac, link.mtu, sent)).up = link.up
        for name in _in_order(self.sysctls):
            net.sysctl[name] = self.sysctls[name]
        answer_arp(net)
        known = {(each.device.name, each.addr) for each in net.ipv4.addresses}
        for link in self.links:
            for addr, length, scope in link.addresses:
                if (link.name, addr) not in known:
                    net.ipv4.add_address(net.device(link.name), addr, length, scope)
        self._route(net)
        boot.netfilter(net)
        net.ipv4.tables.replace(self.ruleset)
        net.ipv4.tables.ipsets = _sets(self.ipsets)
        net.ipv4.tables.memory.update(_copy(self.memory))
        net.tracing = True
        return net, sent

    def _route(self, net: Netns) -> None:
        """The snapshot's routes and rules, in place of those that came with the addresses."""
        fib = net.ipv4.fib
        for table in list(fib.tables.values()):
            for old in list(table):
                fib.remove(old)
        for route in self.routes:
            fib.append(_moved(route, net))
        for rule in fib.rules:
            fib.remove_rule(rule)
        for rule in self.policy:
            fib.add_rule(rule)


def _moved(route: Route, net: Netns) -> Route:
    """The route out of the devices of the same names."""
    device = None if route.device is None else net.device(route.device.name)
    return replace(route, device=device, hops=tuple(_moved(hop, net) for hop in route.hops))


def _portless(ruleset: RuleSet) -> RuleSet:
    """The rules, those of `-m physdev` undecided."""
    asks = [rule for rule in ruleset.rules() if any(isinstance(each, Physdev) for each in rule.matches)]
    tables = {name: dict(chains) for name, chains in ruleset.tables.items()}
    for table, name in {(rule.table, rule.chain) for rule in asks}:
        chain = tables[table][name]
        rules = tuple(replace(rule, matches=tuple(map(_unknown, rule.matches))) for rule in chain.rules)
        tables[table][name] = Chain(name, chain.policy, rules)
    return RuleSet(tables) if asks else ruleset


def _unknown(match: Match) -> Match:
    if not isinstance(match, Physdev):
        return match
    return UnknownMatch("physdev", tuple(match.spec().split()), "the endpoints are worked out without bridge ports")


def _copy(memory: Mapping[Any, Any]) -> dict[Any, Any]:
    """What matches remember. The keys hold the rules' own matches, which compare by identity."""
    return {key: deepcopy(value) for key, value in memory.items()}


def _sets(sets: IpSets) -> IpSets:
    """Copies of the sets; their elements are replaced, never changed, and so are shared."""
    copies = IpSets()
    for name, each in sets.items():
        copies[name] = replace(each, elements=dict(each.elements), levels=list(each.levels))
    return copies


def _in_order(names: Any) -> list[str]:
    """Sysctls in an order in which none undoes another: those that change others first."""
    return sorted(names, key=lambda name: (name != FORWARD, ".all." not in name and ".default." not in name, name))
