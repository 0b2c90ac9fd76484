"""The iptables rules of one service port: its own chains, and its lines in the chains that all ports share.

One value for all nodes whose rules for the port are equal. Source: pkg/proxy/iptables/proxier.go, syncProxyRules.
Must not know nodes' tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from emu.fork import itself
from emu.kernel.netfilter.matches import Match
from emu.kernel.netfilter.matches.addrtype import Addrtype
from emu.kernel.netfilter.matches.comment import Comment
from emu.kernel.netfilter.matches.ip import ALL_ONES, Address, Ip
from emu.kernel.netfilter.matches.nfacct import Nfacct
from emu.kernel.netfilter.matches.ports import Ports
from emu.kernel.netfilter.matches.recent import Recent
from emu.kernel.netfilter.matches.sctp import Sctp
from emu.kernel.netfilter.matches.statistic import Statistic, probability
from emu.kernel.netfilter.matches.tcp import Tcp
from emu.kernel.netfilter.matches.udp import Udp
from emu.kernel.netfilter.nat_ports import NatRange
from emu.kernel.netfilter.ruleset import Chain, Rule
from emu.kernel.netfilter.targets import Jump, Target
from emu.kernel.netfilter.targets.nat import Dnat
from emu.kernel.netfilter.targets.reject import Reject
from emu.kernel.netfilter.targets.verdicts import Accept, Drop
from emu.kube.proxy.config import Local
from emu.kube.proxy.iptables import names
from emu.kube.proxy.services import Chosen, Endpoint, ServicePort
from emu.wire.addr import Prefix, ip4, mask
from emu.wire.proto import PROTOCOLS

LOCAL_DESTINATION = Addrtype(None, (frozenset(("LOCAL",)), False), "")
LOCAL_SOURCE = Addrtype((frozenset(("LOCAL",)), False), None, "")
LOOPBACK = Address(ip4("127.0.0.0"), mask(8))
LOCALHOST_COUNTER = "localhost_nps_accepted_pkts"

TO_MARK_MASQ = Jump(names.MARK_MASQ)


@dataclass(frozen=True, slots=True, eq=False)
class PortConfig:
    """What the rules of a port depend on in a node's configuration. Compared by identity: equal ones are one object."""

    local: Local | None
    masquerade_all: bool
    large: bool
    localhost_counter: bool
    in_ranges: bool  # the node is itself a source that the load balancer accepts


class PortRules:
    """`chains` of the nat table, and the lines for shared chains, in order (their numbers are not set). Never changed after
    it is made."""

    __slots__ = (
        "chains",
        "filter_external",
        "filter_firewall",
        "filter_node_ports",
        "filter_services",
        "nat_node_ports",
        "nat_services",
    )
    __deepcopy__: ClassVar[Any] = itself  # else compiled code makes it an attribute of each object

    def __init__(self) -> None:
        self.chains: dict[str, Chain] = {}
        self.nat_services: list[Rule] = []
        self.nat_node_ports: list[Rule] = []
        self.filter_services: list[Rule] = []
        self.filter_external: list[Rule] = []
        self.filter_node_ports: list[Rule] = []
        self.filter_firewall: list[Rule] = []


def rule(table: str, chain: str, target: Target | None, *matches: Match, number: int = 0) -> Rule:
    """A rule of these matches; its basics first, if it has any."""
    kept = tuple(match for match in matches if not (isinstance(match, Ip) and match == Ip()))
    comment = next((match.text for match in kept if isinstance(match, Comment)), "")
    return Rule(table, chain, number, kept, target, comment)


def host(text: str) -> Address:
    return Address(ip4(text), ALL_ONES)


def local_traffic(local: Local, dst: Address | None = None, proto: int = 0, *, negated: bool = False) -> Ip:
    """A rule's basics that hold for traffic of local pods, or for all other traffic (`negated`)."""
    src = None if local.src is None else Address(local.src.net, mask(local.src.length), negated)
    return Ip(src, dst, (local.indev, negated) if local.indev else None, proto=proto)


def transport(protocol: str, dport: int | None = None) -> Match:
    """`-m tcp [--dport N]` and its like."""
    ports = None if dport is None else Ports(dport, dport, False)
    if protocol == "TCP":
        return Tcp(None, ports, None)
    return Udp(None, ports) if protocol == "UDP" else Sctp(None, ports)


