"""kube-proxy in iptables mode: the rules of one node, with kube-proxy's own chains, order, names and comments.

Compiling is pure; a `Compiler` remembers what it made. Nodes that choose the same endpoints get the same rules
as one object, others share the chains of every port on which they agree. Source: pkg/proxy/iptables/proxier.go. Must not know
how rules are put in force.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from itertools import chain, zip_longest
from operator import attrgetter

from emu.kernel.netfilter.layered import changed as layered
from emu.kernel.netfilter.matches.comment import Comment
from emu.kernel.netfilter.matches.conntrack import STATES, Conntrack
from emu.kernel.netfilter.matches.ip import Address, Ip
from emu.kernel.netfilter.matches.mark import Mark
from emu.kernel.netfilter.matches.nfacct import Nfacct
from emu.kernel.netfilter.nat_ports import PROTO_RANDOM_FULLY, NatRange
from emu.kernel.netfilter.ruleset import BUILT_IN, Chain, Edit, Rule, RuleSet
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
from emu.wire.addr import Prefix, ip4

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
    """The rules of one node: by table the chains that all ports share (with the built-in ones), and by port its own.

    `order` has the ports by their names. `changed` are those that differ from the rules whose `moment` is `since`. `owners`, by
    the name of lines: the port of each line of their shared chain.
    """

    __slots__ = ("_ruleset", "changed", "moment", "order", "owners", "ports", "shared", "since")

    def __init__(
        self,
        shared: Mapping[str, Mapping[str, Chain]],
        ports: Mapping[PortKey, PortRules],
        order: Sequence[PortKey] = (),
        owners: Mapping[str, Sequence[PortKey]] | None = None,
        since: object = None,
        changed: Iterable[PortKey] = (),
    ) -> None:
        self.shared, self.ports, self.order, self.owners = shared, ports, order, {} if owners is None else owners
        self.moment, self.since, self.changed = object(), since, changed
        self._ruleset: RuleSet | None = None

    @property
    def ruleset(self) -> RuleSet:
        """All of it, made when it is first wanted: a partial sync does without."""
        if self._ruleset is None:
            nat = dict(self.shared["nat"])
            for key in self.order:
                nat.update(self.ports[key].chains)
            self._ruleset = RuleSet({**self.shared, "nat": nat})
        return self._ruleset

    def differing(self, old: ProxyRules) -> Iterable[PortKey]:
        """The ports whose rules are not those of `old`, in order."""
        if self.since is old.moment:
            return self.changed
        keys = old.ports.keys() | self.ports.keys()
        return sorted(key for key in keys if old.ports.get(key) is not self.ports.get(key))


class _Port:
    """A service port with its endpoints, and the rules made of them so far."""

    __slots__ = ("_by_node", "_made", "_names", "_ranges", "_zones", "alike", "endpoints", "port")

    def __init__(self, port: ServicePort, endpoints: tuple[Endpoint, ...]) -> None:
        self.port, self.endpoints = port, endpoints
        self.alike = same_everywhere(port, endpoints)
        self._ranges = [Prefix.parse(text) for text in port.source_ranges]
        # the nodes and zones that endpoints name: all others choose alike
        self._names = {name for each in endpoints for name in (each.node, *each.node_hints)}
        self._zones = {zone for each in endpoints for zone in each.zone_hints}
        self._by_node: dict[tuple[str, str, PortConfig], PortRules] = {}
        self._made: dict[tuple[Chosen, PortConfig], PortRules] = {}

    def holds(self, port: ServicePort, endpoints: tuple[Endpoint, ...]) -> bool:
        """Whether this is a port with these endpoints still. Identity first: it is the usual case, and cheap."""
        return (self.port is port or self.port == port) and (self.endpoints is endpoints or self.endpoints == endpoints)

    def in_ranges(self, node_ip: str) -> bool:
        """Whether the node is itself a source that the Service's load balancer accepts."""
        return bool(self._ranges and node_ip) and any(ip4(node_ip) in prefix for prefix in self._ranges)

    def rules(self, config: ProxyConfig, configs: tuple[PortConfig, PortConfig]) -> PortRules:
        """One object for all nodes that choose the same. `configs`: for nodes outside and inside of the source ranges."""
        of_port = configs[self.in_ranges(config.node_ip)]
        node, zone = "", ""
        if not self.alike:
            node = config.node_name if config.node_name in self._names else ""
            zone = config.zone if config.zone in self._zones else ""
        found = self._by_node.get((node, zone, of_port))
        if found is None:
            chosen = choose(self.port, self.endpoints, node, zone)
            found = self._made.get((chosen, of_port))
            if found is None:
                found = self._made[chosen, of_port] = port_rules(self.port, chosen, of_port)
            self._by_node[node, zone, of_port] = found
        return found


