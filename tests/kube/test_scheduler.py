"""The scheduler: demands first, then spread, always the same."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.kube.api.core import Node, Pod
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig, NodeConfig
from emu.kube.scheduler import Scheduler
from emu.kube.store import Store


def node(name: str, more: str = "") -> str:
    return f"---\n{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: {{name: {name}}}}}{more}}}\n"


def pod(name: str, spec: str = "", ports: str = "", owner: str = "") -> str:
    references = f", ownerReferences: [{{apiVersion: v1, kind: A, name: {owner}, controller: true}}]" if owner else ""
    return (
        f"---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}{references}}}, "
        f"spec: {{containers: [{{name: c, ports: [{ports}]}}]{spec}}}}}\n"
    )


def place(*texts: str) -> dict[str, str]:
    """Pods and the nodes they got, or the reason why none."""
    store = Store()
    for obj in load_text("".join(texts)).objects:
        store.put(obj)
    scheduler = Scheduler(store)
    scheduler.schedule()
    assert scheduler.schedule() is False
    assert Scheduler(store).schedule() is False
    found = {}
    for p in store.list(Pod):
        condition = p.condition("PodScheduled")
        found[p.name] = p.spec.node_name or (condition.message if condition is not None else "")
    return found


TWO = node("n1") + node("n2")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([TWO, pod("a"), pod("b"), pod("c")], {"a": "n1", "b": "n2", "c": "n1"}),
        ([TWO, pod("a", ", nodeName: n2"), pod("b"), pod("c")], {"a": "n2", "b": "n1", "c": "n1"}),
        ([TWO, pod("a", ", nodeName: n9"), pod("b")], {"a": "n9", "b": "n1"}),
        ([TWO, pod("a", ", nodeSelector: {name: n2}"), pod("b", ", nodeSelector: {name: n2}")], {"a": "n2", "b": "n2"}),
        ([node("n1", ", spec: {unschedulable: true}"), node("n2"), pod("a"), pod("b")], {"a": "n2", "b": "n2"}),
        ([node("n1", ", status: {allocatable: {pods: '1'}}"), node("n2", ", status: {allocatable: {pods: 2}}"), pod("a"), pod("b"), pod("c"), pod("d")],
         {"a": "n1", "b": "n2", "c": "n2", "d": "0/2 nodes are available: 2 Too many pods."}),
        ([TWO, pod("x", ", nodeName: n1"), pod("y", ", nodeName: n1"), pod("a", owner="o"), pod("b", owner="o"), pod("c", owner="o")],
         {"x": "n1", "y": "n1", "a": "n2", "b": "n1", "c": "n2"}),
        ([TWO, *(pod(n, ports="{containerPort: 80, hostPort: 8080}") for n in "abc"), pod("d", ports="{containerPort: 80, hostPort: 8080, protocol: UDP}")],
         {"a": "n1", "b": "n2", "c": "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.", "d": "n1"}),
        ([node("n1"), pod("a", ports="{containerPort: 80, hostPort: 80, hostIP: 192.0.2.1}"), pod("b", ports="{containerPort: 80, hostPort: 80, hostIP: 192.0.2.2}"), pod("c", ", hostNetwork: true", "{containerPort: 80}")],
         {"a": "n1", "b": "n1", "c": "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."}),
        ([node("n1"), node("n2", ", spec: {unschedulable: true}"), pod("a", ", nodeSelector: {name: n2}")],
         {"a": "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable."}),
        ([pod("a")], {"a": "no nodes available to schedule pods"}),
    ],
)  # fmt: skip
def test_placement(texts: list[str], expected: dict[str, str]) -> None:
    assert place(*texts) == expected


def test_a_waiting_pod_is_bound_once_there_is_room() -> None:
    store = Store()
    for obj in load_text(pod("a")).objects:
        store.put(obj)
    scheduler = Scheduler(store)
    assert scheduler.schedule() is True
    [waiting] = store.list(Pod)
    assert (waiting.status.phase, waiting.spec.node_name) == ("Pending", "")
    for obj in load_text(node("n1")).objects:
        store.put(obj)
    assert scheduler.schedule() is True
    [bound] = store.list(Pod)
    condition = bound.condition("PodScheduled")
    assert condition is not None
    assert (bound.spec.node_name, condition.status, condition.message) == ("n1", "True", "")


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.sampled_from(["", "n0", "n1", "n2"])), max_size=25),
    st.integers(1, 4),
)
def test_the_emptiest_fitting_node_wins(wanted: list[tuple[str, str]], nodes: int) -> None:
    text = "".join(node(f"n{i}") for i in range(nodes))
    text += "".join(
        pod(f"p{i}", f", nodeSelector: {{name: {n}}}" if n else "", owner=o) for i, (o, n) in enumerate(wanted)
    )
    found = place(text)
    total: Counter[str] = Counter()
    kin: Counter[tuple[str, str]] = Counter()
    for i, (owner, selected) in enumerate(wanted):
        fitting = [f"n{j}" for j in range(nodes) if selected in ("", f"n{j}")]
        if not fitting:
            assert "didn't match" in found[f"p{i}"]
            continue
        best = min(fitting, key=lambda n: (kin[n, owner] if owner else 0, total[n]))
        assert found[f"p{i}"] == best
        total[best] += 1
        kin[best, owner] += 1


# -- labels of nodes ---------------------------------------------------------------------------

MACHINE = {
    "kubernetes.io/os": "linux",
    "kubernetes.io/arch": "amd64",
    "beta.kubernetes.io/os": "linux",
    "beta.kubernetes.io/arch": "amd64",
}


def test_nodes_have_the_labels_of_their_kubelet() -> None:
    config = ClusterConfig(nodes=(NodeConfig("a"), NodeConfig("b", zone="z")))
    labels = {each.name: each.metadata.labels for each in Cluster(config).store.list(Node)}
    assert labels == {
        "a": {**MACHINE, "kubernetes.io/hostname": "a"},
        "b": {**MACHINE, "kubernetes.io/hostname": "b", "topology.kubernetes.io/zone": "z"},
    }


def test_labels_of_declared_nodes_stay() -> None:
    arm = node("arm").replace("labels: {", "labels: {kubernetes.io/arch: arm64, ")
    cluster = Cluster(objects=load_text(node("n1") + arm).objects)
    [_, found] = [each.metadata.labels for each in cluster.store.list(Node)]
    assert found == {
        **MACHINE,
        "name": "arm",
        "kubernetes.io/arch": "arm64",
        "beta.kubernetes.io/arch": "arm64",
        "kubernetes.io/hostname": "arm",
    }
    [again] = load_text(node("arm")).objects
    cluster.apply(again)
    assert cluster.store.list(Node)[1].metadata.labels["kubernetes.io/os"] == "linux"


def test_a_pod_finds_a_node_by_its_labels() -> None:
    selector = ", nodeSelector: {kubernetes.io/os: linux, kubernetes.io/hostname: node-2}"
    cluster = Cluster(2, load_text(pod("a", selector)).objects)
    assert cluster.pod("default/a").node.name == "node-2"
