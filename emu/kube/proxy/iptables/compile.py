"""kube-proxy in iptables mode: the rules of one node, with kube-proxy's own chains, order, names and comments.

Compiling is pure; a `Compiler` remembers what it made. Nodes that choose the same endpoints get the same RuleSet
object, others share the chains of every port on which they agree. Source: pkg/proxy/iptables/proxier.go. Must not know
how rules are put in force.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from operator import is_

from emu.kernel.netfilter.matches.comment import Comment
from emu.kernel.netfilter.matches.conntrack import STATES, Conntrack
from emu.kernel.netfilter.matches.ip import Address, Ip
from emu.kernel.netfilter.matches.mark import Mark
from emu.kernel.netfilter.matches.nfacct import Nfacct
from emu.kernel.netfilter.nat_ports import PROTO_RANDOM_FULLY, NatRange
from emu.kernel.netfilter.ruleset import Chain, Rule, RuleSet
from emu.kernel.netfilter.targets import Jump
from emu.kernel.netfilter.targets.mark import Mark as SetMark
from emu.kernel.netfilter.targets.masquerade import Masquerade
from emu.kernel.netfilter.targets.verdicts import Accept, Drop, Return
from emu.kube.api.core import Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.proxy.config import Local, ProxyConfig
from emu.kube.proxy.iptables import names
from emu.kube.proxy.iptables.port_rules import (
    LOCAL_DESTINATION,
    LOOPBACK,
    PortConfig,
    PortRules,
    host,
    port_rules,
    rule,
)
from emu.kube.proxy.services import Chosen, Endpoint, PortKey, ServicePort, Snapshot, choose, same_everywhere

__all__ = ["Compiler", "ProxyConfig", "compile"]

INVALID_COUNTER = "ct_state_invalid_dropped_pkts"
_PORTALS = "kubernetes service portals"
_EXTERNAL = "kubernetes externally-visible service portals"
_FIREWALL = "kubernetes load balancer firewall"
_NODE_PORTS_LAST = "kubernetes service nodeports; NOTE: this must be the last rule in this chain"


def _state(*states: str, negated: bool = False) -> Conntrack:
    return Conntrack((sum(STATES[state] for state in states), negated), None, (), (), None, "")


_NEW = _state("NEW")
# (table, chain): the jumps in the order of a clean table (chain to, comment, only NEW)
BASE_JUMPS: dict[tuple[str, str], tuple[tuple[str, str, bool], ...]] = {
    ("filter", "INPUT"): (
        (names.FIREWALL, "", False),
        (names.PROXY_FIREWALL, _FIREWALL, True),
        (names.NODE_PORTS, "kubernetes health check service ports", False),
        (names.EXTERNAL_SERVICES, _EXTERNAL, True),
    ),
    ("filter", "FORWARD"): (
        (names.PROXY_FIREWALL, _FIREWALL, True),
        (names.FORWARD, "kubernetes forwarding rules", False),
        (names.SERVICES, _PORTALS, True),
        (names.EXTERNAL_SERVICES, _EXTERNAL, True),
    ),
    ("filter", "OUTPUT"): (
        (names.FIREWALL, "", False),
        (names.PROXY_FIREWALL, _FIREWALL, True),
        (names.SERVICES, _PORTALS, True),
    ),
    ("nat", "PREROUTING"): ((names.SERVICES, _PORTALS, False),),
    ("nat", "OUTPUT"): ((names.SERVICES, _PORTALS, False),),
    ("nat", "POSTROUTING"): ((names.POSTROUTING, "kubernetes postrouting rules", False),),
}


def compile(  # the design's word: a proxy compiles objects into rules
    services: Iterable[Service], endpoint_slices: Iterable[EndpointSlice], config: ProxyConfig
) -> RuleSet:
    """The rules of one node: tables filter, nat and mangle. Raises InputError."""
    return Compiler().compile(Snapshot.of(services, endpoint_slices), config)


class _Port:
    """A service port with its endpoints, and the rules made of them so far."""

    __slots__ = ("alike", "endpoints", "made", "port")

    def __init__(self, port: ServicePort, endpoints: tuple[Endpoint, ...]) -> None:
        self.port, self.endpoints = port, endpoints
        self.alike = same_everywhere(port, endpoints)
        self.made: dict[tuple[Chosen | None, PortConfig], PortRules] = {}

    def holds(self, port: ServicePort, endpoints: tuple[Endpoint, ...]) -> bool:
        """Whether this is a port with these endpoints still. Identity first: it is the usual case, and cheap."""
        return (self.port is port or self.port == port) and (self.endpoints is endpoints or self.endpoints == endpoints)

    def rules(self, config: ProxyConfig, of_port: PortConfig) -> PortRules:
        key: tuple[Chosen | None, PortConfig] = None, of_port
        if not self.alike:
            key = choose(self.port, self.endpoints, config.node_name, config.zone), of_port
        found = self.made.get(key)
        if found is None:
            chosen = key[0] or choose(self.port, self.endpoints, config.node_name, config.zone)
            found = self.made[key] = port_rules(self.port, chosen, of_port)
        return found


class Compiler:
    """Compiles for many nodes: what they have in common, and what did not change since the last snapshot, is made once."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._ports: dict[PortKey, _Port] = {}
        self._alike = True  # whether no port depends on the node
        self._nodes: dict[int, RuleSet] = {}  # by the number of a configuration
        self._before: dict[int, RuleSet] = {}  # of the snapshot before
        self._numbers: dict[ProxyConfig, int] = {}
        self._known: dict[str, tuple[ProxyConfig, int, int]] = {}  # by node: its configuration, and the numbers of that
        self._port_configs: dict[tuple[Local | None, bool, bool, bool, str], PortConfig] = {}

    def compile(self, snapshot: Snapshot, config: ProxyConfig) -> RuleSet:
        """As the function `compile`. Raises InputError."""
        if snapshot is not self._snapshot:
            self._turn_to(snapshot)
        number = self._number(config)
        found = self._nodes.get(number)
        if found is None:
            found = self._nodes[number] = self._node_rules(snapshot.large, config, self._before.get(number))
        return found

    def _number(self, config: ProxyConfig) -> int:
        """The number of what the rules depend on in a configuration. A node's configuration is usually the same object as
        before: it is compared by value once."""
        known = self._known.get(config.node_name)
        if known is None or known[0] is not config:
            shared, own = (
                self._numbers.setdefault(each, len(self._numbers)) for each in (_without_node(config), config)
            )
            known = self._known[config.node_name] = config, shared, own
        return known[1] if self._alike else known[2]

    def _turn_to(self, snapshot: Snapshot) -> None:
        before, self._ports = self._ports, {}
        for port in snapshot.ports:
            endpoints, known = snapshot.of_port(port), before.get(port.key)
            if known is None or not known.holds(port, endpoints):
                known = _Port(port, endpoints)
            self._ports[port.key] = known
        self._snapshot, self._alike = snapshot, all(port.alike for port in self._ports.values())
        self._before, self._nodes = self._nodes, {}

    def _port_config(self, config: ProxyConfig, large: bool, node_ip: str) -> PortConfig:
        counted = config.nfacct and config.loopback_node_ports()
        values = config.local(), config.masquerade_all, large, counted, node_ip
        return self._port_configs.setdefault(values, PortConfig(*values))

    def _node_rules(self, large: bool, config: ProxyConfig, before: RuleSet | None) -> RuleSet:
        usual, by_node = self._port_config(config, large, ""), self._port_config(config, large, config.node_ip)
        ports = [each.rules(config, by_node if each.port.source_ranges else usual) for each in self._ports.values()]
        made = {
            "mangle": {names.CANARY: Chain(names.CANARY)},
            "filter": _filter(ports, config, before),
            "nat": _nat(ports, config, before),
        }
        return RuleSet.of(made)


