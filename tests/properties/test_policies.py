"""Drawn policies on drawn clusters: the packets of each dataplane agree with the pure function, and with the other dataplanes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.invariants import judge
from emu.kube.cluster import Cluster
from emu.kube.policy.dataplane import dataplanes
from emu.kube.policy.rules import WAYS, Way
from emu.kube.policy.verdict import Packet
from emu.testing import invariants
from emu.testing.clusters import ClusterShape, FlowShape, ServiceShape, WorkloadShape, clusters
from emu.testing.policies import PolicyShape, RuleShape
from emu.testing.strategies import examples

NAME = "policies_decide"


def _drawn(networks: Sequence[str], dataplane: str = "") -> st.SearchStrategy[ClusterShape]:
    return clusters(networks=networks, dataplanes=(dataplane,), max_workloads=3, max_policies=4, max_flows=8)


DRAWN = {
    "kube-router": _drawn(("bridge", "flat", "flannel"), "kube-router"),
    "calico": _drawn(("calico",)),
    "kindnet": _drawn(("kindnet",)),
    "aws-network-policy-agent": _drawn(("aws-vpc",), "aws-network-policy-agent"),
}


@pytest.mark.slow
@given(DRAWN["kube-router"])
@examples(100)
def test_packets_agree_with_the_pure_function(shape: ClusterShape) -> None:
    """With EMU_EXAMPLES=20 two thousand sets are drawn for each dataplane."""
    holds(shape)


@pytest.mark.slow
@given(DRAWN["calico"])
@examples(100)
def test_packets_of_calico_agree_with_the_pure_function(shape: ClusterShape) -> None:
    """As above, by felix's chains."""
    holds(shape)


@pytest.mark.slow
@given(DRAWN["kindnet"])
@examples(100)
def test_packets_of_kindnet_agree_with_the_pure_function(shape: ClusterShape) -> None:
    """As above, by the queue."""
    holds(shape)


@pytest.mark.slow
@given(DRAWN["aws-network-policy-agent"])
@examples(100)
def test_packets_of_the_vpc_cnis_agent_agree_with_the_pure_function(shape: ClusterShape) -> None:
    """As above, by maps at the pods' veths."""
    holds(shape)


def holds(shape: ClusterShape) -> None:
    cluster = shape.build()
    shape.run(cluster)
    invariants.hold(cluster, NAME)


# shapes that a longer series found, made smaller
TWO_BLOCKS = PolicyShape(0, None, (RuleShape(("0.0.0.0/0", "10.244.0.0/16-10.244.2.0/24"), ("UDP:8080",)),))
FOUND = (
    # the exception of one block is in the same set as the other block
    ClusterShape(
        (WorkloadShape((1,)), WorkloadShape((2,))), (), (FlowShape("default/w0-0", "default/w1-0:8080", "udp", 1),), 2,
        policies=(TWO_BLOCKS,), policy="kube-router",
    ),
    # a node's address may be that of a hostNetwork pod, and is not here
    ClusterShape(
        (WorkloadShape((2,)), WorkloadShape((1,))), (ServiceShape(1, "NodePort"),), (FlowShape("default/w0-0", "node/node-2:30000", "tcp", 1),), 2,
        "aws-vpc", policies=(PolicyShape(-1, (RuleShape(("w1",)),)),), policy="aws-network-policy-agent",
    ),
)  # fmt: skip


@pytest.mark.parametrize("shape", FOUND)
def test_what_a_longer_series_found(shape: ClusterShape) -> None:
    holds(shape)


def test_every_dataplane_is_drawn() -> None:
    assert {*DRAWN, "none"} == {*dataplanes}


