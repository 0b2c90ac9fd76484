"""Hypothesis strategies: NetworkPolicies of a drawn cluster, with peers of every kind, ports and ranges.

A `PolicyShape` is frozen, its repr a Python expression; it shrinks towards one that selects one workload and allows nothing. Must not know
invariants, or what enforces a policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

PEERS = (
    "pods",
    "all",
    "here",
    "elsewhere",
    "10.244.1.0/24",
    "10.244.0.0/16-10.244.2.0/24",
    "10.0.0.0/20",
    "10.0.0.0/16-10.0.16.0/20",
    "0.0.0.0/0",
    "192.168.0.0/16",
)
PORTS = ("TCP", "UDP", "TCP:8080", "UDP:8080", "TCP:8000-9000", "TCP:9", "SCTP", "UDP:8082-8090")
NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class RuleShape:
    """One rule. A peer is a workload (`w0`), `pods` (those of the namespace), `all` (of every namespace), `here`, `elsewhere` (by the name
    of the namespace), or a block, perhaps with an exception behind a dash; none is everyone. Ports are `TCP`, `TCP:8080`, `TCP:8000-9000`."""

    peers: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()

    def value(self, side: str) -> dict[str, Any]:
        """As a policy has it; `side` is `from` or `to`."""
        rule: dict[str, Any] = {}
        if self.peers:
            rule[side] = [_peer(each) for each in self.peers]
        if self.ports:
            rule["ports"] = [_port(each) for each in self.ports]
        return rule


@dataclass(frozen=True)
class PolicyShape:
    """Policy `p<number>`: `workload` is the one that it selects, -1 all pods of the namespace; `ingress` and `egress` are its rules, None
    where it is not of that type."""

    workload: int = 0
    ingress: tuple[RuleShape, ...] | None = ()
    egress: tuple[RuleShape, ...] | None = None

    def manifest(self, number: int) -> dict[str, Any]:
        """The object."""
        selector = {} if self.workload < 0 else {"matchLabels": {"app": f"w{self.workload}"}}
        spec: dict[str, Any] = {"podSelector": selector, "policyTypes": []}
        if self.ingress is not None:
            spec["policyTypes"].append("Ingress")
            spec["ingress"] = [each.value("from") for each in self.ingress]
        if self.egress is not None:
            spec["policyTypes"].append("Egress")
            spec["egress"] = [each.value("to") for each in self.egress]
        meta = {"name": f"p{number}"}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


def _peer(text: str) -> dict[str, Any]:
    if text == "pods":
        return {"podSelector": {}}
    if text == "all":
        return {"namespaceSelector": {}}
    if text in ("here", "elsewhere"):
        return {"namespaceSelector": {"matchLabels": {NAME: "default" if text == "here" else "kube-system"}}}
    if "/" in text:
        cidr, _, hole = text.partition("-")
        return {"ipBlock": {"cidr": cidr} | ({"except": [hole]} if hole else {})}
    return {"podSelector": {"matchLabels": {"app": text}}}


def _port(text: str) -> dict[str, Any]:
    protocol, _, ports = text.partition(":")
    first, _, last = ports.partition("-")
    found: dict[str, Any] = {"protocol": protocol}
    if first:
        found["port"] = int(first)
    if last:
        found["endPort"] = int(last)
    return found


@cache
def policies(workloads: int = 1) -> st.SearchStrategy[PolicyShape]:
    """NetworkPolicies over so many workloads."""
    own = tuple(f"w{number}" for number in range(workloads))
    peers = st.lists(st.sampled_from((*own, *PEERS, *own)), max_size=2).map(tuple)
    ports = st.lists(st.sampled_from(PORTS), max_size=2).map(tuple)
    rules = st.lists(st.builds(RuleShape, peers, ports), max_size=2).map(tuple)
    selected = st.sampled_from((*range(workloads), -1))
    return st.one_of(
        st.builds(PolicyShape, selected, rules),
        st.builds(PolicyShape, selected, st.none(), rules),
        st.builds(PolicyShape, selected, rules, rules),
    )
