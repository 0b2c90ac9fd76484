"""Taints and tolerations: where pods go, which have to leave, and what DaemonSets tolerate by themselves."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.kube.api.core import Node, Pod, Taint, Toleration
from emu.kube.api.loader import load_text
from emu.kube.api.meta import replace
from emu.kube.cluster import Cluster
from emu.scenario.build import build
from emu.scenario.script import load_text as load_scenario

SCENARIO = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: taints}
cluster:
  nodes:
  - name: control
    labels: {node-role.kubernetes.io/control-plane: "", disk: ssd}
    taints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]
  - {name: worker}
---
"""
WORKLOAD = """---
apiVersion: apps/v1
kind: KIND
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {tolerations: [TOLERATIONS], containers: [{name: c}]}
"""
CONTROL = "{key: node-role.kubernetes.io/control-plane, operator: Exists, effect: NoSchedule}"


@pytest.mark.parametrize(
    ("toleration", "taint", "fits"),
    [
        ({"operator": "Exists"}, ("a", "NoExecute", "1"), True),
        ({"key": "a"}, ("a", "NoSchedule", ""), True),
        ({"key": "a"}, ("a", "NoSchedule", "1"), False),
        ({"key": "a", "operator": "Equal", "value": "1"}, ("a", "NoSchedule", "1"), True),
        ({"key": "a", "operator": "Exists"}, ("a", "PreferNoSchedule", "1"), True),
        ({"key": "a", "operator": "Exists", "effect": "NoExecute"}, ("a", "NoSchedule", "1"), False),
        ({"key": "b", "operator": "Exists"}, ("a", "NoSchedule", ""), False),
    ],
)  # fmt: skip
def test_what_a_toleration_fits(toleration: dict[str, str], taint: tuple[str, str, str], fits: bool) -> None:
    key, effect, value = taint
    [found] = load_text(
        f"{{apiVersion: v1, kind: Node, metadata: {{name: n}}, spec: {{taints: [{{key: {key}, effect: {effect}, value: '{value}'}}]}}}}"
    ).objects
    assert isinstance(found, Node)
    assert Toleration(**toleration).tolerates(found.spec.taints[0]) is fits  # type: ignore[arg-type]  # words of the rows


@pytest.mark.parametrize(
    ("toleration", "what"),
    [("{value: a}", "operator must be Exists"), ("{key: a, operator: Exists, value: a}", "value must be empty")],
)
def test_what_the_api_server_refuses(toleration: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        load_text(WORKLOAD.replace("KIND", "ReplicaSet").replace("TOLERATIONS", toleration))


def homes(kind: str, tolerations: str = "") -> list[str]:
    """The nodes of a workload's pods in the scenario's cluster."""
    text = SCENARIO + WORKLOAD.replace("KIND", kind).replace("TOLERATIONS", tolerations)
    cluster = build(load_scenario(text))
    return [each.spec.node_name for each in cluster.store.list(Pod)]


@pytest.mark.parametrize(
    ("kind", "tolerations", "expected"),
    [
        ("Deployment", "", ["worker"]),
        ("Deployment", CONTROL, ["control"]),
        ("DaemonSet", "", ["worker"]),
        ("DaemonSet", CONTROL, ["control", "worker"]),
        ("DaemonSet", "{operator: Exists}", ["control", "worker"]),
    ],
)
def test_a_scenarios_taints_keep_pods_away(kind: str, tolerations: str, expected: list[str]) -> None:
    assert homes(kind, tolerations) == expected


def test_a_scenarios_labels_are_the_nodes() -> None:
    labels = build(load_scenario(SCENARIO)).store.list(Node)[0].metadata.labels
    assert (labels["disk"], labels["kubernetes.io/hostname"]) == ("ssd", "control")


@pytest.mark.parametrize(
    ("taint", "message"),
    [
        ("{key: a}", "scenario.yaml:8: cluster.nodes[0].taints[0]"),
        ("{key: a, effect: Never}", "scenario.yaml:8: cluster.nodes[0].taints[0].effect"),
        ("{key: a, effect: NoSchedule, seconds: 3}", 'cluster.nodes[0].taints[0].seconds: unknown key "seconds"'),
    ],
)
def test_a_wrong_taint_has_its_place(taint: str, message: str) -> None:
    start = SCENARIO.index("    taints: [") + len("    taints: [")
    with pytest.raises(InputError) as wrong:
        load_scenario(SCENARIO[:start] + taint + SCENARIO[SCENARIO.index("]", start) :])
    assert message in str(wrong.value)


def test_the_reason_of_a_pod_that_no_node_takes() -> None:
    text = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c}]}}\n"
    node = "---\n{apiVersion: v1, kind: Node, metadata: {name: n}, spec: {taints: [{key: gpu, value: 'yes', effect: NoSchedule}]}}\n"
    [pod] = Cluster(objects=load_text(text + node).objects).store.list(Pod)
    condition = pod.condition("PodScheduled")
    assert condition is not None
    assert condition.message == "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}."


