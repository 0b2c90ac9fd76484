"""Small clusters under random flows and events: what was captured and counted keeps every named invariant."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from emu.kube.cluster import Cluster
from emu.testing import invariants
from emu.testing.clusters import ClusterShape, FlowShape, ServiceShape, WorkloadShape, clusters
from emu.testing.events import Event, event_sequences
from emu.testing.machine import ClusterMachine
from emu.testing.strategies import examples

ONE_NODE = ClusterShape((WorkloadShape((1,)), WorkloadShape((1,))), (ServiceShape(1),))


@pytest.mark.slow
@given(st.data())
@examples(25)
def test_events_in_any_order(data: st.DataObject) -> None:
    """A sequence of events that is drawn as one value: the state machine's steps, for who wants them in a list."""
    shape = data.draw(clusters(networks=("bridge", "calico")))
    events: list[Event] = data.draw(event_sequences(shape, 5))
    cluster = shape.build()
    for event in events:
        event.run(cluster)
    cluster.wait(4)
    invariants.hold(cluster)


def test_without_br_netfilter_answers_come_from_elsewhere() -> None:
    """The invariant sees the well-known defect: the endpoint's answer comes straight over the bridge."""
    shape = replace(ONE_NODE, flows=(FlowShape("default/w0-0", "svc/s0:80"),))
    config = replace(shape.config, sysctls={"net.bridge.bridge-nf-call-iptables": 0})
    cluster = Cluster(config, shape.objects)
    shape.run(cluster)
    with pytest.raises(AssertionError, match=r"is answered 10\.244\.1\.\d+:8080") as failure:
        invariants.reply_source(cluster)
    assert "TCP 8080>" in str(failure.value), "with the road that the frames took"
    assert [name for name, _ in invariants.broken(cluster)] == ["reply_source"]


STEPS = examples(20, stateful_step_count=10)


@pytest.mark.slow
def test_a_cluster_keeps_every_invariant_whatever_happens() -> None:
    run_state_machine_as_test(ClusterMachine, settings=STEPS)


class Meddled(ClusterMachine):
    """An administrator's rule masquerades what goes to pods."""

    shapes: ClassVar[st.SearchStrategy[ClusterShape]] = clusters(networks=("bridge",), max_flows=1)
    names: ClassVar[tuple[str, ...]] = ("pods_reach_pods", "nodes_reach_pods")

    def build(self, shape: ClusterShape) -> Cluster:
        cluster = shape.build()
        cluster.node("node-1").add_rules("*nat\n-A POSTROUTING -d 10.244.0.0/16 -p udp -j MASQUERADE\nCOMMIT\n")
        return cluster


@pytest.mark.slow
def test_a_subclass_finds_a_planted_rule() -> None:
    """With a planted rule the machine fails, and its program is short."""
    phases = (Phase.generate, Phase.shrink)
    shrunk = settings(STEPS, max_examples=200, stateful_step_count=5, phases=phases, database=None)
    with pytest.raises(AssertionError, match="pods reach pods without NAT") as failure:
        run_state_machine_as_test(Meddled, settings=shrunk)
    steps = [line for line in "\n".join(failure.value.__notes__).splitlines() if line.startswith("state.")]
    assert [line.partition("(")[0] for line in steps] == [
        "state.boot", "state.hold", "state.flow", "state.hold", "state.teardown",
    ]  # fmt: skip
