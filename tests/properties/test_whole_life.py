"""Every packet of a cluster's whole life ends once, also those of pods that are gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emu.clock import MS
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.testing import invariants
from emu.testing.strategies import examples

OBJECTS = """
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: app}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 1
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
"""
EVENTS = st.one_of(
    st.tuples(st.just("tcp"), st.booleans()),
    st.tuples(st.just("ping"), st.sampled_from(("default/db-0", "10.244.1.99"))),
    st.tuples(st.just("delete"), st.sampled_from((None, 0))),
    st.tuples(st.just("scale"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.sampled_from((1, 500, 3_000, 40_000))),
)


def do(cluster: Cluster, what: str, how: object) -> None:
    match what, how:
        case "tcp", bool(close):
            cluster.tcp("default/client", "svc/web:80", b"x", close=close)
        case "ping", str(target):
            if target in cluster.pods or target[0] == "1":
                cluster.ping("default/client", target)
        case "delete", grace_s:
            if "default/db-0" in cluster.pods:
                cluster.delete("pod", "default", "db-0", grace_s=None if grace_s is None else 0, settle=grace_s is None)
        case "scale", int(replicas):
            cluster.scale("Deployment", "default", "web", replicas)
        case "wait", int(time_ms):
            cluster.clock.run_until(cluster.clock.now + time_ms * MS)


@given(st.lists(EVENTS, max_size=8))
@examples(40)
def test_one_outcome_over_a_whole_life(events: list[tuple[str, object]]) -> None:
    cluster = Cluster(2, load_text(OBJECTS).objects, capture=False)
    for what, how in events:
        do(cluster, what, how)
        cluster.clock.drain()
        invariants.one_outcome(cluster)


def test_a_flow_to_a_pod_that_is_gone() -> None:
    cluster = Cluster(2, load_text(OBJECTS).objects)
    assert cluster.gone.entered == 0
    flow = cluster.ping("default/client", "default/db-0")
    cluster.delete("pod", "default", "db-0")
    assert cluster.gone.entered > 0
    invariants.one_outcome(flow)
    invariants.one_outcome(cluster)
