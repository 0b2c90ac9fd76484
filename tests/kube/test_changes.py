"""Control loops that follow changes: the same cluster as full passes make, and no look at what a change does not concern."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agents_of import proxiers
from emu.errors import InputError
from emu.kernel.netfilter.ruleset import BUILT_IN, Chain, RuleSet
from emu.kube.api.core import Node, Pod
from emu.kube.api.loader import load_text
from emu.kube.api.meta import Object, replace
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.controllers import Controllers
from emu.kube.scheduler import Scheduler
from full_pass import full_pass_cluster, node_by_node_cluster

LABELS = ("app: a", "app: b", "app: a, tier: x", "tier: x")
KINDS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
WORKLOAD = """
apiVersion: apps/v1
kind: {kind}
metadata: {{name: w{name}}}
spec:
  {replicas}
  selector: {{matchLabels: {{{labels}}}}}
  template:
    metadata: {{labels: {{{labels}, more: w{name}}}, annotations: {{{annotations}}}}}
    spec: {{{spec}, containers: [{{name: c, image: v{image}, ports: [{{name: web, containerPort: 8080}}]}}]}}
"""
SERVICE = "{{apiVersion: v1, kind: Service, metadata: {{name: s{name}}}, spec: {{{spec}, ports: [{{port: {port}, targetPort: web}}]}}}}"
POD = "{{apiVersion: v1, kind: Pod, metadata: {{name: p{name}, labels: {{{labels}}}}}, spec: {{{spec}, containers: [{{name: c, ports: [{{name: web, containerPort: 8080}}]}}]}}}}"
POD_SPECS = (
    "dnsPolicy: Default",
    "terminationGracePeriodSeconds: 1",
    "nodeSelector: {disk: fast}",
    "hostNetwork: true",
)
SERVICE_SPECS = (
    "type: NodePort",
    "clusterIP: None",
    "clusterIP: 10.96.0.9",
    "externalIPs: [203.0.113.77]",
    "type: ClusterIP",
    "internalTrafficPolicy: Local",
    "type: NodePort, externalTrafficPolicy: Local",
    "type: LoadBalancer, externalTrafficPolicy: Local",
)
ANNOTATIONS = ("", '"emu/ready": "false"', '"emu/terminate": "at-once"')
Step = tuple[str, int, int, int, bool]


def read(text: str) -> Object:
    return load_text(text).objects[0]


def pick(found: list[Any], number: int) -> Any:
    if not found:
        raise InputError("there is none")
    return found[number % len(found)]


def apply_workload(cluster: Cluster, a: int, b: int, c: int) -> None:
    kind = KINDS[a % 4]
    text = WORKLOAD.format(
        kind=kind,
        name=b % 3,
        replicas="" if kind == "DaemonSet" else f"replicas: {c % 5}",
        labels=LABELS[b % 4],
        annotations=ANNOTATIONS[c % 3],
        spec=POD_SPECS[(a + c) % 4],
        image=a % 2,
    )
    cluster.apply(read(text), settle=False)


def apply_service(cluster: Cluster, a: int, b: int, c: int) -> None:
    selector = ("", *LABELS)[b % 5]
    spec = SERVICE_SPECS[c % len(SERVICE_SPECS)] + (f", selector: {{{selector}}}" if selector else "")
    cluster.apply(read(SERVICE.format(name=a % 3, spec=spec, port=80 + b % 2)), settle=False)


def apply_pod(cluster: Cluster, a: int, b: int, c: int) -> None:
    cluster.apply(read(POD.format(name=a % 3, labels=LABELS[b % 4], spec=POD_SPECS[c % 4])), settle=False)


def apply_endpoints(cluster: Cluster, a: int, b: int, c: int) -> None:
    text = (
        "{{apiVersion: v1, kind: Endpoints, metadata: {{name: s{}}}, subsets: [{{addresses: [{{ip: 192.0.2.{}}}]}}]}}"
    )
    cluster.apply(read(text.format(a % 3, 1 + b)), settle=False)


def delete(cluster: Cluster, a: int, b: int, c: int) -> None:
    obj = pick([each for each in cluster.store if each.kind not in ("Node", "Namespace")], 7 * a + b)
    cluster.delete(obj.kind, obj.namespace, obj.name, grace_s=(None, 0, 2)[c % 3], settle=False)


def scale(cluster: Cluster, a: int, b: int, c: int) -> None:
    obj = pick([each for each in cluster.store if each.kind in KINDS[:3]], a)
    cluster.scale(obj.kind, obj.namespace, obj.name, b % 5, settle=False)


def change_pod(cluster: Cluster, a: int, b: int, c: int) -> None:
    """Other labels, another readiness, an owner that lets go, or an end."""
    pod = pick(cluster.store.list(Pod), 7 * a + b)
    meta = pod.metadata
    changed = (
        replace(pod, metadata=replace(meta, labels={**meta.labels, "app": "ab"[c % 2]})),
        replace(pod, metadata=replace(meta, annotations={"emu/ready": ("true", "false")[c % 2]})),
        replace(pod, metadata=replace(meta, owner_references=())),
        replace(pod, status=replace(pod.status, phase="Succeeded")),
    )
    cluster.store.put(changed[(a + c) % 4])
    cluster.loops.act()


def change_node(cluster: Cluster, a: int, b: int, c: int) -> None:
    node = pick(cluster.store.list(Node), a)
    label = ("disk", "topology.kubernetes.io/zone")[b % 2]
    labels = {**node.metadata.labels, label: ("fast", "slow")[c % 2]}
    cluster.apply(replace(node, metadata=replace(node.metadata, labels=labels)), settle=False)


def delete_node(cluster: Cluster, a: int, b: int, c: int) -> None:
    cluster.delete("node", "", f"node-{1 + a % 3}", settle=False)


def drain(cluster: Cluster, a: int, b: int, c: int) -> None:
    cluster.drain(pick(cluster.store.list(Node), a).name, settle=False)


def cordon(cluster: Cluster, a: int, b: int, c: int) -> None:
    cluster.cordon(pick(cluster.store.list(Node), a).name, unschedulable=bool(b % 2), settle=False)


def add_rules(cluster: Cluster, a: int, b: int, c: int) -> None:
    """Another program adds a rule on a node."""
    tables = cluster.nodes[f"node-{1 + a % 3}"].net.ipv4.tables
    tables.restore(f"*filter\n-A FORWARD -p tcp -m tcp --dport {b} -j DROP\nCOMMIT\n", noflush=True)


def break_rules(cluster: Cluster, a: int, b: int, c: int) -> None:
    """Another program flushes a node's tables, or deletes the chains of Services."""
    tables = cluster.nodes[f"node-{1 + a % 3}"].net.ipv4.tables
    nat = tables.ruleset.tables.get("nat", {})
    if b % 2 or not nat:
        tables.replace(RuleSet({}))
        return
    kept = {name: chain for name, chain in nat.items() if not name.startswith("KUBE-S")}
    tables.replace(
        RuleSet({**tables.ruleset.tables, "nat": kept | {name: Chain(name, "ACCEPT") for name in BUILT_IN["nat"]}})
    )