# the chains that all ports write lines for: table, name, and which lines of a port
SHARED = (
    ("filter", names.SERVICES, "filter_services"),
    ("filter", names.EXTERNAL_SERVICES, "filter_external"),
    ("filter", names.NODE_PORTS, "filter_node_ports"),
    ("filter", names.PROXY_FIREWALL, "filter_firewall"),
    ("nat", names.SERVICES, "nat_services"),
    ("nat", names.NODE_PORTS, "nat_node_ports"),
)
NO_PORT = PortRules()


class Compiler:
    """Compiles for many nodes: what they have in common, and what did not change since the last snapshot, is made once."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._ports: dict[PortKey, _Port] = {}
        self._unlike: dict[PortKey, _Port] = {}  # those whose rules depend on the node
        # by the identity of what a configuration has in common with others, and of the rules of unlike ports
        self._nodes: dict[tuple[int, ...], ProxyRules] = {}
        self._latest: dict[int, ProxyRules] = {}  # the last ones made for this snapshot, by the first of these
        self._before: dict[int, ProxyRules] = {}  # and for the snapshot before
        self._to_check: AbstractSet[PortKey] = frozenset()  # where the rules may differ from those
        # by identity: a configuration, and what is common. Those of the last snapshot, and of the one before
        self._common: dict[int, tuple[ProxyConfig, ProxyConfig]] = {}
        self._was_common: dict[int, tuple[ProxyConfig, ProxyConfig]] = {}
        self._known: dict[ProxyConfig, ProxyConfig] = {}  # what is common, by its value
        self._for_ports: dict[int, tuple[PortConfig, PortConfig]] = {}  # by identity of what is common
        self._one: dict[tuple[Local | None, bool, bool, bool, bool], PortConfig] = {}

    def compile(self, snapshot: Snapshot, config: ProxyConfig) -> ProxyRules:
        """The rules of one node, one object for all nodes for which they are the same. Raises InputError."""
        if snapshot is not self._snapshot:
            self._turn_to(snapshot)
        common = self._without_node(config)
        if not self._unlike:
            key: tuple[int, ...] = (id(common),)
        else:
            configs = self._port_configs(common)
            key = id(common), *(id(port.rules(config, configs)) for port in self._unlike.values())
        found = self._nodes.get(key)
        if found is None:
            before = self._latest.get(id(common)) or self._before.get(id(common))
            found = self._nodes[key] = self._latest[id(common)] = self._node_rules(
                config, self._port_configs(common), before
            )
        return found

    def alike(self, snapshot: Snapshot) -> bool:
        """Whether no port's rules depend on the node."""
        if snapshot is not self._snapshot:
            self._turn_to(snapshot)
        return not self._unlike

    def _turn_to(self, snapshot: Snapshot) -> None:
        before = self._snapshot
        following = before is not None and before.moment is snapshot.changed.since
        keys = snapshot.changed.ports if following else snapshot.by_key.keys() | self._ports.keys()
        ports, changed = self._ports, set()
        for key in keys:
            port, known = snapshot.by_key.get(key), ports.get(key)
            if port is None:
                ports.pop(key, None)
                changed.add(key)
            elif known is None or not known.holds(port, snapshot.of_port(port)):
                ports[key] = _Port(port, snapshot.of_port(port))
                changed.add(key)
        self._snapshot = snapshot
        if changed or before is None or snapshot.large is not before.large:
            unlike = {*self._unlike, *(key for key in changed if key in ports and not ports[key].alike)}
            self._to_check = changed | unlike
            self._unlike = {key: ports[key] for key in sorted(unlike) if key in ports and not ports[key].alike}
            same_form = before is not None and snapshot.large is before.large
            self._before = self._latest if same_form else {}
            self._nodes, self._latest = {}, {}
            self._was_common, self._common, self._for_ports = self._common, {}, {}
            alive = {id(common): common for _, common in self._was_common.values()}
            self._known = {common: common for common in alive.values()}

    def _without_node(self, config: ProxyConfig) -> ProxyConfig:
        """What the rules depend on, but for unlike ports, as one object for all nodes for which it is the same."""
        found = self._common.get(id(config))
        if found is None:
            found = self._was_common.get(id(config))
            if found is None:
                common = _without_node(config)
                found = config, self._known.setdefault(common, common)
            self._common[id(config)] = found
        return found[1]

    def _port_configs(self, common: ProxyConfig) -> tuple[PortConfig, PortConfig]:
        """What port rules depend on, for nodes outside and inside of a Service's source ranges."""
        found = self._for_ports.get(id(common))
        if found is None:
            assert self._snapshot is not None
            counted = common.nfacct and common.loopback_node_ports()
            local, large = common.local(), self._snapshot.large
            outside, inside = ((local, common.masquerade_all, large, counted, within) for within in (False, True))
            found = self._port_config(outside), self._port_config(inside)
            self._for_ports[id(common)] = found
        return found

    def _port_config(self, values: tuple[Local | None, bool, bool, bool, bool]) -> PortConfig:
        return self._one.setdefault(values, PortConfig(*values))

    def _node_rules(
        self, config: ProxyConfig, configs: tuple[PortConfig, PortConfig], before: ProxyRules | None
    ) -> ProxyRules:
        there = self._ports
        assert self._snapshot is not None
        order = self._snapshot.order
        if before is None:
            made = {key: there[key].rules(config, configs) for key in order}
            of_lines = {lines: _owners(made, lines) for _, _, lines in SHARED}
            return ProxyRules(_fixed_chains(config, made), made, order, of_lines)
        checked = {key: there[key].rules(config, configs) if key in there else None for key in self._to_check}
        old, by_key = before.ports, layered(before.ports, checked)
        changed = sorted(key for key in self._to_check if old.get(key) is not by_key.get(key))
        shared = {table: dict(chains) for table, chains in before.shared.items()}
        owners: dict[str, Sequence[PortKey]] = {**before.owners}
        for table, name, lines in SHARED:
            unlike = [key for key in changed if not _read_alike(old.get(key, NO_PORT), by_key.get(key, NO_PORT), lines)]
            if unlike:
                found = _with_lines(before.shared[table][name], owners[lines], lines, by_key, unlike)
                shared[table][name], owners[lines] = found
        return ProxyRules(shared, by_key, order, owners, before.moment, changed)


