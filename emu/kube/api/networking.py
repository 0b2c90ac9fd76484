"""The networking.k8s.io group, v1: NetworkPolicy.

Which pods a policy selects, and for which direction. Must not know how a policy is enforced.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import field

from emu.kube.api.core import Port, Protocol
from emu.kube.api.meta import ApiStruct, LabelSelector, Object, Problem

Direction = Literal["Ingress", "Egress"]


class IPBlock(ApiStruct, frozen=True):
    cidr: str
    except_: tuple[str, ...] = field(default=(), name="except")


class NetworkPolicyPeer(ApiStruct, frozen=True):
    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = field(default=None, name="ipBlock")


class NetworkPolicyPort(ApiStruct, frozen=True):
    """A `port` of None is every port of the protocol."""

    protocol: Protocol = "TCP"
    port: Port | str | None = None
    end_port: Port | None = None


class NetworkPolicyIngressRule(ApiStruct, frozen=True):
    """What may come: no `ports` means every port, no `from_` every source."""

    ports: tuple[NetworkPolicyPort, ...] = ()
    from_: tuple[NetworkPolicyPeer, ...] = field(default=(), name="from")


class NetworkPolicyEgressRule(ApiStruct, frozen=True):
    """What may go: no `ports` means every port, no `to` every destination."""

    ports: tuple[NetworkPolicyPort, ...] = ()
    to: tuple[NetworkPolicyPeer, ...] = ()


class NetworkPolicySpec(ApiStruct, frozen=True):
    """`policy_types` None is the API server's default, see `NetworkPolicy.directions`."""

    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[Direction, ...] | None = None
    ingress: tuple[NetworkPolicyIngressRule, ...] = ()
    egress: tuple[NetworkPolicyEgressRule, ...] = ()


class NetworkPolicy(Object, frozen=True, kw_only=True):
    api_version: str = "networking.k8s.io/v1"
    kind: str = "NetworkPolicy"
    spec: NetworkPolicySpec = NetworkPolicySpec()

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions that the policy isolates. Without policyTypes: Ingress, and Egress if it has egress rules."""
        if self.spec.policy_types:
            return self.spec.policy_types
        return ("Ingress", "Egress") if self.spec.egress else ("Ingress",)

    def allows_all(self, direction: Direction) -> bool:
        """Whether one of its rules for the direction is empty, which allows everything."""
        rules = self.spec.ingress if direction == "Ingress" else self.spec.egress
        return any(rule == type(rule)() for rule in rules)

    def problems(self) -> Iterator[Problem]:
        yield from self.spec.pod_selector.problems(("spec", "podSelector"))
