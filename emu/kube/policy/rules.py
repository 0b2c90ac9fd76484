"""Policies of every kind in one form: whom they bind, and rules of peers and ports that are asked in order.

A NetworkPolicy's rules all allow, a cluster policy's have an action. What no rule of a NetworkPolicy allows is denied by
the fact that the policy selects the pod (`verdict.py`). Must not know the cluster's pods.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from emu.kube.api.addresses import network_of
from emu.kube.api.admin_policy import AdminNetworkPolicy, BaselineAdminNetworkPolicy
from emu.kube.api.cluster_policy import (
    ClusterNetworkPolicy,
    ClusterPolicyEgressRule,
    ClusterPolicyIngressRule,
    ClusterPolicyPeer,
    ClusterPolicyProtocol,
)
from emu.kube.api.meta import LabelSelector
from emu.kube.api.networking import (
    NetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)
from emu.kube.policy.ends import End, NamedPort, PodEnd

ClusterPolicy = ClusterNetworkPolicy | AdminNetworkPolicy | BaselineAdminNetworkPolicy
AnyPolicy = NetworkPolicy | ClusterPolicy
Way = Literal["ingress", "egress"]
WAYS: tuple[Way, Way] = ("ingress", "egress")
ACCEPT, DENY, PASS = "Accept", "Deny", "Pass"


class Net(NamedTuple):
    """Addresses of `width` bits whose first `length` bits are those of `net`."""

    net: int
    length: int
    width: int

    def has(self, end: End) -> bool:
        return end.width == self.width and end.addr >> (self.width - self.length) == self.net >> (
            self.width - self.length
        )

    @classmethod
    def parse(cls, text: str) -> Net:
        """Raises ValueError."""
        found = network_of(text)
        if found is None:
            raise ValueError(f"{text!r} is not a CIDR")
        return cls(int(found.network_address), found.prefixlen, found.max_prefixlen)


class Pods(NamedTuple):
    """Pods that `pods` selects, in one `namespace`, or in those that `namespaces` selects (`namespace` ""). `whole`: a peer that states
    namespaces alone, and means all of their pods."""

    namespace: str
    namespaces: LabelSelector
    pods: LabelSelector
    whole: bool = False

    def has(self, end: End) -> bool:
        return end.pod is not None and self.selects(end.pod)

    def selects(self, pod: PodEnd) -> bool:
        if self.namespace:
            return pod.namespace == self.namespace and self.pods.matches(pod.labels)
        return self.namespaces.matches(pod.namespace_labels) and self.pods.matches(pod.labels)


class Block(NamedTuple):
    """An ipBlock: every address of `net` that is in none of `holes`, also those of pods and nodes."""

    net: Net
    holes: tuple[Net, ...]

    def has(self, end: End) -> bool:
        return self.net.has(end) and not any(hole.has(end) for hole in self.holes)


class Nets(NamedTuple):
    """The `networks` of a cluster policy."""

    nets: tuple[Net, ...]

    def has(self, end: End) -> bool:
        return any(net.has(end) for net in self.nets)


class Nodes(NamedTuple):
    """The addresses of nodes, and so hostNetwork pods."""

    nodes: LabelSelector

    def has(self, end: End) -> bool:
        return end.node is not None and self.nodes.matches(end.node.labels)


class Domains(NamedTuple):
    """Names in lower case without the last dot; `*.` stands for one or more labels."""

    names: tuple[str, ...]

    def has(self, end: End) -> bool:
        return any(_named(wanted, name.lower().rstrip(".")) for wanted in self.names for name in end.names)


def _named(wanted: str, name: str) -> bool:
    return name.endswith(wanted[1:]) and len(name) >= len(wanted) if wanted.startswith("*.") else name == wanted


class Unknown(NamedTuple):
    """A peer of a kind that is not known: it matches `everything`, or nothing."""

    everything: bool

    def has(self, end: End) -> bool:
        return self.everything


Peer = Pods | Block | Nets | Nodes | Domains | Unknown


class Ports(NamedTuple):
    """Destination ports: of a `protocol` ("": each) from `first` to `last`, or by a `name` of the destination pod."""

    protocol: str
    first: int = 0
    last: int = 65535
    name: str = ""

    def has(self, protocol: str, port: int, destination: End) -> bool:
        if self.protocol and protocol != self.protocol:
            return False
        if self.name:
            pod = destination.pod
            return pod is not None and any(each.number == port and each.protocol == protocol for each in self.of(pod))
        return self.first <= port <= self.last

    def of(self, pod: PodEnd) -> list[NamedPort]:
        """The ports of a pod that bear the name."""
        return [each for each in pod.ports if each.name == self.name and self.protocol in ("", each.protocol)]


class Rule(NamedTuple):
    """Rule `number` of a policy's direction, counted from 0. `peers` None: everyone. `ports` None: every port of every protocol."""

    number: int
    action: str
    peers: tuple[Peer, ...] | None
    ports: tuple[Ports, ...] | None


