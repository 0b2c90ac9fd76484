"""Deployments, ReplicaSets, StatefulSets, DaemonSets: how many pods, their names, who goes first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest

from control_plane import Plane
from emu.errors import InputError
from emu.kube.api.apps import DaemonSet, DaemonSetStatus, Deployment, ReplicaSet, StatefulSet, WorkloadStatus
from emu.kube.api.core import Node, NodeSpec, Pod, Taint
from emu.kube.api.loader import load_text
from emu.kube.api.meta import Key, ObjectMeta, replace
from emu.kube.controllers import scale
from emu.kube.controllers.names import ALPHABET, generate, template_hash
from emu.kube.scheduler import Scheduler
from emu.kube.store import Store


def workload(
    kind: str, name: str = "web", replicas: int | None = 3, more: str = "", pod: str = "", image: str = "a"
) -> str:
    count = "" if replicas is None else f"  replicas: {replicas}\n"
    return f"""\
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
{count}{more}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}, annotations: {{emu/app: http@80}}}}
    spec:
      containers: [{{name: c, image: "{image}"}}]
{pod}"""


def key(kind: str, name: str = "web") -> Key:
    return Key(kind, "default", name)


def test_a_deployment_makes_a_replicaset_and_pods(plane: Plane) -> None:
    plane.apply(workload("Deployment"))
    [rs] = plane.store.list(ReplicaSet)
    deployment = plane.store.get(Deployment, "default", "web")
    assert deployment is not None
    assert rs.name == f"web-{template_hash(deployment.spec.template)}"
    assert len(plane.pods()) == 3
    for pod in plane.pods():
        assert re.fullmatch(rf"web-[{ALPHABET}]{{10}}-[{ALPHABET}]{{5}}", pod.name)
        assert pod.name.startswith(f"{rs.name}-")
        assert pod.metadata.labels == {"app": "web", "pod-template-hash": rs.name[4:]}
        assert pod.metadata.annotations == {"emu/app": "http@80"}
        assert pod.metadata.controller is not None
        assert pod.metadata.controller.uid == rs.metadata.uid
    assert (deployment.status.replicas, deployment.status.ready_replicas) == (3, 3)


def test_names_depend_on_their_own_input_and_the_seed_only(new_plane: Callable[..., Plane]) -> None:
    alone, beside, reseeded = new_plane(), new_plane(), new_plane(seed=1)
    beside.apply(workload("Deployment", name="other"))
    for plane in (alone, beside, reseeded):
        plane.apply(workload("Deployment"))
    names = [[p.name for p in plane.pods("web-")] for plane in (alone, beside, reseeded)]
    assert names[0] == names[1] != names[2]
    assert names[0] == [p.name for p in alone.pods()]


def test_a_generated_name_is_never_used_twice() -> None:
    store = Store()
    names = [generate(store, "pod", "default", "web-", 0) for _ in range(500)]
    assert len(set(names)) == 500
    long = generate(store, "pod", "default", "x" * 100 + "-", 0)
    assert len(long) == 63


def test_a_deleted_pod_of_a_deployment_is_replaced_and_a_bare_one_is_not(plane: Plane) -> None:
    plane.apply(workload("Deployment", replicas=2))
    plane.apply("{apiVersion: v1, kind: Pod, metadata: {name: bare}, spec: {containers: [{name: c}]}}")
    before = {p.name for p in plane.pods("web-")}
    gone = min(before)
    plane.store.delete(key("pod", gone))
    plane.store.delete(key("pod", "bare"))
    plane.settle()
    after = {p.name for p in plane.pods()}
    assert len(after) == 2
    assert len(after - before) == 1
    assert gone not in after


def test_a_terminating_pod_is_replaced_before_it_is_gone(plane: Plane) -> None:
    plane.apply(workload("Deployment", replicas=1))
    [pod] = plane.pods()
    plane.store.put(replace(pod, metadata=replace(pod.metadata, deletion_timestamp="2025-01-01T00:00:00Z")))
    plane.settle()
    assert [p.terminating for p in plane.pods()] == [True, False]


def test_scale_up_and_down(plane: Plane) -> None:
    plane.apply(workload("Deployment", replicas=2))
    first = [p.name for p in plane.pods()]
    scale(plane.store, key("deployment"), 5)
    plane.settle()
    assert [p.name for p in plane.pods()][:2] == first
    assert len(plane.pods()) == 5
    scale(plane.store, key("deployment"), 1)
    plane.settle()
    # n1 had three pods and n2 two: how crowded a node is counts before age, and is counted once
    assert [p.name for p in plane.pods()] == first[1:]
    scale(plane.store, key("deployment"), 0)
    plane.settle()
    assert plane.pods() == []


@pytest.mark.parametrize(
    ("what", "replicas", "message"),
    [
        (key("deployment", "none"), 1, "there is no deployment/none"),
        (key("node", "n1")._replace(namespace=""), 1, "node/n1 cannot be scaled"),
        (key("deployment"), -1, "deployment/web cannot have -1 replicas"),
    ],
)
def test_scaling_mistakes(plane: Plane, what: Key, replicas: int, message: str) -> None:
    plane.apply(workload("Deployment"))
    with pytest.raises(InputError, match=message):
        scale(plane.store, what, replicas)


def bare_set(store: Store, replicas: int) -> ReplicaSet:
    [rs] = load_text(workload("ReplicaSet", replicas=replicas)).objects
    assert isinstance(rs, ReplicaSet)
    return store.put(rs)


@pytest.mark.parametrize("case", ["unbound", "pending", "unready", "cheap", "crowded", "young"])
def test_who_goes_first_when_scaling_down(plane: Plane, case: str) -> None:
    plane.apply([bare_set(Store(), 4)])
    pods = plane.pods()
    assert Counter(p.spec.node_name for p in pods) == {"n1": 2, "n2": 2}
    victim = pods[0]
    if case == "unbound":
        victim = plane.store.put(replace(victim, spec=replace(victim.spec, node_name="")))
    elif case == "pending":
        victim = plane.store.put(replace(victim, status=replace(victim.status, phase="Pending")))
    elif case == "unready":
        victim = plane.store.put(replace(victim, status=replace(victim.status, conditions=())))
    elif case == "cheap":
        cost = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
        victim = plane.store.put(replace(victim, metadata=replace(victim.metadata, annotations=cost)))
    elif case == "crowded":
        lone = next(p for p in pods[1:] if p.spec.node_name != victim.spec.node_name)
        plane.store.put(replace(lone, spec=replace(lone.spec, node_name=victim.spec.node_name)))
        victim = next(p for p in reversed(plane.pods()) if p.spec.node_name == victim.spec.node_name)
    else:
        victim = pods[-1]
    scale(plane.store, key("replicaset"), 3)
    plane.controllers.reconcile()
    assert victim.key not in {p.key for p in plane.pods()}
    assert len(plane.pods()) == 3


def test_a_replicaset_adopts_and_releases(plane: Plane) -> None:
    plane.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: orphan, labels: {app: web}}, spec: {containers: [{name: c}]}}"
    )
    plane.apply(workload("ReplicaSet", replicas=2))
    assert len(plane.pods()) == 2
    orphan = plane.store.get(Pod, "default", "orphan")
    assert orphan is not None
    assert orphan.metadata.controller is not None
    plane.store.put(replace(orphan, metadata=replace(orphan.metadata, labels={"app": "mine"})))
    plane.settle()
    assert len(plane.pods("web-")) == 2
    released = plane.store.get(Pod, "default", "orphan")
    assert released is not None
    assert released.metadata.owner_references == ()


@pytest.mark.parametrize("owner", ["deployment", "statefulset", "daemonset", "replicaset"])
def test_deletion_cascades(plane: Plane, owner: str) -> None:
    kind = {
        "deployment": "Deployment",
        "statefulset": "StatefulSet",
        "daemonset": "DaemonSet",
        "replicaset": "ReplicaSet",
    }
    plane.apply(workload(kind[owner], replicas=None))
    assert plane.pods()
    plane.store.delete(key(owner))
    plane.settle()
    assert plane.pods() == []
    assert plane.store.list(ReplicaSet) == []


def test_a_namespace_takes_its_content(plane: Plane) -> None:
    plane.apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
    plane.apply(workload("Deployment").replace("name: web}\nspec", "name: web, namespace: shop}\nspec"))
    assert {p.namespace for p in plane.pods()} == {"shop"}
    plane.store.delete(Key("namespace", "", "shop"))
    plane.settle()
    assert {o.kind for o in plane.store} == {"Node"}


def test_pods_of_a_deleted_node_move(plane: Plane) -> None:
    plane.apply(workload("Deployment", replicas=4))
    plane.store.delete(Key("node", "", "n1"))
    plane.settle()
    assert [p.spec.node_name for p in plane.pods()] == ["n2"] * 4


def test_an_owner_that_was_never_here_is_not_missed(plane: Plane) -> None:
    plane.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: a, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, "
        "name: other, uid: x, controller: true}]}, spec: {containers: [{name: c}]}}"
    )
    assert len(plane.pods()) == 1


def test_rolling_update_keeps_enough_pods_ready(plane: Plane) -> None:
    plane.apply(workload("Deployment", replicas=4))
    old = {p.name for p in plane.pods()}
    counts: list[tuple[int, int]] = []
    plane.store.watch(Pod, lambda *_: counts.append((len(plane.pods()), sum(p.ready for p in plane.pods()))))
    plane.apply(workload("Deployment", replicas=4, image="b"))
    assert max(total for total, _ in counts) == 5  # 25% surge
    assert min(ready for _, ready in counts) >= 3  # 25% unavailable
    assert not old & {p.name for p in plane.pods()}
    assert [(rs.spec.replicas, rs.status.replicas) for rs in plane.store.list(ReplicaSet)] == [(0, 0), (4, 4)]
    plane.apply(workload("Deployment", replicas=4, image="a"))  # back again: the first ReplicaSet is used again
    assert [rs.spec.replicas for rs in plane.store.list(ReplicaSet)] == [4, 0]


def test_a_rolling_update_that_never_gets_ready_stops(plane: Plane) -> None:
    plane.apply(workload("Deployment", replicas=4))
    plane.kubelet = lambda: None  # type: ignore[method-assign]  # no pod is started any more
    plane.apply(workload("Deployment", replicas=4, image="b"))
    assert sorted((rs.spec.replicas, rs.status.ready_replicas) for rs in plane.store.list(ReplicaSet)) == [
        (2, 0),
        (3, 3),
    ]
    status = plane.store.list(Deployment)[0].status
    assert (status.replicas, status.ready_replicas, status.updated_replicas, status.available_replicas) == (5, 3, 2, 3)


def test_recreate(plane: Plane) -> None:
    more = "  strategy: {type: Recreate}\n"
    plane.apply(workload("Deployment", more=more))
    totals: list[int] = []
    plane.store.watch(Pod, lambda *_: totals.append(len(plane.pods())))
    plane.apply(workload("Deployment", more=more, image="b"))
    assert 0 in totals
    assert max(totals) == 3
    assert len(plane.pods()) == 3


def test_history_is_limited_and_paused_waits(plane: Plane) -> None:
    for image in "abcd":
        plane.apply(workload("Deployment", more="  revisionHistoryLimit: 1\n", image=image))
    assert [rs.spec.replicas for rs in plane.store.list(ReplicaSet)] == [0, 3]
    before = plane.pods()
    plane.apply(workload("Deployment", more="  paused: true\n", image="e"))
    assert plane.pods() == before


def test_statefulset_pods_come_one_after_the_other(plane: Plane) -> None:
    plane.held.add("db-1")
    plane.apply(workload("StatefulSet", name="db", more="  serviceName: dbs\n"))
    assert [p.name for p in plane.pods()] == ["db-0", "db-1"]
    plane.store.delete(key("pod", "db-1"))
    plane.held.clear()
    plane.settle()
    assert [p.name for p in plane.pods()] == ["db-0", "db-1", "db-2"]
    pod = plane.pods()[2]
    assert (pod.spec.hostname, pod.spec.subdomain) == ("db-2", "dbs")
    assert pod.metadata.labels["statefulset.kubernetes.io/pod-name"] == "db-2"
    assert pod.metadata.labels["apps.kubernetes.io/pod-index"] == "2"
    plane.store.delete(key("pod", "db-0"))
    plane.settle()
    assert sorted(p.name for p in plane.pods()) == ["db-0", "db-1", "db-2"]
    scale(plane.store, key("statefulset", "db"), 1)
    plane.settle()
    assert [p.name for p in plane.pods()] == ["db-0"]
    status = plane.store.list(StatefulSet)[0].status
    assert (status.replicas, status.ready_replicas) == (1, 1)


def test_statefulset_ordinals_and_parallel(plane: Plane) -> None:
    plane.held |= {"db-5"}
    plane.apply(workload("StatefulSet", name="db", more="  podManagementPolicy: Parallel\n  ordinals: {start: 5}\n"))
    assert [p.name for p in plane.pods()] == ["db-5", "db-6", "db-7"]


def test_statefulset_renews_from_the_highest_down_to_the_partition(plane: Plane) -> None:
    plane.apply(workload("StatefulSet", name="db"))
    uids = {p.name: p.metadata.uid for p in plane.pods()}
    deleted: list[str] = []
    plane.store.watch(Pod, lambda event, pod, _: deleted.append(pod.name) if event == "DELETED" else None)
    plane.apply(
        workload("StatefulSet", name="db", image="b", more="  updateStrategy: {rollingUpdate: {partition: 1}}\n")
    )
    assert deleted == ["db-2", "db-1"]
    assert [p.name for p in plane.pods() if p.metadata.uid == uids[p.name]] == ["db-0"]
    assert plane.store.list(StatefulSet)[0].status == WorkloadStatus(3, 3, updated_replicas=2, available_replicas=3)


def test_daemonset_runs_on_every_matching_node(plane: Plane) -> None:
    plane.apply(workload("DaemonSet", replicas=None))
    assert [p.spec.node_name for p in plane.pods()] == ["n1", "n2"]
    plane.apply([Node(metadata=ObjectMeta(name="n3"), spec=NodeSpec(unschedulable=True))])
    assert [p.spec.node_name for p in plane.pods()] == ["n1", "n2", "n3"]
    plane.store.delete(Key("node", "", "n2"))
    plane.settle()
    assert [p.spec.node_name for p in plane.pods()] == ["n1", "n3"]
    plane.apply(workload("DaemonSet", replicas=None, pod="      nodeSelector: {topology.kubernetes.io/zone: z1}\n"))
    assert [p.spec.node_name for p in plane.pods()] == ["n1"]
    assert plane.store.list(DaemonSet)[0].status == DaemonSetStatus(1, 1, 1, 1, 1)


def test_a_pod_of_a_daemonset_may_stay_where_none_would_start(plane: Plane) -> None:
    plane.apply(workload("DaemonSet", replicas=None))
    taint = Taint(key="dedicated", effect="NoSchedule")
    plane.apply([Node(metadata=ObjectMeta(name="n2"), spec=NodeSpec(taints=(taint,)))])
    assert [p.spec.node_name for p in plane.pods()] == ["n1", "n2"]
    assert plane.store.list(DaemonSet)[0].status == DaemonSetStatus(1, 1, 1, 1, 1)


def test_daemonset_renews_one_at_a_time(plane: Plane) -> None:
    plane.apply(workload("DaemonSet", replicas=None))
    old = {p.name for p in plane.pods()}
    totals: list[int] = []
    plane.store.watch(Pod, lambda *_: totals.append(len(plane.pods())))
    plane.apply(workload("DaemonSet", replicas=None, image="b"))
    assert min(totals) == 1
    assert not old & {p.name for p in plane.pods()}


def test_a_settled_store_stays_as_it_is(plane: Plane) -> None:
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        plane.apply(workload(kind, name=kind.lower(), replicas=None))
    before = [*plane.store]
    plane.controllers.look_at_all()
    assert plane.controllers.reconcile() is False
    assert Scheduler(plane.store).schedule() is False
    assert [*plane.store] == before
