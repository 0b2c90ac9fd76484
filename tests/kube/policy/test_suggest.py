"""Suggested policies: applied, the packet is allowed and nothing else is taken away; each part of them is needed."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.kube.api.loader import convert
from emu.kube.api.meta import Object
from emu.kube.cluster import Cluster
from emu.kube.policy.ends import End
from emu.kube.policy.index import KINDS, PolicyIndex
from emu.kube.policy.suggest import suggest
from emu.kube.policy.verdict import Packet
from emu.testing.clusters import clusters
from emu.testing.strategies import examples

PORTS = (("TCP", 8080), ("TCP", 9999), ("UDP", 8080), ("UDP", 53))


def ends_of(index: PolicyIndex, cluster: Cluster) -> list[End]:
    nodes = [node for name in cluster.nodes if (node := index.node(name)) is not None]
    return [*index.pods, *nodes, index.end(cluster.layout.hosts["external"].ip)]


def table(index: PolicyIndex, ends: list[End]) -> set[tuple[str, str, str, int]]:
    """What is allowed, by the names of the ends."""
    return {
        (str(one), str(other), *port)
        for one in ends
        for other in ends
        for port in PORTS
        if one is not other and index.judge(Packet(one, other, *port)).allowed
    }


def with_(objects: list[Object], manifests: tuple[dict[str, Any], ...]) -> PolicyIndex:
    return PolicyIndex([*objects, *(obj for each in manifests for obj in convert(each))])


@pytest.mark.parametrize("network", ["bridge", "calico"])
@given(st.data())
@examples(25)
def test_what_is_suggested_allows_the_packet_and_takes_nothing_away(network: str, data: st.DataObject) -> None:
    """By the pure function, and between pods by packets of each dataplane."""
    planes = ("kube-router",) if network == "bridge" else ("",)
    shapes = clusters(
        networks=(network,), max_workloads=4, max_services=1, max_policies=5, dataplanes=planes, max_flows=1
    )
    cluster = data.draw(shapes).build(capture=False)
    index = cluster.policies.index
    ends = ends_of(index, cluster)
    pairs = [(one, other) for one in ends for other in ends if one is not other]
    forbidden = [each for pair in pairs for port in PORTS if not index.judge(each := Packet(*pair, *port)).allowed]
    if not forbidden:
        return
    packet = data.draw(st.sampled_from(forbidden))
    found = suggest(index, packet)
    assert bool(found.policies) is not bool(found.obstacles)
    objects = [obj for kind in KINDS for obj in cluster.store.list(kind)]
    before, after = table(index, ends), table(made := with_(objects, found.policies), ends_of(made, cluster))
    assert before <= after
    cell = (str(packet.source), str(packet.destination), packet.protocol, packet.port)
    assert (cell in after) is bool(found.policies)
    if found.policies and packet.source.pod is not None and packet.destination.pod is not None:
        for manifest in found.policies:
            for obj in convert(manifest):
                cluster.apply(obj)
        send = cluster.tcp if packet.protocol == "TCP" else cluster.udp
        flow = send(str(packet.source), f"{packet.destination}:{packet.port}", b"x", timeout_s=1)
        assert not flow.forbidden, flow


OBJECTS = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("shop", "web")
] + [
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": space, "labels": labels},
     "spec": {"nodeName": "node-1", "containers": [{"name": "c"}]}, "status": {"phase": "Running", "podIP": ip}}
    for space, name, labels, ip in (
        ("shop", "db-5d9c-x2x7k", {"app": "db", "tier": "data", "pod-template-hash": "5d9c"}, "10.244.1.2"),
        ("shop", "db-77aa-qqqqq", {"app": "db", "tier": "data", "pod-template-hash": "77aa"}, "10.244.1.8"),
        ("shop", "log", {"app": "log", "tier": "data"}, "10.244.1.3"),
        ("shop", "near", {"app": "near"}, "10.244.1.4"),
        ("web", "front", {"app": "front", "tier": "web"}, "10.244.1.5"),
        ("web", "front-2", {"app": "front", "tier": "edge"}, "10.244.1.6"),
        ("web", "bare", {}, "10.244.1.7"),
    )
]  # fmt: skip


def policy(namespace: str, spec: dict[str, Any], name: str = "deny") -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


ALL_IN: dict[str, Any] = {"podSelector": {}}
ALL_OUT: dict[str, Any] = {"podSelector": {}, "policyTypes": ["Egress"]}
DB, FRONT = {"matchLabels": {"app": "db", "tier": "data"}}, {"matchLabels": {"app": "front", "tier": "web"}}
WEB = {"matchLabels": {"kubernetes.io/metadata.name": "web"}}


def objects_of(*more: dict[str, Any]) -> list[Object]:
    return [obj for each in (*OBJECTS, *more) for obj in convert(each)]


def pod(index: PolicyIndex, namespace: str, name: str) -> End:
    found = index.pod(namespace, name)
    assert found is not None
    return found


def test_both_sides_are_suggested_where_both_are_isolated() -> None:
    index = PolicyIndex(objects_of(policy("shop", ALL_IN), policy("web", ALL_OUT)))
    found = suggest(index, Packet(pod(index, "web", "front"), pod(index, "shop", "db-5d9c-x2x7k"), "TCP", 5432))
    assert found.policies == (
        policy("web", {
            "podSelector": FRONT, "policyTypes": ["Egress"],
            "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}, "podSelector": DB}], "ports": [{"port": 5432}]}],
        }, "allow-to-db-5432"),
        policy("shop", {
            "podSelector": DB, "ingress": [{"from": [{"namespaceSelector": WEB, "podSelector": FRONT}], "ports": [{"port": 5432}]}],
        }, "allow-from-front-5432"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "labels", "workload"),
    [
        ("web-7d4b9c-x2kqp", {"pod-template-hash": "7d4b9c"}, "web"),
        ("log-agent-2xk8w", {"controller-revision-hash": "5f6"}, "log-agent"),
        ("db-0", {"controller-revision-hash": "db-5f6", "apps.kubernetes.io/pod-index": "0"}, "db"),
        ("nightly-29384-h7k2p", {"batch.kubernetes.io/job-name": "nightly-29384"}, "nightly-29384"),
        ("etcd-node-1", {}, "etcd-node-1"),
        ("renamed", {"pod-template-hash": "7d4b9c"}, "renamed"),
    ],
)
def test_a_policy_is_named_after_the_workload(name: str, labels: dict[str, str], workload: str) -> None:
    one = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c"}]}, "status": {"phase": "Running", "podIP": "10.244.1.40"},
    }  # fmt: skip
    index = PolicyIndex(objects_of(one, policy("shop", ALL_IN)))
    found = suggest(index, Packet(pod(index, "shop", name), pod(index, "shop", "near"), "TCP", 80))
    assert [each["metadata"]["name"] for each in found.policies] == [f"allow-from-{workload}-80"]


def parts(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places in a policy's spec that may be left out."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if at or key not in ("podSelector", "ingress", "egress"):
            yield (*at, key)
        if isinstance(inner, dict | list):
            yield from parts(inner, (*at, key))


def without(manifest: dict[str, Any], place: tuple[str | int, ...]) -> dict[str, Any]:
    made = deepcopy(manifest)
    inner = made["spec"]
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    return made


def test_each_part_is_needed() -> None:
    """Without it the packet is refused, or another is allowed: also of pods that have less labels, or are in another namespace. policyTypes
    keep the policy from taking something away."""
    probes = [
        ("shop", "db-plain", {"app": "db"}), ("shop", "data", {"tier": "data"}), ("web", "front-plain", {"app": "front"}),
        ("web", "edge", {"tier": "web"}), ("shop", "front-here", {"app": "front", "tier": "web"}),
        ("web", "db-there", {"app": "db", "tier": "data"}),
    ]  # fmt: skip
    more = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": space, "labels": labels},
         "spec": {"nodeName": "node-1", "containers": [{"name": "c"}]}, "status": {"phase": "Running", "podIP": f"10.244.1.{n}"}}
        for n, (space, name, labels) in enumerate(probes, 20)
    ]  # fmt: skip
    objects = objects_of(*more, policy("shop", ALL_IN), policy("web", ALL_OUT))
    index = PolicyIndex(objects)
    packet = Packet(pod(index, "web", "front"), pod(index, "shop", "db-5d9c-x2x7k"), "UDP", 53)
    out, in_ = suggest(index, packet).policies

    def allowed(*manifests: dict[str, Any]) -> set[tuple[str, str, str, int]]:
        made = with_(objects, manifests)
        return table(made, [*made.pods])

    wanted = ("web/front", "shop/db-5d9c-x2x7k", "UDP", 53)
    open_in, open_out = (
        policy("shop", {"podSelector": {}, "ingress": [{}]}, "open"),
        policy("web", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}, "open"),
    )
    for mine, other in ((out, open_in), (in_, open_out)):
        whole = allowed(mine, other)
        assert wanted in whole
        for place in parts(mine["spec"]):
            found = allowed(without(mine, place), other)
            if place[0] == "policyTypes":  # it would be about ingress, too, which nothing isolates
                assert whole > found
            else:
                assert wanted not in found or found > whole, place
    assert wanted in allowed(out, in_) and wanted not in allowed(out) and wanted not in allowed(in_)


@pytest.mark.parametrize(
    ("more", "packet", "obstacle"),
    [
        pytest.param(
            [policy("shop", {"podSelector": {"matchLabels": {"pod-template-hash": "5d9c"}}})], ("shop/near", "shop/db-5d9c-x2x7k", "TCP", 80), "",
            id="the labels of this very pod, where others of its controller's are not isolated",
        ),
        pytest.param([policy("shop", ALL_IN)], ("web/front", "shop/near", "ICMP", 0), "a NetworkPolicy has no word for ICMP", id="a ping"),
        pytest.param(
            [{"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "wall"},
              "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}}],
            ("web/front", "shop/near", "TCP", 80),
            "ClusterNetworkPolicy wall ingress[0].from[0] denies it in the Admin tier, which is asked before NetworkPolicies: none can allow it",
            id="Admin",
        ),
        pytest.param(
            [{"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "wall"},
              "spec": {"tier": "Baseline", "priority": 1, "subject": {"namespaces": {}}, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]}}],
            ("web/front", "shop/near", "TCP", 80), "would isolate the pod for ingress", id="Baseline",
        ),
        pytest.param(
            [policy("web", {"podSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}})], ("shop/near", "web/bare", "TCP", 80),
            "web/bare has no label that web/front, web/front-2 lacks", id="no label",
        ),
    ],
)  # fmt: skip
def test_what_no_policy_can_allow(more: list[dict[str, Any]], packet: tuple[str, str, str, int], obstacle: str) -> None:
    index = PolicyIndex(objects_of(*more))
    source, destination = (pod(index, *name.split("/")) for name in packet[:2])
    found = suggest(index, Packet(source, destination, *packet[2:]))
    assert obstacle in " ".join(found.obstacles) and bool(found.obstacles) is bool(obstacle)
    if not obstacle:
        (only,) = found.policies
        assert only["spec"]["podSelector"]["matchLabels"]["pod-template-hash"] == "5d9c"


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    objects = objects_of(policy("shop", ALL_IN), policy("shop", ALL_IN, "allow-from-front-80"))
    index = PolicyIndex(objects)
    found = suggest(index, Packet(pod(index, "web", "front"), pod(index, "shop", "near"), "TCP", 80))
    assert found.policies[0]["metadata"]["name"] == "allow-from-front-80-2"