class Policy(NamedTuple):
    """A policy compiled: `tier` is Admin, "" for a NetworkPolicy, or Baseline; `rules` has the directions in which it acts on the pods
    of `subject`."""

    kind: str
    namespace: str
    name: str
    tier: str
    priority: int
    subject: Pods
    rules: dict[Way, tuple[Rule, ...]]

    @property
    def order(self) -> tuple[int, str, str]:
        """The place in its tier. Two of one priority are asked by their names; the API leaves that open."""
        return self.priority, self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind} {f'{self.namespace}/' if self.namespace else ''}{self.name}"


_ALL = LabelSelector()


def compiled(policy: AnyPolicy) -> Policy:
    """The policy in the common form."""
    if isinstance(policy, NetworkPolicy):
        return _network_policy(policy)
    kind = policy.kind
    made = policy if isinstance(policy, ClusterNetworkPolicy) else policy.translated()
    spec, subject = made.spec, made.spec.subject
    if subject.pods is not None:
        bound = Pods("", subject.pods.namespace_selector, subject.pods.pod_selector)
    else:
        bound = Pods("", subject.namespaces or _ALL, _ALL)
    rules: dict[Way, tuple[Rule, ...]] = {}
    if spec.ingress:
        rules["ingress"] = tuple(_cluster_rule(i, rule, rule.from_) for i, rule in enumerate(spec.ingress))
    if spec.egress:
        rules["egress"] = tuple(_cluster_rule(i, rule, rule.to) for i, rule in enumerate(spec.egress))
    return Policy(kind, "", policy.name, spec.tier, spec.priority, bound, rules)


def _network_policy(policy: NetworkPolicy) -> Policy:
    spec, own = policy.spec, policy.namespace
    rules: dict[Way, tuple[Rule, ...]] = {}
    if "Ingress" in policy.directions:
        rules["ingress"] = tuple(_rule(i, rule, rule.from_, own) for i, rule in enumerate(spec.ingress))
    if "Egress" in policy.directions:
        rules["egress"] = tuple(_rule(i, rule, rule.to, own) for i, rule in enumerate(spec.egress))
    return Policy(policy.kind, own, policy.name, "", 0, Pods(own, _ALL, spec.pod_selector), rules)


def _rule(
    number: int,
    rule: NetworkPolicyIngressRule | NetworkPolicyEgressRule,
    peers: Iterable[NetworkPolicyPeer],
    namespace: str,
) -> Rule:
    ports = tuple(map(_port, rule.ports)) or None
    return Rule(number, ACCEPT, tuple(_peer(peer, namespace) for peer in peers) or None, ports)


def _peer(peer: NetworkPolicyPeer, namespace: str) -> Peer:
    if peer.ip_block is not None:
        return Block(Net.parse(peer.ip_block.cidr), tuple(map(Net.parse, peer.ip_block.except_)))
    if peer.namespace_selector is None:
        return Pods(namespace, _ALL, peer.pod_selector or _ALL)
    return Pods("", peer.namespace_selector, peer.pod_selector or _ALL)


def _port(port: NetworkPolicyPort) -> Ports:
    if isinstance(port.port, str):
        return Ports(port.protocol, name=port.port)
    if port.port is None:
        return Ports(port.protocol)
    return Ports(port.protocol, port.port, port.end_port or port.port)


def _cluster_rule(
    number: int, rule: ClusterPolicyIngressRule | ClusterPolicyEgressRule, peers: tuple[ClusterPolicyPeer, ...]
) -> Rule:
    closed = rule.action != ACCEPT and any(not peer.given for peer in peers)
    action = DENY if closed else rule.action
    found = tuple(_cluster_peer(peer, everything=closed) for peer in peers)
    return Rule(number, action, found, tuple(map(_cluster_ports, rule.protocols)) or None)


def _cluster_peer(peer: ClusterPolicyPeer, *, everything: bool) -> Peer:
    if peer.namespaces is not None:
        return Pods("", peer.namespaces, _ALL, whole=True)
    if peer.pods is not None:
        return Pods("", peer.pods.namespace_selector, peer.pods.pod_selector)
    if peer.nodes is not None:
        return Nodes(peer.nodes)
    if peer.networks is not None:
        return Nets(tuple(map(Net.parse, peer.networks)))
    if peer.domain_names is not None:
        return Domains(tuple(name.lower().rstrip(".") for name in peer.domain_names))
    return Unknown(everything)


def _cluster_ports(item: ClusterPolicyProtocol) -> Ports:
    if item.destination_named_port is not None:
        return Ports("", name=item.destination_named_port)
    for protocol, ports in (("TCP", item.tcp), ("UDP", item.udp), ("SCTP", item.sctp)):
        if ports is not None:
            port = ports.destination_port
            if port is None:
                return Ports(protocol)
            if port.range is not None:
                return Ports(protocol, port.range.start, port.range.end)
            return Ports(protocol, port.number or 0, port.number or 0)
    return Ports("none")  # an item of an unknown kind matches nothing
