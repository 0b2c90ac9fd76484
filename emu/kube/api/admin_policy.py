"""The policy.networking.k8s.io group, v1alpha1: AdminNetworkPolicy and BaselineAdminNetworkPolicy.

ClusterNetworkPolicy replaced them; `translated` gives the one that means the same. Must not know how a policy is enforced. Source:
apis/v1alpha1 of kubernetes-sigs/network-policy-api.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from msgspec import field

from emu.kube.api.cluster_policy import (
    Action,
    ClusterNetworkPolicy,
    ClusterNetworkPolicySpec,
    ClusterPolicyEgressRule,
    ClusterPolicyIngressRule,
    ClusterPolicyPeer,
    ClusterPolicyProtocol,
    DestinationPort,
    PortRange,
    Priority,
    ProtocolPorts,
    Subject,
    Tier,
)
from emu.kube.api.core import Port, Protocol
from emu.kube.api.meta import ApiStruct, Object, ObjectMeta, Path, Problem

OldAction = Literal["Allow", "Deny", "Pass"]
_BASELINE_PRIORITY = 1000


class NumberedPort(ApiStruct, frozen=True):
    port: Port
    protocol: Protocol = "TCP"


class PortSpan(ApiStruct, frozen=True):
    start: Port
    end: Port
    protocol: Protocol = "TCP"


class AdminPort(ApiStruct, frozen=True):
    """One field of these."""

    port_number: NumberedPort | None = None
    port_range: PortSpan | None = None
    named_port: str | None = None

    def problems(self, at: Path) -> Iterator[Problem]:
        given = [each for each in (self.port_number, self.port_range, self.named_port) if each is not None]
        if len(given) != 1:
            yield Problem(at, f"{len(given)} ports in one item", "one of portNumber, portRange, namedPort")
        if self.port_range is not None and self.port_range.start >= self.port_range.end:
            what = f"{self.port_range.start} to {self.port_range.end} is no range"
            yield Problem((*at, "portRange"), what, "a start below the end")

    def translated(self) -> ClusterPolicyProtocol:
        if self.port_number is not None:
            return _protocol(self.port_number.protocol, DestinationPort(number=self.port_number.port))
        if self.port_range is not None:
            span = PortRange(start=self.port_range.start, end=self.port_range.end)
            return _protocol(self.port_range.protocol, DestinationPort(range=span))
        return ClusterPolicyProtocol(destination_named_port=self.named_port)


def _protocol(protocol: Protocol, port: DestinationPort) -> ClusterPolicyProtocol:
    ports = ProtocolPorts(destination_port=port)
    return {
        "TCP": ClusterPolicyProtocol(tcp=ports),
        "UDP": ClusterPolicyProtocol(udp=ports),
        "SCTP": ClusterPolicyProtocol(sctp=ports),
    }[protocol]


class AdminRule(ApiStruct, frozen=True, kw_only=True):
    action: OldAction
    name: str = ""
    ports: tuple[AdminPort, ...] | None = None

    @property
    def word(self) -> Action:
        return "Accept" if self.action == "Allow" else self.action

    @property
    def protocols(self) -> tuple[ClusterPolicyProtocol, ...]:
        return tuple(each.translated() for each in self.ports or ())


class AdminIngressRule(AdminRule, frozen=True, kw_only=True):
    from_: tuple[ClusterPolicyPeer, ...] = field(default=(), name="from")

    def translated(self) -> ClusterPolicyIngressRule:
        return ClusterPolicyIngressRule(action=self.word, name=self.name, protocols=self.protocols, from_=self.from_)


class AdminEgressRule(AdminRule, frozen=True, kw_only=True):
    to: tuple[ClusterPolicyPeer, ...] = ()

    def translated(self) -> ClusterPolicyEgressRule:
        return ClusterPolicyEgressRule(action=self.word, name=self.name, protocols=self.protocols, to=self.to)


class BaselineAdminNetworkPolicySpec(ApiStruct, frozen=True, kw_only=True):
    subject: Subject
    ingress: tuple[AdminIngressRule, ...] = ()
    egress: tuple[AdminEgressRule, ...] = ()

    def as_spec(self, tier: Tier, priority: int) -> ClusterNetworkPolicySpec:
        return ClusterNetworkPolicySpec(
            tier=tier,
            priority=priority,
            subject=self.subject,
            ingress=tuple(each.translated() for each in self.ingress),
            egress=tuple(each.translated() for each in self.egress),
        )


class AdminNetworkPolicySpec(BaselineAdminNetworkPolicySpec, frozen=True, kw_only=True):
    priority: Priority


class _Old(Object, frozen=True, kw_only=True):
    """Base of both kinds."""

    namespaced: ClassVar[bool] = False
    api_version: str = "policy.networking.k8s.io/v1alpha1"

    def translated(self) -> ClusterNetworkPolicy:
        raise NotImplementedError

    def problems_of(self, spec: BaselineAdminNetworkPolicySpec) -> Iterator[Problem]:
        """Those of the translation, whose paths are the same but for ports, and those of ports."""
        for direction, rules in (("ingress", spec.ingress), ("egress", spec.egress)):
            for i, rule in enumerate(rules):
                for k, port in enumerate(rule.ports or ()):
                    yield from port.problems(("spec", direction, i, "ports", k))
        yield from self.translated().problems()


class AdminNetworkPolicy(_Old, frozen=True, kw_only=True):
    kind: str = "AdminNetworkPolicy"
    spec: AdminNetworkPolicySpec

    def translated(self) -> ClusterNetworkPolicy:
        """The ClusterNetworkPolicy of the tier Admin that means the same."""
        spec = self.spec.as_spec("Admin", self.spec.priority)
        return ClusterNetworkPolicy(metadata=self.metadata, spec=spec)

    def problems(self) -> Iterator[Problem]:
        return self.problems_of(self.spec)


class BaselineAdminNetworkPolicy(_Old, frozen=True, kw_only=True):
    """There is one in a cluster, called `default`."""

    kind: str = "BaselineAdminNetworkPolicy"
    spec: BaselineAdminNetworkPolicySpec

    def translated(self) -> ClusterNetworkPolicy:
        """The ClusterNetworkPolicy of the tier Baseline that means the same."""
        meta = ObjectMeta(name=self.name, labels=self.metadata.labels)
        return ClusterNetworkPolicy(metadata=meta, spec=self.spec.as_spec("Baseline", _BASELINE_PRIORITY))

    def problems(self) -> Iterator[Problem]:
        if self.name != "default":
            yield Problem(("metadata", "name"), f'"{self.name}" is not the name of the baseline', "default")
        rules = (("ingress", self.spec.ingress), ("egress", self.spec.egress))
        for direction, each in rules:
            for i, rule in enumerate(each):
                if rule.action == "Pass":
                    yield Problem(("spec", direction, i, "action"), "Pass is no action of a baseline", "Allow or Deny")
        yield from self.problems_of(self.spec)
