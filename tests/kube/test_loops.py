"""Changes on their way through a cluster in virtual time: slices, proxies, pods that terminate, nodes that are drained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from agents_of import proxiers
from emu.clock import MS, SECOND
from emu.errors import InputError
from emu.kube.api.core import Node, Pod
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.loader import load_text
from emu.kube.api.meta import replace
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.timing import Timing

OBJECTS = """
{apiVersion: v1, kind: Pod, metadata: {name: client}, spec: {nodeName: node-1, containers: [{name: c}]}}
---
apiVersion: apps/v1
kind: KIND
metadata: {name: web}
spec:
  REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {ANNOTATIONS}}
    spec:
      terminationGracePeriodSeconds: 20
      nodeSelector: {SELECTOR}
      containers: [{name: c, ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: web, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]}
"""
IP = "svc/web:80"


def text(kind: str, *, replicas: int = 2, annotations: str = "", selector: str = "") -> str:
    made = OBJECTS.replace("KIND", kind).replace("ANNOTATIONS", annotations).replace("SELECTOR", selector)
    return made.replace("REPLICAS", "" if kind == "DaemonSet" else f"replicas: {replicas}")


def build(
    nodes: int = 2,
    *,
    kind: str = "Deployment",
    replicas: int = 2,
    annotations: str = "",
    selector: str = "",
    timing: Timing | None = None,
) -> Cluster:
    objects = load_text(text(kind, replicas=replicas, annotations=annotations, selector=selector)).objects
    return Cluster(ClusterConfig.of(nodes, timing=timing or Timing()), objects)


def conditions(cluster: Cluster) -> dict[str, str]:
    """Every endpoint by its pod: r(eady) s(erving) t(erminating)."""
    return {
        each.target_ref.name: "".join(
            letter
            for letter in "rst"
            if getattr(each.conditions, {"r": "ready", "s": "serving", "t": "terminating"}[letter])
        )
        for found in cluster.store.list(EndpointSlice)
        for each in found.endpoints
        if each.target_ref is not None
    }


def web(cluster: Cluster, node: str = "") -> list[str]:
    """The web pods that run, of one node or of all."""
    return [name for name, each in cluster.pods.items() if "/web" in name and each.node.name.startswith(node)]


def reached(cluster: Cluster, times: int = 12) -> set[str]:
    return {cluster.tcp("default/client", IP, b"who?").at for _ in range(times)}


def test_a_cluster_starts_settled_and_in_no_time() -> None:
    cluster = build()
    assert cluster.loops.under_way == set()
    assert cluster.clock.now < MS
    assert [(p.syncs, p.full_syncs) for p in proxiers(cluster)] == [(1, 1), (1, 1)]
    assert reached(cluster) == set(web(cluster))


@pytest.mark.parametrize("batch_ms", [0, 400])
def test_news_takes_its_way(batch_ms: int) -> None:
    """Pod, slice, proxy: each sees the change before it a little later, the controller after its batch period."""
    cluster = build(timing=Timing(watch_ns=5 * MS, endpoint_updates_batch_ns=batch_ms * MS))
    cluster.wait(10)
    start_ns = cluster.clock.now
    victim = web(cluster)[0].partition("/")[2]
    cluster.delete("pod", "default", victim, settle=False)
    due_ns = start_ns + (5 + batch_ms) * MS

    def at(moment_ns: int, look: Callable[[], object]) -> object:
        cluster.clock.run_until(moment_ns)
        return look()

    def ended() -> object:
        return conditions(cluster)[victim]

    def syncs() -> object:
        return [proxier.syncs for proxier in proxiers(cluster)]

    assert (at(due_ns - 1, ended), at(due_ns + MS, ended)) == ("rs", "st")
    assert (at(due_ns + 5 * MS - 1, syncs), at(due_ns + 6 * MS, syncs)) == ([1, 1], [2, 2])


def test_a_deleted_pod_serves_its_grace_period_out() -> None:
    cluster = build()
    cluster.wait(5)
    old = web(cluster)
    open_flow = cluster.tcp("default/client", IP, b"one", close=False)
    gone = open_flow.at
    started_ns = cluster.clock.now
    cluster.delete("pod", *gone.split("/"), settle=False)
    pod = cluster.store.get(Pod, *gone.split("/"))
    assert pod is not None and pod.terminating and pod.metadata.deletion_grace_period_seconds == 20
    assert pod.metadata.deletion_timestamp == "2020-01-01T00:00:25Z"
    assert len(web(cluster)) == 3  # its ReplicaSet has made another at once
    cluster.wait(2)
    assert reached(cluster) == {name for name in web(cluster) if name != gone}
    answer = cluster.more(open_flow, b"two", close=False)
    assert (answer.received, answer.at) == (b"two", gone)
    assert cluster.tcp(
        "default/client", f"{gone}:8080"
    ).delivered  # no rule sends it new connections, but it accepts them
    cluster.clock.run_until(started_ns + 20 * SECOND - 1)
    assert gone in cluster.pods
    cluster.clock.run_until(started_ns + 21 * SECOND)
    assert gone not in cluster.pods and cluster.store.get(Pod, *gone.split("/")) is None
    assert answer.socket is not None and answer.socket.state == "CLOSE_WAIT"  # it has closed
    assert set(old) - set(web(cluster)) == {gone}


def test_settled_a_deleted_pod_is_gone() -> None:
    cluster = build()
    gone = web(cluster)[0]
    before_ns = cluster.clock.now
    cluster.delete("pod", *gone.split("/"))
    assert gone not in cluster.pods
    assert 20 * SECOND < cluster.clock.now - before_ns < 23 * SECOND
    assert cluster.loops.under_way == set()
    assert reached(cluster) == set(web(cluster))


def test_a_pod_that_ends_at_once_refuses_until_the_proxies_know() -> None:
    cluster = build(replicas=1, annotations='"emu/terminate": "at-once"')
    cluster.wait(5)
    gone = web(cluster)[0]
    cluster.scale("deployment", "default", "web", 0, settle=False)
    cluster.clock.run_until(cluster.clock.now)
    flow = cluster.tcp("default/client", IP, timeout_s=0.004)
    assert (flow.outcome.word, flow.at) == ("refused", gone)
    cluster.wait(2)
    assert cluster.pods.keys() == {"default/client"}
    assert cluster.tcp("default/client", IP).outcome.word == "rejected"


@pytest.mark.parametrize("grace_s", [0, 3])
def test_a_deletion_may_be_given_another_grace(grace_s: int) -> None:
    cluster = build()
    gone = web(cluster)[0]
    cluster.delete("pod", *gone.split("/"), settle=False)
    cluster.delete("pod", *gone.split("/"), grace_s=grace_s, settle=False)
    assert cluster.pods[gone].ended is not bool(grace_s)  # its network stays a little longer than its containers
    cluster.delete("pod", "default", "client", grace_s=40, settle=False)
    cluster.wait(grace_s + 1)
    assert gone not in cluster.pods
    assert "default/client" in cluster.pods
    cluster.wait(40)
    assert "default/client" not in cluster.pods


def test_nothing_takes_a_deletion_back() -> None:
    cluster = build()
    pod = cluster.store.get(Pod, "default", "client")
    assert pod is not None
    cluster.delete("pod", "default", "client", settle=False)
    cluster.apply(load_text(OBJECTS.partition("---")[0]).objects[0], settle=False)
    cluster.settle()
    assert cluster.store.get(Pod, "default", "client") is None


def test_a_scaled_up_service_spreads() -> None:
    cluster = build(replicas=1)
    assert reached(cluster, 4) == set(web(cluster))
    cluster.scale("deployment", "default", "web", 4)
    assert len(web(cluster)) == 4
    assert reached(cluster, 40) == set(web(cluster))


def test_a_drained_node_hands_its_pods_over() -> None:
    cluster = build(3)
    before = web(cluster, "node-2")
    assert before
    gone = cluster.drain("node-2", settle=False)
    assert gone == before
    node = cluster.store.get(Node, "", "node-2")
    assert node is not None and node.spec.unschedulable
    cluster.wait(2)
    assert reached(cluster) == set(web(cluster)) - set(before)
    cluster.settle()
    assert web(cluster, "node-2") == [] and len(web(cluster)) == 2
    cluster.cordon("node-2", unschedulable=False)
    cluster.scale("deployment", "default", "web", 3)
    assert len(web(cluster, "node-2")) == 1


def test_where_no_other_is_ready_the_drained_nodes_pods_serve_on() -> None:
    """Nothing can go elsewhere: the terminating endpoints are the only ones, and serve until they are gone."""
    cluster = build(2, selector="disk: fast")
    node = cluster.store.get(Node, "", "node-2")
    assert node is not None
    cluster.apply(replace(node, metadata=replace(node.metadata, labels={"disk": "fast"})))
    before = web(cluster, "node-2")
    assert len(before) == 2
    cluster.drain("node-2", settle=False)
    cluster.wait(5)
    assert sorted(conditions(cluster).values()) == ["st", "st"]
    assert reached(cluster) == set(before)
    cluster.settle()
    assert web(cluster) == []
    assert cluster.tcp("default/client", IP).outcome.word == "rejected"


def test_a_drain_leaves_daemon_sets_alone() -> None:
    cluster = build(2, kind="DaemonSet")
    assert cluster.drain("node-1") == ["default/client"]
    assert len(web(cluster, "node-1")) == 1


def test_a_daemon_makes_room_for_the_next_one() -> None:
    cluster = build(2, kind="DaemonSet")
    gone = web(cluster, "node-2")[0]
    cluster.delete("pod", *gone.split("/"), settle=False)
    cluster.wait(10)
    assert web(cluster, "node-2") == [gone]
    cluster.settle()
    assert len(web(cluster, "node-2")) == 1 and gone not in web(cluster)


def test_a_stateful_pod_comes_back_under_its_name_when_the_old_one_is_gone() -> None:
    cluster = build(2, kind="StatefulSet")
    uid = cluster.pods["default/web-0"].uid
    cluster.delete("pod", "default", "web-0", settle=False)
    cluster.wait(10)
    assert cluster.pods["default/web-0"].uid == uid
    cluster.settle()
    assert cluster.pods["default/web-0"].uid != uid
    assert reached(cluster) == {"default/web-0", "default/web-1"}


def test_a_udp_client_is_moved_when_its_endpoint_stops_serving() -> None:
    """The client keeps its port: its entry lives while the pod serves, and is flushed when it is out of the slice."""
    cluster = build(3)
    cluster.wait(5)

    def ask() -> tuple[str, bytes]:
        flow = cluster.udp("default/client", "svc/web:53", b"?", port=5353)
        return flow.at, flow.received

    first, _ = ask()
    cluster.delete("pod", *first.split("/"), settle=False)
    cluster.wait(3)
    assert ask() == (first, b"?")  # terminating, but serving
    flushed = 0
    for _ in range(20):
        cluster.wait(1)
        at, received = ask()
        if at != first:
            flushed += 1
            assert received == b"?"
    assert flushed and first not in cluster.pods


def test_a_transfer_goes_on_through_a_rolling_update() -> None:
    """Over a slow link, to a pod that is replaced meanwhile: the bytes all come back, new connections go elsewhere."""
    cluster = build()
    cluster.wait(2)
    cluster.link("default/client", delay_ms=100)
    before = web(cluster)
    opened = cluster.tcp("default/client", IP, close=False)
    cluster.apply(load_text(text("Deployment", annotations="v: '2'")).objects[1], settle=False)
    flow = cluster.more(opened, bytes(200_000), timeout_s=15)
    assert flow.received == bytes(200_000)
    assert flow.at == opened.at and flow.at in before
    assert cluster.tcp("default/client", IP).at not in before
    assert set(before) <= set(web(cluster))
    cluster.settle()
    assert not set(before) & set(web(cluster)) and len(web(cluster)) == 2


def test_the_same_events_give_the_same_frames() -> None:
    def run() -> list[tuple[int, str, bytes]]:
        cluster = build()
        cluster.drain("node-2", settle=False)
        for _ in range(4):
            cluster.tcp("default/client", IP, b"x")
            cluster.wait(1)
        cluster.settle()
        assert cluster.capture is not None
        return [(each.time_ns, each.interface, bytes(each.data)) for each in cluster.capture.frames()]

    assert run() == run()


def test_proxies_look_after_their_rules() -> None:
    cluster = build()
    cluster.wait(1)
    tables = cluster.nodes["node-1"].net.ipv4.tables
    saved = tables.save()
    tables.restore("*nat\nCOMMIT\n*filter\nCOMMIT\n*mangle\nCOMMIT\n")
    assert cluster.tcp("default/client", IP, timeout_s=1).outcome.word != "delivered"
    cluster.wait(32)
    assert "KUBE-SERVICES" in tables.save() and "KUBE-SERVICES" in saved
    assert reached(cluster) == set(web(cluster))
    assert [p.full_syncs for p in proxiers(cluster)] == [2, 1]


def test_what_cannot_be_drained() -> None:
    with pytest.raises(InputError, match="no node is called 'node-9'"):
        build().drain("node-9")
    with pytest.raises(InputError, match="not the name of one node"):
        build().drain("node-*")


@pytest.mark.parametrize("change", [Cluster.drain, Cluster.cordon, partial(Cluster.cordon, unschedulable=False)])
def test_a_node_that_was_deleted_is_neither_cordoned_nor_drained(change: Callable[..., object]) -> None:
    cluster = build()
    cluster.delete("node", "", "node-2")
    with pytest.raises(InputError, match="node 'node-2' was deleted"):
        change(cluster, "node-2")


def test_a_kubelet_stops_its_own_pod_and_not_the_one_of_the_same_name_on_another_node() -> None:
    """A StatefulSet makes its pod again before the kubelet of the old one has looked."""
    cluster = build(2, kind="StatefulSet", replicas=1)
    old = cluster.pods["default/web-0"]
    assert old.node.name == "node-2"
    cluster.cordon("node-2")
    cluster.delete("pod", "default", "web-0", grace_s=0)
    new = cluster.pods["default/web-0"]
    assert new.node.name == "node-1" and new.uid != old.uid
    assert [*old.node.sandboxes] == []
    assert cluster.namespaces["default/web-0"] is new.net
    assert reached(cluster) == {"default/web-0"}


def test_no_node_joins_a_running_cluster() -> None:
    cluster = build()
    node = cluster.store.get(Node, "", "node-1")
    assert node is not None
    with pytest.raises(InputError, match="node 'late' cannot join a running cluster"):
        cluster.apply(replace(node, metadata=replace(node.metadata, name="late")))


@pytest.mark.parametrize(("annotation", "word"), [("emu/ready", "no"), ("emu/terminate", "now")])
def test_unknown_words_in_annotations_are_reported(annotation: str, word: str) -> None:
    with pytest.raises(InputError) as wrong:
        build(annotations=f'"{annotation}": "{word}"')
    assert f"cannot read '{word}'" in str(wrong.value) and annotation in str(wrong.value)


def test_a_pod_that_is_not_ready_any_more_gets_no_new_connections() -> None:
    cluster = build()
    pod = cluster.store.get(Pod, *web(cluster)[0].split("/"))
    assert pod is not None
    cluster.apply(replace(pod, metadata=replace(pod.metadata, annotations={"emu/ready": "false"})))
    assert conditions(cluster)[pod.name] == ""
    assert reached(cluster) == {name for name in web(cluster) if not name.endswith(pod.name)}