def wait(cluster: Cluster, a: int, b: int, c: int) -> None:
    cluster.wait((0.004, 0.5, 3, 40)[a % 4])


STEPS: dict[str, Callable[[Cluster, int, int, int], None]] = {
    each.__name__: each
    for each in (
        apply_workload, apply_service, apply_pod, apply_endpoints, delete, scale, change_pod, change_node, delete_node,
        drain, cordon, add_rules, wait,
    )
}  # fmt: skip
NUMBERS = st.integers(0, 20)
# workloads and deletions more often: most of the others change what these make
WORDS = st.sampled_from([*STEPS, "apply_workload", "apply_workload", "delete", "scale", "change_pod"])

# what a look at every chain would mend and a partial sync leaves
RULE_WORDS = st.sampled_from(
    ["break_rules", "add_rules", "apply_service", "scale", "delete", "change_pod", "change_node", "wait"]
)


def state(cluster: Cluster) -> dict[str, Any]:
    """All that a change can reach: objects with their uids and versions, rules, what runs where, every frame."""
    assert cluster.capture is not None
    return {
        "objects": [msgspec.json.encode(each) for each in cluster.store],
        "syncs": [(each.syncs, each.full_syncs) for each in proxiers(cluster)],
        "health checks": [each.serves_health and each.health.reports for each in proxiers(cluster)],
        "rules": [node.net.ipv4.tables.save() for node in cluster.nodes.values()],
        "pods": [(name, each.uid, each.ip, each.node.name) for name, each in cluster.pods.items()],
        "frames": [(each.time_ns, each.interface, each.data) for each in cluster.capture.frames()],
        "now": cluster.clock.now,
    }


