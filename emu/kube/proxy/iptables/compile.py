"""kube-proxy in iptables mode: the rules of one node, with kube-proxy's own chains, order, names and comments.

Compiling is pure; a `Compiler` remembers what it made. Nodes that choose the same endpoints get the same rules
as one object, others share the chains of every port on which they agree. Source: pkg/proxy/iptables/proxier.go. Must not know
how rules are put in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import zip_longest
from operator import is_

from emu.kernel.netfilter.matches.comment import Comment
from emu.kernel.netfilter.matches.conntrack import STATES, Conntrack
from emu.kernel.netfilter.matches.ip import Address, Ip
from emu.kernel.netfilter.matches.mark import Mark
from emu.kernel.netfilter.matches.nfacct import Nfacct
from emu.kernel.netfilter.nat_ports import PROTO_RANDOM_FULLY, NatRange
from emu.kernel.netfilter.ruleset import BUILT_IN, Chain, Rule, RuleSet
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

__all__ = ["Compiler", "ProxyConfig", "ProxyRules", "compile"]

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
    return Compiler().compile(Snapshot.of(services, endpoint_slices), config).ruleset


class ProxyRules:
    """The rules of one node: by table the chains that all ports share (with the built-in ones), and by port its own."""

    __slots__ = ("_ruleset", "ports", "shared")

    def __init__(self, shared: Mapping[str, Mapping[str, Chain]], ports: Mapping[PortKey, PortRules]) -> None:
        self.shared, self.ports = shared, ports
        self._ruleset: RuleSet | None = None

    @property
    def ruleset(self) -> RuleSet:
        """All of it, made when it is first wanted: a partial sync does without."""
        if self._ruleset is None:
            nat = dict(self.shared["nat"])
            for port in self.ports.values():
                nat.update(port.chains)
            self._ruleset = RuleSet({**self.shared, "nat": nat})
        return self._ruleset


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
        self._nodes: dict[int, ProxyRules] = {}  # by the identity of a key: hashing a whole configuration costs more
        self._lines: dict[tuple[str, str], Chain] = {}  # shared chains as they were made last, by table and name
        self._keys: dict[int, tuple[ProxyConfig, ProxyConfig]] = {}  # by identity: a config, and what is common
        self._known: dict[ProxyConfig, ProxyConfig] = {}
        self._port_configs: dict[tuple[Local | None, bool, bool, bool, str], PortConfig] = {}

    def compile(self, snapshot: Snapshot, config: ProxyConfig) -> ProxyRules:
        """The rules of one node, one object for all nodes for which they are the same. Raises InputError."""
        if snapshot is not self._snapshot:
            self._turn_to(snapshot)
        key = self._key(config)
        found = self._nodes.get(id(key))
        if found is None:
            found = self._nodes[id(key)] = self._node_rules(snapshot.large, config)
        return found

    def _turn_to(self, snapshot: Snapshot) -> None:
        before, self._ports = self._ports, {}
        for port in snapshot.ports:
            endpoints, known = snapshot.of_port(port), before.get(port.key)
            if known is None or not known.holds(port, endpoints):
                known = _Port(port, endpoints)
            self._ports[port.key] = known
        was_large = self._snapshot is not None and self._snapshot.large
        self._snapshot, self._alike = snapshot, all(port.alike for port in self._ports.values())
        same = len(before) == len(self._ports) and all(map(is_, before.values(), self._ports.values()))
        if not same or snapshot.large is not was_large:
            self._nodes = {}

    def _key(self, config: ProxyConfig) -> ProxyConfig:
        """What the rules depend on, as one object for all nodes for which it is the same."""
        known = self._keys.get(id(config))
        if known is None:
            common = _without_node(config)
            known = self._keys[id(config)] = config, self._known.setdefault(common, common)
        return known[1] if self._alike else known[0]

    def _port_config(self, config: ProxyConfig, large: bool, node_ip: str) -> PortConfig:
        counted = config.nfacct and config.loopback_node_ports()
        values = config.local(), config.masquerade_all, large, counted, node_ip
        return self._port_configs.setdefault(values, PortConfig(*values))

    def _node_rules(self, large: bool, config: ProxyConfig) -> ProxyRules:
        usual, by_node = self._port_config(config, large, ""), self._port_config(config, large, config.node_ip)
        by_key = {
            key: each.rules(config, by_node if each.port.source_ranges else usual) for key, each in self._ports.items()
        }
        ports = [*by_key.values()]
        mangle = {**_base_chains("mangle"), names.CANARY: Chain(names.CANARY)}
        shared = {"mangle": mangle, "filter": self._filter(ports, config), "nat": self._nat(ports, config)}
        return ProxyRules(shared, by_key)

    def _filter(self, ports: list[PortRules], config: ProxyConfig) -> dict[str, Chain]:
        services = [line for port in ports for line in port.filter_services]
        external = [line for port in ports for line in port.filter_external]
        node_ports = [line for port in ports for line in port.filter_node_ports]
        firewall = [line for port in ports for line in port.filter_firewall]
        chains = (
            Chain(names.CANARY),
            self._chain("filter", names.SERVICES, services),
            self._chain("filter", names.EXTERNAL_SERVICES, external),
            self._chain("filter", names.NODE_PORTS, node_ports),
            self._chain("filter", names.PROXY_FIREWALL, firewall),
            Chain(names.FORWARD, "", tuple(_forward(config))),
            Chain(names.FIREWALL, "", tuple(_firewall(config))),
        )
        return {**_base_chains("filter"), **{chain.name: chain for chain in chains}}

    def _nat(self, ports: list[PortRules], config: ProxyConfig) -> dict[str, Chain]:
        services = [line for port in ports for line in port.nat_services] + _node_ports_last(config)
        node_ports = [line for port in ports for line in port.nat_node_ports]
        mark = config.mark
        unmarked = rule("nat", names.POSTROUTING, Return(), Mark(mark, mark, True))
        clear = rule("nat", names.POSTROUTING, SetMark(mark, 0))
        comment = Comment("kubernetes service traffic requiring SNAT")
        masquerade = rule("nat", names.POSTROUTING, Masquerade(NatRange(flags=PROTO_RANDOM_FULLY)), comment)
        shared = (
            Chain(names.CANARY),
            self._chain("nat", names.SERVICES, services),
            self._chain("nat", names.NODE_PORTS, node_ports),
            Chain(names.MARK_MASQ, "", (rule("nat", names.MARK_MASQ, SetMark(mark, mark)),)),
            Chain(names.POSTROUTING, "", (unmarked, clear, masquerade)),
        )
        return {**_base_chains("nat"), **{chain.name: chain for chain in shared}}

    def _chain(self, table: str, name: str, lines: list[Rule]) -> Chain:
        """A chain that all ports share. A line that stands where it stood before is that rule, and a chain whose lines
        all do is that chain: numbering 1,000 lines anew costs more than finding them."""
        before = self._lines.get((table, name))
        old = () if before is None else before.rules
        rules = tuple(
            known if known is not None and _same(known, line) else line
            for known, line in zip_longest(old[: len(lines)], lines)
        )
        if before is not None and len(old) == len(rules) and all(map(is_, old, rules)):
            return before
        made = self._lines[table, name] = Chain(name, "", rules)
        return made


def _same(known: Rule, line: Rule) -> bool:
    """Whether two rules of a chain read alike, wherever they stand."""
    return (known.matches is line.matches or known.matches == line.matches) and known.target == line.target


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
    """Every built-in chain of a table, with kube-proxy's jumps."""
    chains = {}
    for name in BUILT_IN[table]:
        rules = []
        for to, comment, new in BASE_JUMPS.get((table, name), ()):
            parts = ((_NEW,) if new else ()) + ((Comment(comment),) if comment else ())
            rules.append(rule(table, name, Jump(to), *parts))
        chains[name] = Chain(name, "ACCEPT", tuple(rules))
    return chains


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


def _node_ports_last(config: ProxyConfig) -> list[Rule]:
    comment, jump = Comment(_NODE_PORTS_LAST), Jump(names.NODE_PORTS)
    ips = config.node_port_ips()
    if ips is not None:
        return [rule("nat", names.SERVICES, jump, Ip(dst=host(ip)), comment) for ip in ips]
    if config.loopback_node_ports():
        return [rule("nat", names.SERVICES, jump, comment, LOCAL_DESTINATION)]
    not_loopback = Address(LOOPBACK.addr, LOOPBACK.mask, negated=True)
    return [rule("nat", names.SERVICES, jump, Ip(dst=not_loopback), comment, LOCAL_DESTINATION)]