@pytest.mark.slow
@given(
    clusters(
        networks=("bridge",), max_workloads=3, max_services=1, max_policies=4, dataplanes=("kube-router",), max_flows=6
    )
)
@examples(50)
def test_the_dataplanes_agree_but_for_how_they_refuse(shape: ClusterShape) -> None:
    """The same pods, policies and calls between pods: what one refuses (REJECT) the others drop."""
    if any(each.host_network for each in shape.workloads):
        return  # such an end has another address in each network, and is a peer with the VPC CNI's agent
    direct = [
        each
        for each in shape.flows
        if each.kind != "ping" and each.source.startswith("default/") and each.to.startswith("default/")
    ]
    one = replace(shape, flows=tuple(direct), policies=tuple(each for each in shape.policies if not _by_address(each)))
    cluster = one.build()
    if any(cluster.policy.allows(cluster.policies.index, packet, way) for packet, way in _both(cluster)):  # type: ignore[union-attr]
        return  # a policy of both directions, which kube-router reads otherwise
    words = [_closed(flow.outcome.word) for flow in one.run(cluster)]
    for network, policy in OTHERS:
        other = replace(one, network=network, policy=policy, underlay="")
        assert [_closed(flow.outcome.word) for flow in other.run(other.build())] == words, network


OTHERS = (("calico", ""), ("kindnet", ""), ("aws-vpc", "aws-network-policy-agent"))


def _closed(word: str) -> str:
    return "closed" if word in ("rejected", "dropped", "timeout") else word


def _by_address(policy: PolicyShape) -> bool:
    """Whether a policy names addresses, which are others in the other network."""
    rules = (*(policy.ingress or ()), *(policy.egress or ()))
    return any("/" in peer for rule in rules for peer in rule.peers)


def _both(cluster: Cluster) -> Iterator[tuple[Packet, Way]]:
    index = cluster.policies.index
    for one in index.pods:
        for two in index.pods:
            for way in WAYS:
                yield from ((Packet(one, two, protocol, 8080), way) for protocol in ("TCP", "UDP"))


TWO = (WorkloadShape((1,)), WorkloadShape((2,)))
CALL = (FlowShape("default/w0-0", "default/w1-0:8080"), FlowShape("external", "default/w1-0:8080"))


@pytest.mark.parametrize(
    ("policies", "outcomes"),
    [
        ((), ["delivered", "delivered"]),
        ((PolicyShape(1),), ["rejected", "rejected"]),
        ((PolicyShape(1, (RuleShape(("w0",)),)),), ["delivered", "rejected"]),
        ((PolicyShape(1, (RuleShape(("0.0.0.0/0",), ("TCP:8000-9000",)),)),), ["delivered", "delivered"]),
        ((PolicyShape(0, None, ()),), ["rejected", "delivered"]),
        ((PolicyShape(-1, None, (RuleShape(("here",), ("UDP",)),)),), ["rejected", "delivered"]),
    ],
)
def test_what_is_drawn_has_an_effect(policies: tuple[PolicyShape, ...], outcomes: list[str]) -> None:
    """What the strategy draws reaches packets, so that the property is about them."""
    shape = ClusterShape(TWO, (), CALL, 2, policies=policies, policy="kube-router")
    cluster = shape.build()
    assert [flow.outcome.word for flow in shape.run(cluster)] == outcomes
    (verdict,) = judge(cluster, [NAME])
    assert verdict.held and bool(verdict.judged) is bool(policies)


@pytest.mark.parametrize(
    ("network", "dataplane"), [("calico", ""), ("kindnet", ""), ("aws-vpc", "aws-network-policy-agent")]
)
def test_what_is_drawn_has_an_effect_with_each_dataplane(network: str, dataplane: str) -> None:
    calls = (*CALL[:1], FlowShape("default/w1-0", "default/w0-0:8080"))
    policies = (PolicyShape(1, (RuleShape(("w1",)),)),)
    shape = ClusterShape(TWO, (), calls, 2, network, policies=policies, policy=dataplane)
    cluster = shape.build()
    assert [flow.outcome.word for flow in shape.run(cluster)] == ["dropped", "delivered"]
    (verdict,) = judge(cluster, [NAME])
    assert verdict.held and verdict.judged >= 3, "the drop, and both nodes that a connection passes"