def play(cluster: Cluster, step: Step) -> str:
    word, a, b, c, settled = step
    try:
        {**STEPS, "break_rules": break_rules}[word](cluster, a, b, c)
        if settled:
            cluster.settle()
    except InputError as error:
        return str(error)
    return ""


def settled_is_settled(cluster: Cluster) -> None:
    """A full pass finds nothing to do."""
    controllers, scheduler = Controllers(cluster.store, cluster.seed), Scheduler(cluster.store)
    before = [*cluster.store]
    controllers.reconcile()
    scheduler.schedule()
    controllers.close()
    scheduler.close()
    assert [*cluster.store] == before


# without shrinking, which takes minutes here
@settings(deadline=None, max_examples=20, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(st.tuples(WORDS, NUMBERS, NUMBERS, NUMBERS, st.booleans()), min_size=1, max_size=12))
def test_following_changes_gives_what_full_passes_give(steps: list[Step]) -> None:
    start = [read(WORKLOAD.format(kind="Deployment", name=0, replicas="replicas: 3", labels="app: a", annotations="", spec=POD_SPECS[0], image=0))]  # fmt: skip
    start.append(read(SERVICE.format(name=0, spec="selector: {app: a}", port=80)))
    one, other = (make(ClusterConfig.of(3), start) for make in (Cluster, full_pass_cluster))
    assert state(one) == state(other)
    for step in [*steps, ("wait", 0, 0, 0, True)]:
        word = play(one, step)
        assert play(other, step) == word
        assert state(one) == state(other)
        if step[-1] and not word:
            settled_is_settled(one)


@settings(deadline=None, max_examples=15, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(st.tuples(RULE_WORDS, NUMBERS, NUMBERS, NUMBERS, st.booleans()), min_size=1, max_size=10))
def test_nodes_that_sync_as_one_end_as_those_that_sync_one_by_one(steps: list[Step]) -> None:
    start = [read(SERVICE.format(name=n, spec=f"{spec}, selector: {{app: a}}", port=80)) for n, spec in enumerate(SERVICE_SPECS[-3:])]  # fmt: skip
    start.append(read(WORKLOAD.format(kind="Deployment", name=0, replicas="replicas: 2", labels="app: a", annotations="", spec=POD_SPECS[1], image=0)))  # fmt: skip
    one, other = (make(ClusterConfig.of(3), start) for make in (Cluster, node_by_node_cluster))
    for step in [*steps, ("wait", 3, 0, 0, True), ("wait", 3, 0, 0, True)]:
        assert play(other, step) == play(one, step)
        assert state(one) == state(other)


