"""Drawn policies on drawn clusters: the packets of each dataplane agree with the pure function, and with the other dataplanes."""

from __future__ import annotations

import pytest
from hypothesis import given

from emu.invariants import judge
from emu.testing import invariants
from emu.testing.clusters import ClusterShape, FlowShape, WorkloadShape, clusters
from emu.testing.policies import PolicyShape, RuleShape
from emu.testing.strategies import examples

NAME = "policies_decide"


@pytest.mark.slow
@given(
    clusters(networks=("bridge", "flat", "flannel"), max_workloads=3, max_policies=4, dataplanes=("kube-router",), max_flows=8)
)  # fmt: skip
@examples(100)
def test_packets_agree_with_the_pure_function(shape: ClusterShape) -> None:
    """EMU_EXAMPLES=20 draws two thousand."""
    cluster = shape.build()
    shape.run(cluster)
    invariants.hold(cluster, NAME)


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