def tainted(cluster: Cluster, name: str, *taints: Taint) -> None:
    node = cluster.store.get(Node, "", name)
    assert node is not None
    cluster.apply(replace(node, spec=replace(node.spec, taints=taints)))


def running(cluster: Cluster) -> dict[str, list[str]]:
    """The names of the workloads whose pods run, by node."""
    found: dict[str, list[str]] = {name: [] for name in cluster.nodes}
    for each in cluster.pods.values():
        found[each.node.name].append(each.pod.partition("-")[0])
    return {name: sorted(pods) for name, pods in found.items()}


def test_a_taint_of_a_running_node() -> None:
    """NoSchedule leaves pods that run; NoExecute evicts those that do not tolerate it, and DaemonSets do not come back."""
    workload = WORKLOAD.replace("name: web", "name: NAME").replace("TOLERATIONS", "")
    texts = [
        workload.replace("KIND", kind).replace("NAME", name)
        for kind, name in (("DaemonSet", "ds"), ("Deployment", "dep"))
    ]
    fixed = "---\n{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {nodeName: node-1, tolerations: [{key: out, operator: Exists}], containers: [{name: c}]}}\n"
    cluster = Cluster(2, load_text("".join([*texts, fixed])).objects)
    assert running(cluster) == {"node-1": ["ds", "pod"], "node-2": ["dep", "ds"]} or running(cluster) == {
        "node-1": ["dep", "ds", "pod"],
        "node-2": ["ds"],
    }
    for name in cluster.nodes:
        tainted(cluster, name, Taint(key="full", effect="NoSchedule"))
    assert sum(map(len, running(cluster).values())) == 4
    tainted(cluster, "node-2")
    tainted(cluster, "node-1", Taint(key="out", effect="NoExecute"))
    assert running(cluster) == {"node-1": ["pod"], "node-2": ["dep", "ds"]}
    tainted(cluster, "node-1")
    assert running(cluster)["node-1"] == ["ds", "pod"]


def test_a_pod_that_names_a_node_with_such_a_taint_does_not_stay() -> None:
    node = "{apiVersion: v1, kind: Node, metadata: {name: n}, spec: {taints: [{key: out, effect: NoExecute}]}}\n"
    pod = "---\n{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: n, containers: [{name: c}]}}"
    assert Cluster(objects=load_text(node + pod).objects).pods == {}


def test_preferences_come_before_spreading() -> None:
    nodes = "".join(
        f"---\n{{apiVersion: v1, kind: Node, metadata: {{name: n{i}}}, spec: {{taints: [{taints}]}}}}\n"
        for i, taints in enumerate(("{key: a, effect: PreferNoSchedule}", ""))
    )
    pods = "".join(
        f"---\n{{apiVersion: v1, kind: Pod, metadata: {{name: p{i}}}, spec: {{containers: [{{name: c}}]}}}}\n"
        for i in range(3)
    )
    cluster = Cluster(objects=load_text(nodes + pods).objects)
    assert {each.node.name for each in cluster.pods.values()} == {"n1"}


def test_daemonsets_tolerate_a_cordoned_node() -> None:
    workload = WORKLOAD.replace("KIND", "DaemonSet").replace("TOLERATIONS", "")
    cluster = Cluster(2, load_text(workload).objects)
    cluster.cordon("node-2")
    for pod in cluster.store.list(Pod):
        cluster.delete("pod", pod.namespace, pod.name)
    assert sorted(each.node.name for each in cluster.pods.values()) == ["node-1", "node-2"]
    pod = cluster.store.list(Pod)[0]
    assert (
        Toleration(key="node.kubernetes.io/unschedulable", operator="Exists", effect="NoSchedule")
        in pod.spec.tolerations
    )