def large(nodes: int) -> Cluster:
    """Two pods a node, and a Service for each four."""
    objects = []
    for number in range(nodes // 2):
        labels = f"app: s{number}"
        objects.append(read(WORKLOAD.format(kind="Deployment", name=number, replicas="replicas: 4", labels=labels, annotations="", spec=POD_SPECS[0], image=0)))  # fmt: skip
        objects.append(read(SERVICE.format(name=number, spec=f"selector: {{{labels}}}", port=80)))
    return Cluster(ClusterConfig.of(nodes), objects)


def looks(cluster: Cluster) -> Counter[str]:
    loops = cluster.loops
    return loops.controllers.looked_at + Counter({"pods": loops.synced, "scheduled": loops.scheduler.looked_at})


def delete_a_pod(cluster: Cluster) -> None:
    cluster.delete("pod", "default", cluster.store.list(Pod)[0].name)


def scale_by_one(cluster: Cluster) -> None:
    cluster.scale("deployment", "default", "w0", 5)


def change_a_service(cluster: Cluster) -> None:
    cluster.apply(read(SERVICE.format(name=0, spec="selector: {app: s0}", port=81)))


def a_new_service(cluster: Cluster) -> None:
    cluster.apply(read(SERVICE.format(name="1-new", spec="selector: {app: s3}", port=80)))


def a_new_service_without_pods(cluster: Cluster) -> None:
    cluster.apply(read(SERVICE.format(name="1-new", spec="selector: {app: none}", port=80)))


def delete_a_service(cluster: Cluster) -> None:
    cluster.delete("service", "default", "s5")


def drain_a_node(cluster: Cluster) -> None:
    cluster.drain("node-2")


@pytest.mark.parametrize("change", [delete_a_pod, scale_by_one, change_a_service, drain_a_node])
def test_a_change_is_looked_at_by_those_that_it_concerns(change: Callable[[Cluster], None]) -> None:
    def cost(nodes: int) -> Counter[str]:
        cluster = large(nodes)
        before = looks(cluster)
        change(cluster)
        return looks(cluster) - before

    few = cost(4)
    assert few and cost(16) == few


def calls_of(act: Callable[[], object]) -> int:
    """How many Python functions are called."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.pure("calls of compiled functions are not counted")
def test_a_warm_flow_calls_no_more_functions_in_a_larger_cluster() -> None:
    def cost(nodes: int) -> int:
        cluster = large(nodes)
        client, server = [*cluster.pods][:2]

        def flow() -> None:
            assert cluster.tcp(client, f"{server}:8080", b"x").delivered

        flow()
        return calls_of(flow)

    few = cost(4)
    assert few > 100 and cost(32) == few


CHANGES = [delete_a_pod, scale_by_one, change_a_service, a_new_service, a_new_service_without_pods, delete_a_service]


@pytest.mark.pure("calls of compiled functions are not counted")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_calls_no_more_functions_in_a_larger_cluster(change: Callable[[Cluster], None]) -> None:
    """Nothing runs for each node, Service or pod: 80 more nodes are 80 calls more, if only one thing does. Both sizes are above
    the few Services at which a mapping is copied rather than layered."""

    def cost(nodes: int) -> int:
        cluster = large(nodes)
        cluster.scale("deployment", "default", "w1", 5)  # what is made at the first change is there
        cluster.apply(read(SERVICE.format(name=1, spec="selector: {app: s1}", port=81)))
        return calls_of(partial(change, cluster))

    few = cost(80)
    assert few > 100 and abs(cost(160) - few) < 28


@pytest.mark.pure("calls of compiled functions are not counted")
@pytest.mark.parametrize("change", CHANGES)
def test_the_flow_after_a_change_calls_no_more_functions_in_a_larger_cluster(
    change: Callable[[Cluster], None],
) -> None:
    """What a chain was compiled to is not compiled anew for what changed in it."""

    def cost(nodes: int) -> int:
        cluster = large(nodes)
        for name, node in (("client", "node-1"), ("server", "node-2")):
            cluster.apply(read(POD.format(name=name, labels=f"app: {name}", spec=f"nodeName: {node}")))
        cluster.apply(read(SERVICE.format(name="fixed", spec="selector: {app: server}", port=80)))

        def flow() -> None:
            assert cluster.tcp("default/pclient", "svc/sfixed:80", b"x").delivered

        flow()
        cluster.apply(read(SERVICE.format(name=1, spec="selector: {app: s1}", port=81)))
        flow()
        change(cluster)
        return calls_of(flow)

    few = cost(80)
    assert few > 100 and abs(cost(160) - few) < 28
