"""The policy.networking.k8s.io group, v1alpha2: ClusterNetworkPolicy.

A peer of a kind that is unknown here is read as an empty one: it fails closed (`kube/policy/`). Must not know how a policy is
enforced. Source: apis/v1alpha2 of kubernetes-sigs/network-policy-api 0eec1b0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from emu.kube.api.addresses import network_of
from emu.kube.api.core import Port
from emu.kube.api.meta import ApiStruct, LabelSelector, Object, Path, Problem
from emu.kube.api.port_names import PORT_NAME, is_port_name

Tier = Literal["Admin", "Baseline"]
Action = Literal["Accept", "Deny", "Pass"]
Priority = Annotated[int, Meta(ge=0, le=1000)]
MOST = 25  # rules of a direction, peers of a rule, networks of a peer, protocols of a rule
_LONGEST_NAME = 100
_DOMAIN = re.compile(r"(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?\.?")


class NamespacedPod(ApiStruct, frozen=True):
    """Pods by both selectors; one that is left out selects all."""

    namespace_selector: LabelSelector = LabelSelector()
    pod_selector: LabelSelector = LabelSelector()

    def problems(self, at: Path) -> Iterator[Problem]:
        yield from self.namespace_selector.problems((*at, "namespaceSelector"))
        yield from self.pod_selector.problems((*at, "podSelector"))


class Subject(ApiStruct, frozen=True):
    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None

    def problems(self, at: Path) -> Iterator[Problem]:
        if (self.namespaces is None) == (self.pods is None):
            yield Problem(at, "a subject has one of namespaces and pods", "namespaces or pods")
        if self.namespaces is not None:
            yield from self.namespaces.problems((*at, "namespaces"))
        if self.pods is not None:
            yield from self.pods.problems((*at, "pods"))


class ClusterPolicyPeer(ApiStruct, frozen=True):
    """A source or destination: one field of these. None at all is a peer of an unknown kind."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None
    nodes: LabelSelector | None = None
    networks: tuple[str, ...] | None = None
    domain_names: tuple[str, ...] | None = None

    @property
    def given(self) -> tuple[str, ...]:
        fields = ("namespaces", "pods", "nodes", "networks", "domain_names")
        return tuple(name for name in fields if getattr(self, name) is not None)

    def problems(self, at: Path, *, egress: bool) -> Iterator[Problem]:
        kinds = "namespaces, pods, nodes, networks or domainNames" if egress else "namespaces or pods"
        if len(self.given) != 1:
            yield Problem(at, f"a peer with {len(self.given)} fields", f"one of {kinds}")
        if not egress and set(self.given) - {"namespaces", "pods"}:
            yield Problem(at, "a source that only egress rules have", kinds)
        for name, selector in (("namespaces", self.namespaces), ("nodes", self.nodes)):
            if selector is not None:
                yield from selector.problems((*at, name))
        if self.pods is not None:
            yield from self.pods.problems((*at, "pods"))
        if self.networks is not None:
            yield from _count_problems(self.networks, (*at, "networks"), "networks")
            for i, text in enumerate(self.networks):
                if network_of(text) is None:
                    yield Problem((*at, "networks", i), f'"{text}" is not a CIDR', "an address, a slash and a length")
        if self.domain_names is not None:
            yield from _count_problems(self.domain_names, (*at, "domainNames"), "domain names")
            for i, name in enumerate(self.domain_names):
                if not _DOMAIN.fullmatch(name):
                    yield Problem((*at, "domainNames", i), f'"{name}" is not a domain name', "a.example or *.a.example")


class PortRange(ApiStruct, frozen=True):
    start: Port
    end: Port


class DestinationPort(ApiStruct, frozen=True):
    number: Port | None = None
    range: PortRange | None = None


class ProtocolPorts(ApiStruct, frozen=True):
    """The ports of one protocol; without `destination_port` all."""

    destination_port: DestinationPort | None = None

    def problems(self, at: Path) -> Iterator[Problem]:
        port = self.destination_port
        if port is None:
            return
        if (port.number is None) == (port.range is None):
            yield Problem(at, "destinationPort has one of number and range", "number or range")
        if port.range is not None and port.range.start >= port.range.end:
            path = (*at, "destinationPort", "range")
            yield Problem(path, f"{port.range.start} to {port.range.end} is no range", "a start below the end")