def _without_node(config: ProxyConfig) -> ProxyConfig:
    """What the rules depend on where every node chooses the same endpoints."""
    return replace(
        config,
        node_name="",
        zone="",
        node_ip=config.node_ip if config.node_port_addresses else "",
        node_addresses=config.node_addresses if config.node_port_addresses else (),
        pod_cidr=config.pod_cidr if config.detect_local_mode == "NodeCIDR" else "",
    )


def _base_chains(table: str) -> dict[str, Chain]:
    chains = {}
    for (where, name), jumps in BASE_JUMPS.items():
        if where == table:
            rules = []
            for to, comment, new in jumps:
                parts = ((_NEW,) if new else ()) + ((Comment(comment),) if comment else ())
                rules.append(rule(table, name, Jump(to), *parts))
            chains[name] = Chain(name, "ACCEPT", tuple(rules))
    return chains


def _shared(table: str, name: str, rules: Iterable[Rule], before: RuleSet | None) -> dict[str, Chain]:
    """A chain that all ports share. What stays at its place since `before` is the same rule, and if all of it does the
    same chain."""
    new = tuple(rules)
    old = before.chain(table, name) if before is not None else None
    if old is not None:
        new = tuple(map(_again, new, old.rules)) + new[len(old.rules) :]
        if len(new) == len(old.rules) and all(map(is_, new, old.rules)):
            return {name: old}
    return {name: Chain(name, "", new)}


