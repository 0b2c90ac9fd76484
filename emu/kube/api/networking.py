"""The networking.k8s.io group, v1: NetworkPolicy.

What the API server takes, with its words for what it does not (pkg/apis/networking/validation of Kubernetes 1.36), and which directions a policy isolates. What its rules mean is in `kube/policy/`. Must not know how a
policy is enforced.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from msgspec import field

from emu.kube.api.addresses import network_of
from emu.kube.api.core import Port, Protocol
from emu.kube.api.meta import ApiStruct, LabelSelector, Object, Path, Problem
from emu.kube.api.port_names import PORT_NAME, port_name_problems

Direction = Literal["Ingress", "Egress"]
Network = IPv4Network | IPv6Network
_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


class IPBlock(ApiStruct, frozen=True):
    cidr: str
    except_: tuple[str, ...] = field(default=(), name="except")

    def problems(self, at: Path) -> Iterator[Problem]:
        """ValidateIPBlock: each exception lies inside the block and is smaller."""
        block = network_of(self.cidr)
        if block is None:
            yield Problem(
                (*at, "cidr"), "Required value" if not self.cidr else f'Invalid value: "{self.cidr}": {_CIDR}'
            )
            return
        for i, text in enumerate(self.except_):
            path, hole = (*at, "except", i), network_of(text)
            if hole is None:
                yield Problem(path, f'Invalid value: "{text}": {_CIDR}')
            elif hole.version != block.version or hole.prefixlen <= block.prefixlen or not _inside(hole, block):
                yield Problem(path, f'Invalid value: "{text}": must be a strict subset of `cidr`')


def _inside(hole: Network, block: Network) -> bool:
    return int(block.network_address) <= int(hole.network_address) <= int(block.broadcast_address)


class NetworkPolicyPeer(ApiStruct, frozen=True):
    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = field(default=None, name="ipBlock")

    def problems(self, at: Path) -> Iterator[Problem]:
        """ValidateNetworkPolicyPeer: selectors, or a block, and not nothing."""
        selectors = {"podSelector": self.pod_selector, "namespaceSelector": self.namespace_selector}
        for name, selector in selectors.items():
            if selector is not None:
                yield from selector.problems((*at, name))
        if self.ip_block is None and not any(each is not None for each in selectors.values()):
            yield Problem(at, "Required value: must specify a peer", "podSelector, namespaceSelector or ipBlock")
        if self.ip_block is not None:
            yield from self.ip_block.problems((*at, "ipBlock"))
            if any(each is not None for each in selectors.values()):
                yield Problem(
                    at, "Forbidden: may not specify both ipBlock and another peer", "an item of its own for the ipBlock"
                )


class NetworkPolicyPort(ApiStruct, frozen=True):
    """A `port` of None is every port of the protocol."""

    protocol: Protocol = "TCP"
    port: Port | str | None = None
    end_port: Port | None = None

    def problems(self, at: Path) -> Iterator[Problem]:
        """ValidateNetworkPolicyPort."""
        if isinstance(self.port, str):
            for message in port_name_problems(self.port):
                yield Problem((*at, "port"), f'Invalid value: "{self.port}": {message}', PORT_NAME)
        if self.end_port is None:
            return
        if not isinstance(self.port, int):
            kind = "non-numeric" if self.port is not None else "not specified"
            what = f"Invalid value: {self.end_port}: may not be specified when `port` is {kind}"
            yield Problem((*at, "endPort"), what, "a port number as `port`")
        elif self.end_port < self.port:
            what = f"Invalid value: {self.end_port}: must be greater than or equal to `port`"
            yield Problem((*at, "endPort"), what, f"{self.port} or more")


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
        """ValidateNetworkPolicySpec (pkg/apis/networking/validation)."""
        yield from self.spec.pod_selector.problems(("spec", "podSelector"))
        for i, rule in enumerate(self.spec.ingress):
            yield from _rule_problems(("spec", "ingress", i), rule.ports, "from", rule.from_)
        for i, out in enumerate(self.spec.egress):
            yield from _rule_problems(("spec", "egress", i), out.ports, "to", out.to)
        types = self.spec.policy_types or ()
        if len(types) > 2:
            shown = ", ".join(f'"{each}"' for each in types)
            what = f"Invalid value: [{shown}]: may not specify more than two policyTypes"
            yield Problem(("spec", "policyTypes"), what, "Ingress, Egress or both")


def _rule_problems(
    at: Path, ports: tuple[NetworkPolicyPort, ...], side: str, peers: tuple[NetworkPolicyPeer, ...]
) -> Iterator[Problem]:
    for i, port in enumerate(ports):
        yield from port.problems((*at, "ports", i))
    for i, peer in enumerate(peers):
        yield from peer.problems((*at, side, i))