class ClusterPolicyProtocol(ApiStruct, frozen=True):
    tcp: ProtocolPorts | None = None
    udp: ProtocolPorts | None = None
    sctp: ProtocolPorts | None = None
    destination_named_port: str | None = None

    @property
    def given(self) -> tuple[str, ...]:
        fields = ("tcp", "udp", "sctp", "destination_named_port")
        return tuple(name for name in fields if getattr(self, name) is not None)

    def problems(self, at: Path) -> Iterator[Problem]:
        if len(self.given) != 1:
            yield Problem(at, f"{len(self.given)} protocols in one item", "one of tcp, udp, sctp, destinationNamedPort")
        for name, ports in (("tcp", self.tcp), ("udp", self.udp), ("sctp", self.sctp)):
            if ports is not None:
                yield from ports.problems((*at, name))
        if self.destination_named_port is not None and not is_port_name(self.destination_named_port):
            what = f'"{self.destination_named_port}" is not a port name'
            yield Problem((*at, "destinationNamedPort"), what, PORT_NAME)


class ClusterPolicyRule(ApiStruct, frozen=True, kw_only=True):
    """What both directions' rules have. Without `protocols` every protocol and port."""

    action: Action
    name: str = ""
    protocols: tuple[ClusterPolicyProtocol, ...] = ()

    def problems_of(
        self, at: Path, side: str, peers: tuple[ClusterPolicyPeer, ...], *, egress: bool
    ) -> Iterator[Problem]:
        if len(self.name) > _LONGEST_NAME:
            yield Problem((*at, "name"), f"a name of {len(self.name)} characters", f"up to {_LONGEST_NAME}")
        yield from _count_problems(peers, (*at, side), "peers")
        for i, peer in enumerate(peers):
            yield from peer.problems((*at, side, i), egress=egress)
        if len(self.protocols) > MOST:
            yield Problem((*at, "protocols"), f"{len(self.protocols)} protocols", f"up to {MOST}")
        for i, protocol in enumerate(self.protocols):
            yield from protocol.problems((*at, "protocols", i))
        outside = {"networks", "nodes", "domain_names"}
        if any(each.destination_named_port is not None for each in self.protocols) and any(
            outside & set(peer.given) for peer in peers
        ):
            yield Problem(at, "a named port with networks, nodes or domainNames", "port numbers for these peers")
        if self.action != "Accept" and any(peer.domain_names is not None for peer in peers):
            yield Problem(at, f"domainNames in a rule of action {self.action}", "Accept")


class ClusterPolicyIngressRule(ClusterPolicyRule, frozen=True, kw_only=True):
    from_: tuple[ClusterPolicyPeer, ...] = field(default=(), name="from")

    def problems(self, at: Path) -> Iterator[Problem]:
        return self.problems_of(at, "from", self.from_, egress=False)


class ClusterPolicyEgressRule(ClusterPolicyRule, frozen=True, kw_only=True):
    to: tuple[ClusterPolicyPeer, ...] = ()

    def problems(self, at: Path) -> Iterator[Problem]:
        return self.problems_of(at, "to", self.to, egress=True)


class ClusterNetworkPolicySpec(ApiStruct, frozen=True):
    tier: Tier
    priority: Priority
    subject: Subject
    ingress: tuple[ClusterPolicyIngressRule, ...] = ()
    egress: tuple[ClusterPolicyEgressRule, ...] = ()

    def problems(self, at: Path) -> Iterator[Problem]:
        yield from self.subject.problems((*at, "subject"))
        for name, rules in (("ingress", self.ingress), ("egress", self.egress)):
            if len(rules) > MOST:
                yield Problem((*at, name), f"{len(rules)} rules", f"up to {MOST}")
        for i, rule in enumerate(self.ingress):
            yield from rule.problems((*at, "ingress", i))
        for i, out in enumerate(self.egress):
            yield from out.problems((*at, "egress", i))


class ClusterNetworkPolicy(Object, frozen=True, kw_only=True):
    """Evaluated before NetworkPolicies (tier Admin), or after them for pods that none selects (Baseline)."""

    namespaced: ClassVar[bool] = False
    api_version: str = "policy.networking.k8s.io/v1alpha2"
    kind: str = "ClusterNetworkPolicy"
    spec: ClusterNetworkPolicySpec

    def problems(self) -> Iterator[Problem]:
        yield from self.spec.problems(("spec",))


def _count_problems(items: tuple[object, ...], at: Path, what: str) -> Iterator[Problem]:
    if not 1 <= len(items) <= MOST:
        yield Problem(at, f"{len(items)} {what}", f"1 to {MOST}")