def _again(new: Rule, old: Rule) -> Rule:
    return old if new.matches is old.matches and new.target is old.target else new


def _filter(ports: list[PortRules], config: ProxyConfig, before: RuleSet | None) -> dict[str, Chain]:
    def shared(name: str, rules: Iterable[Rule]) -> dict[str, Chain]:
        return _shared("filter", name, rules, before)

    return {
        **_base_chains("filter"),
        names.CANARY: Chain(names.CANARY),
        **shared(names.SERVICES, (line for port in ports for line in port.filter_services)),
        **shared(names.EXTERNAL_SERVICES, (line for port in ports for line in port.filter_external)),
        **shared(names.NODE_PORTS, (line for port in ports for line in port.filter_node_ports)),
        **shared(names.PROXY_FIREWALL, (line for port in ports for line in port.filter_firewall)),
        **shared(names.FORWARD, _forward(config)),
        **shared(names.FIREWALL, _firewall(config)),
    }


def _forward(config: ProxyConfig) -> list[Rule]:
    rules = []
    if not config.tcp_be_liberal:
        counter = (Nfacct(INVALID_COUNTER),) if config.nfacct else ()
        rules.append(rule("filter", names.FORWARD, Drop(), _state("INVALID"), *counter))
    marked = Mark(config.mark, config.mark, False)
    rules.append(rule("filter", names.FORWARD, Accept(), Comment("kubernetes forwarding rules"), marked))
    known = _state("RELATED", "ESTABLISHED")
    rules.append(rule("filter", names.FORWARD, Accept(), Comment("kubernetes forwarding conntrack rule"), known))
    return rules


def _firewall(config: ProxyConfig) -> list[Rule]:
    if not config.loopback_node_ports():
        return []
    not_loopback = Address(LOOPBACK.addr, LOOPBACK.mask, negated=True)
    comment = Comment("block incoming localnet connections")
    unknown = _state("RELATED", "ESTABLISHED", "DNAT", negated=True)
    return [rule("filter", names.FIREWALL, Drop(), Ip(src=not_loopback, dst=LOOPBACK), comment, unknown)]


def _nat(ports: list[PortRules], config: ProxyConfig, before: RuleSet | None) -> dict[str, Chain]:
    def shared(name: str, rules: Iterable[Rule]) -> dict[str, Chain]:
        return _shared("nat", name, rules, before)

    services = [line for port in ports for line in port.nat_services] + _node_ports_last(config)
    mark = config.mark
    unmarked = rule("nat", names.POSTROUTING, Return(), Mark(mark, mark, True))
    clear = rule("nat", names.POSTROUTING, SetMark(mark, 0))
    comment = Comment("kubernetes service traffic requiring SNAT")
    masquerade = rule("nat", names.POSTROUTING, Masquerade(NatRange(flags=PROTO_RANDOM_FULLY)), comment)
    chains = {
        **_base_chains("nat"),
        names.CANARY: Chain(names.CANARY),
        **shared(names.SERVICES, services),
        **shared(names.NODE_PORTS, (line for port in ports for line in port.nat_node_ports)),
        **shared(names.MARK_MASQ, [rule("nat", names.MARK_MASQ, SetMark(mark, mark))]),
        **shared(names.POSTROUTING, [unmarked, clear, masquerade]),
    }
    for port in ports:
        chains.update(port.chains)
    return chains


def _node_ports_last(config: ProxyConfig) -> list[Rule]:
    comment, jump = Comment(_NODE_PORTS_LAST), Jump(names.NODE_PORTS)
    ips = config.node_port_ips()
    if ips is not None:
        return [rule("nat", names.SERVICES, jump, Ip(dst=host(ip)), comment) for ip in ips]
    if config.loopback_node_ports():
        return [rule("nat", names.SERVICES, jump, comment, LOCAL_DESTINATION)]
    not_loopback = Address(LOOPBACK.addr, LOOPBACK.mask, negated=True)
    return [rule("nat", names.SERVICES, jump, Ip(dst=not_loopback), comment, LOCAL_DESTINATION)]
