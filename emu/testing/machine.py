"""A rule-based state machine (`hypothesis.stateful`) that drives a cluster with events and holds it to invariants after every step.

Subclass it to choose other clusters (`shapes`), other invariants (`names`), or to add rules of your own; `cluster` and `shape` are there in each of
them. A failing run prints its steps, shrunk, as a program. Must not know pytest.
"""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from emu.kube.cluster import Cluster
from emu.testing import invariants
from emu.testing.clusters import ClusterShape, FlowShape, clusters, flows
from emu.testing.events import Event, changes


def _of_shape(strategy: Any) -> st.SearchStrategy[Any]:
    """A strategy for the cluster that the machine runs: `strategy` is made from its shape."""
    return st.runner().flatmap(lambda machine: strategy(machine.shape))


class ClusterMachine(RuleBasedStateMachine):
    """`ClusterMachine.TestCase` is the test. `shapes` draws the cluster, `names` are the invariants (none named: all of them)."""

    shapes: ClassVar[st.SearchStrategy[ClusterShape]] = clusters(max_flows=1)
    names: ClassVar[tuple[str, ...]] = ()
    shape: ClusterShape
    cluster: Cluster

    def build(self, shape: ClusterShape) -> Cluster:
        """The cluster of a shape. Override it to plant rules, or to configure nodes."""
        return shape.build()

    @initialize(shape=st.runner().flatmap(lambda machine: machine.shapes))
    def boot(self, shape: ClusterShape) -> None:
        self.shape = shape
        self.cluster = self.build(shape)

    @rule(flow=_of_shape(flows))
    def flow(self, flow: FlowShape) -> None:
        """A flow of any kind."""
        flow.run(self.cluster)

    @rule(change=_of_shape(changes))
    def change(self, change: Event) -> None:
        """A pod, workload, Service, node or link changes."""
        change.run(self.cluster)

    @invariant()
    def hold(self) -> None:
        """Every invariant holds when nothing is on a cable."""
        self.cluster.clock.drain()
        invariants.hold(self.cluster, *self.names)