class _NatChain:
    """A chain of the nat table being written."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rules: list[Rule] = []

    def add(self, target: Target | None, *matches: Match) -> None:
        self.rules.append(rule("nat", self.name, target, *matches, number=len(self.rules) + 1))

    def done(self) -> Chain:
        return Chain(self.name, "", tuple(self.rules))


def port_rules(port: ServicePort, chosen: Chosen, config: PortConfig) -> PortRules:
    """All rules that one service port needs."""
    return _Writer(port, chosen, config).write()


class _Writer:
    def __init__(self, port: ServicePort, chosen: Chosen, config: PortConfig) -> None:
        self.port, self.chosen, self.config = port, chosen, config
        self.name = str(port.key)
        self.protocol = port.key.protocol
        self.proto = PROTOCOLS[self.protocol.lower()]
        tail = names.service_hash(self.name, self.protocol)
        self.svc, self.svl = f"KUBE-SVC-{tail}", f"KUBE-SVL-{tail}"
        self.ext, self.fw = f"KUBE-EXT-{tail}", f"KUBE-FW-{tail}"
        self.inside = self.svl if port.internal_local else self.svc
        self.firewalled = bool(chosen.any and port.vips and port.source_ranges)
        self.out = PortRules()

    def write(self) -> PortRules:
        self._cluster_ip()
        self._external()
        self._health_check()
        port, chosen = self.port, self.chosen
        if chosen.any and port.externally_accessible:
            self._external_chain()
        if self.firewalled:
            self._firewall_chain()
        if port.uses_cluster and chosen.cluster:
            self._policy_chain(self.svc, chosen.cluster)
        if port.uses_local and chosen.local:
            self._policy_chain(self.svl, chosen.local)
        for endpoint in chosen.reachable:
            self._endpoint_chain(endpoint)
        return self.out

    def _front(self, ip: str) -> Ip:
        return Ip(dst=host(ip), proto=self.proto)

    def _refusal(self) -> tuple[Target, Comment]:
        if self.chosen.any:
            return Drop(), Comment(f"{self.name} has no local endpoints")
        return Reject("icmp-port-unreachable"), Comment(f"{self.name} has no endpoints")

    def _cluster_ip(self) -> None:
        port = self.port
        to_port = transport(self.protocol, port.port)
        if self.chosen.internal:
            comment = Comment(f"{self.name} cluster IP")
            made = rule("nat", names.SERVICES, Jump(self.inside), self._front(port.cluster_ip), comment, to_port)
            self.out.nat_services.append(made)
        else:
            target, comment = self._refusal()
            made = rule("filter", names.SERVICES, target, self._front(port.cluster_ip), comment, to_port)
            self.out.filter_services.append(made)

    def _external(self) -> None:
        """External IPs, load balancer VIPs and the NodePort, in the nat and in the filter table."""
        port, out = self.port, self.out
        to_port, to_node_port = transport(self.protocol, port.port), transport(self.protocol, port.node_port)
        if self.chosen.any:
            for ip in port.external_ips:
                comment = Comment(f"{self.name} external IP")
                made = rule("nat", names.SERVICES, Jump(self.ext), self._front(ip), comment, to_port)
                out.nat_services.append(made)
            for ip in port.vips:
                comment = Comment(f"{self.name} loadbalancer IP")
                target = Jump(self.fw if self.firewalled else self.ext)
                out.nat_services.append(rule("nat", names.SERVICES, target, self._front(ip), comment, to_port))
                if self.firewalled:
                    comment = Comment(f"{self.name} traffic not accepted by {self.fw}")
                    made = rule("filter", names.PROXY_FIREWALL, Drop(), self._front(ip), comment, to_port)
                    out.filter_firewall.append(made)
            if port.node_port:
                comment, jump = Comment(self.name), Jump(self.ext)
                if self.config.localhost_counter:
                    basics, counter = Ip(dst=LOOPBACK, proto=self.proto), Nfacct(LOCALHOST_COUNTER)
                    made = rule("nat", names.NODE_PORTS, jump, basics, comment, to_node_port, counter)
                    out.nat_node_ports.append(made)
                made = rule("nat", names.NODE_PORTS, jump, Ip(proto=self.proto), comment, to_node_port)
                out.nat_node_ports.append(made)
        if not self.chosen.external:
            refusal, comment = self._refusal()
            for ip in (*port.external_ips, *port.vips):
                made = rule("filter", names.EXTERNAL_SERVICES, refusal, self._front(ip), comment, to_port)
                out.filter_external.append(made)
            if port.node_port:
                basics, parts = Ip(proto=self.proto), (comment, LOCAL_DESTINATION, to_node_port)
                out.filter_external.append(rule("filter", names.EXTERNAL_SERVICES, refusal, basics, *parts))

    def _health_check(self) -> None:
        port = self.port.health_check_node_port
        if port:
            comment = Comment(f"{self.name} health check node port")
            parts = (Ip(proto=6), comment, transport("TCP", port))
            self.out.filter_node_ports.append(rule("filter", names.NODE_PORTS, Accept(), *parts))

    def _external_chain(self) -> None:
        chain, port = _NatChain(self.ext), self.port
        where = f"{self.name} external destinations"
        if not port.external_local:
            chain.add(TO_MARK_MASQ, Comment(f"masquerade traffic for {where}"))
        else:
            if self.config.local is not None:
                chain.add(Jump(self.svc), local_traffic(self.config.local), Comment(f"pod traffic for {where}"))
            chain.add(TO_MARK_MASQ, Comment(f"masquerade LOCAL traffic for {where}"), LOCAL_SOURCE)
            chain.add(Jump(self.svc), Comment(f"route LOCAL traffic for {where}"), LOCAL_SOURCE)
        if self.chosen.external:
            chain.add(Jump(self.svl if port.external_local else self.svc))
        self._keep(chain)

    def _firewall_chain(self) -> None:
        chain, port = _NatChain(self.fw), self.port
        comment = Comment(f"{self.name} loadbalancer IP")
        ranges = [Prefix.parse(text) for text in port.source_ranges]
        for prefix in ranges:
            source = Address(prefix.net, mask(prefix.length)) if prefix.length else None
            chain.add(Jump(self.ext), Ip(src=source), comment)
        if self.config.in_ranges:
            # the node reaches a VIP that it holds itself with the VIP as source
            for ip in port.vips:
                chain.add(Jump(self.ext), Ip(src=host(ip)), comment)
        chain.add(None, Comment(f"other traffic to {self.name} will be dropped by {names.PROXY_FIREWALL}"))
        self._keep(chain)

    def _policy_chain(self, name: str, endpoints: tuple[Endpoint, ...]) -> None:
        chain, port = _NatChain(name), self.port
        if name == self.inside:
            basics = self._masqueraded()
            if basics is not None:
                comment = Comment(f"{self.name} cluster IP")
                chain.add(TO_MARK_MASQ, basics, comment, transport(self.protocol, port.port))
        if port.affinity_s:
            for endpoint in endpoints:
                sep = self._sep(endpoint)
                seen = Recent("rcheck", False, port.affinity_s, True, 0, False, sep, ALL_ONES, False)
                chain.add(Jump(sep), *self._arrow(endpoint), seen)
        for at, endpoint in enumerate(endpoints):
            left = len(endpoints) - at
            chance = () if left == 1 else (Statistic("random", probability(names.probability(left)), 0, False),)
            chain.add(Jump(self._sep(endpoint)), *self._arrow(endpoint), *chance)
        self._keep(chain)

    def _masqueraded(self) -> Ip | None:
        """Which traffic to the cluster IP is masqueraded, if any."""
        dst = host(self.port.cluster_ip)
        if self.config.masquerade_all:
            return Ip(dst=dst, proto=self.proto)
        local = self.config.local
        return None if local is None else local_traffic(local, dst, self.proto, negated=True)

    def _arrow(self, endpoint: Endpoint) -> Iterator[Match]:
        if not self.config.large:
            yield Comment(f"{self.name} -> {endpoint}")

    def _sep(self, endpoint: Endpoint) -> str:
        return f"KUBE-SEP-{names.endpoint_hash(self.name, self.protocol, str(endpoint))}"

    def _endpoint_chain(self, endpoint: Endpoint) -> None:
        chain = _NatChain(self._sep(endpoint))
        comment = () if self.config.large else (Comment(self.name),)
        chain.add(TO_MARK_MASQ, Ip(src=host(endpoint.ip)), *comment)
        seen = (Recent("set", False, 0, False, 0, False, chain.name, ALL_ONES, False),) if self.port.affinity_s else ()
        target = Dnat(NatRange.of(ip4(endpoint.ip), min_port=endpoint.port))
        chain.add(target, Ip(proto=self.proto), *comment, *seen, transport(self.protocol))
        self._keep(chain)

    def _keep(self, chain: _NatChain) -> None:
        self.out.chains[chain.name] = chain.done()