def _read_alike(old: PortRules, new: PortRules, lines: str) -> bool:
    """Whether two ports have the same lines for a shared chain."""
    mine, theirs = getattr(old, lines), getattr(new, lines)
    return len(mine) == len(theirs) and all(map(_same, mine, theirs))


def _owners(ports: Mapping[PortKey, PortRules], lines: str) -> list[PortKey]:
    """The port of each line that ports, in their order, have for a shared chain."""
    return [key for key, port in ports.items() for _ in getattr(port, lines)]


def _with_lines(
    known: Chain, owners: Sequence[PortKey], lines: str, new: Mapping[PortKey, PortRules], changed: Iterable[PortKey]
) -> tuple[Chain, list[PortKey]]:
    """A shared chain with the lines that the ports that changed have now, and the port of each line. All other rules stay, and so
    does a line that reads as it did."""
    owners, edits, further = [*owners], list[Edit](), 0
    for key in changed:  # in the order of their places
        mine = getattr(new.get(key, NO_PORT), lines)
        at, until = bisect_left(owners, key), bisect_right(owners, key)
        there = known.lines[at - further : until - further][: len(mine)]
        kept = [
            before if before is not None and _same(before, line) else line for before, line in zip_longest(there, mine)
        ]
        edits.append(Edit(at, until, kept))
        owners[at:until] = [key] * len(mine)
        further += len(mine) - (until - at)
    return known.edited(edits), owners


def _same(known: Rule, line: Rule) -> bool:
    """Whether two rules of a chain read alike, wherever they stand."""
    return (known.matches is line.matches or known.matches == line.matches) and (
        known.target is line.target or known.target == line.target
    )


def _shared_chain(table: str, name: str, lines: str, config: ProxyConfig, ports: Mapping[PortKey, PortRules]) -> Chain:
    """A chain that all ports write lines for, from its beginning."""
    rules: list[Rule] = [*chain.from_iterable(map(attrgetter(lines), ports.values()))]
    if (table, name) == ("nat", names.SERVICES):
        rules += _node_ports_last(config)
    return Chain(name, "", rules)


def _fixed_chains(config: ProxyConfig, ports: Mapping[PortKey, PortRules]) -> dict[str, dict[str, Chain]]:
    """The chains that all ports share, by table."""
    mark = config.mark
    unmarked = rule("nat", names.POSTROUTING, Return(), Mark(mark, mark, True))
    clear = rule("nat", names.POSTROUTING, SetMark(mark, 0))
    comment = Comment("kubernetes service traffic requiring SNAT")
    masquerade = rule("nat", names.POSTROUTING, Masquerade(NatRange(flags=PROTO_RANDOM_FULLY)), comment)
    own = {
        "mangle": (),
        "filter": (
            Chain(names.FORWARD, "", tuple(_forward(config))),
            Chain(names.FIREWALL, "", tuple(_firewall(config))),
        ),
        "nat": (
            Chain(names.MARK_MASQ, "", (rule("nat", names.MARK_MASQ, SetMark(mark, mark)),)),
            Chain(names.POSTROUTING, "", (unmarked, clear, masquerade)),
        ),
    }
    found: dict[str, dict[str, Chain]] = {}
    for table, chains in own.items():
        shared = (_shared_chain(table, name, lines, config, ports) for where, name, lines in SHARED if where == table)
        both = (Chain(names.CANARY), *shared, *chains)
        found[table] = {**_base_chains(table), **{each.name: each for each in both}}
    return found


def _without_node(config: ProxyConfig) -> ProxyConfig:
    """What the rules depend on where every node chooses the same endpoints."""
    return config._replace(
        node_name="",
        zone="",
        node_ip=config.node_ip if config.node_port_addresses else "",
        node_addresses=config.node_addresses if config.node_port_addresses else (),
        pod_cidr=config.pod_cidr if config.detect_local_mode == "NodeCIDR" else "",
    )


@cache  # one object for all rules
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
