"""Planted faults in eight rooms: each is found by its named invariant in small drawn clusters. Correct clusters raise no alarm."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given

from emu.testing import invariants
from emu.testing.clusters import ClusterShape, FlowShape, ServiceShape, WorkloadShape, clusters
from emu.testing.policies import PolicyShape, RuleShape
from emu.testing.strategies import examples
from planted_invariants import FAULTS, ROOMS, Fault, found_by


def test_the_faults_lie_in_every_room() -> None:
    assert len(FAULTS) >= 25
    assert {fault.room for fault in FAULTS} == set(ROOMS)
    assert all(times >= 3 for times in Counter(fault.room for fault in FAULTS).values())
    assert {fault.invariant for fault in FAULTS} == set(invariants.INVARIANTS), "each invariant finds one at least"


@pytest.mark.pure("faults take the place of functions that compiled callers do not look up")
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.room}: {fault.what}: {fault.invariant}")
def test_a_planted_fault_is_found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.plant(monkeypatch)
    assert found_by(fault.invariant) is not None


@pytest.mark.slow
@given(clusters())
@examples(200)
def test_correct_clusters_raise_no_alarm(shape: ClusterShape) -> None:
    """Every network and proxy mode, flows of all kinds."""
    cluster = shape.build()
    shape.run(cluster)
    invariants.hold(cluster)


def test_every_invariant_judges_something() -> None:
    """So that none holds because it never applies."""
    shape = ClusterShape(
        (WorkloadShape((1, 2)), WorkloadShape((2,), "Deployment")),
        (ServiceShape(0, "NodePort"), ServiceShape(1)),
        tuple(
            FlowShape(source, to, kind)
            for source in ("default/w0-0", "node/node-1", "external")
            for to, kind in (
                ("svc/s0:80", "tcp"),
                ("svc/s1:80", "udp"),
                ("default/w0-1:8080", "udp"),
                ("node/node-2:30000", "tcp"),
                ("default/w0-1", "ping"),
            )
        ),
        2,
        policies=(PolicyShape(0, (RuleShape(),)),),
        policy="kube-router",
    )
    cluster = shape.build()
    flows = shape.run(cluster)
    assert len(flows) == 15
    judged = {verdict.name: verdict.judged for verdict in invariants.judge(cluster)}
    assert [name for name, times in judged.items() if not times] == []
    assert set(judged) == set(invariants.INVARIANTS)
    invariants.hold(cluster)


RULE = "*nat\n-I PREROUTING -p udp -j ACCEPT\nCOMMIT\n"


@pytest.mark.pure("a fault takes the place of a function that compiled callers do not look up")
@pytest.mark.slow
def test_a_failure_shrinks_to_one_service_and_one_flow() -> None:
    """A rule before kube-proxy's lets datagrams past it."""
    failing: list[ClusterShape] = []

    @examples(100)
    @given(clusters())
    def a_rule_leaves_services_alone(shape: ClusterShape) -> None:
        cluster = shape.build()
        cluster.node("node-1").add_rules(RULE)
        shape.run(cluster)
        try:
            invariants.hold(cluster)
        except AssertionError:
            failing.append(shape)
            raise

    with pytest.raises(AssertionError, match="no Service address leaves a node") as failure:
        a_rule_leaves_services_alone()
    assert "of Service default/s0, leaves node-1/eth0" in str(failure.value)
    smallest = failing[-1]
    assert (smallest.nodes, len(smallest.services), len(smallest.pods)) == (1, 1, 1)
    assert smallest.flows == (FlowShape("default/w0-0", "svc/s0:80", "udp", 1),)
    assert len(failing) < 200
