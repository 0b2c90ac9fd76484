"""Exports of twelve clusters load with every address as it is there, and flows have the outcome that the state of the cluster gives.

The exports are made by tests/support/exports.py; `STATES` there has what each workload is.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from emu.kube.api.core import Pod, Service
from emu.kube.cluster import Cluster
from exports import FLAVOURS, Shape, addresses, export

SHAPES = [
    *(Shape(flavour, 4) for flavour in FLAVOURS if flavour != "minikube"),
    Shape("minikube", 1),
    Shape("minikube", 3),
    Shape("kind", 3, control=1),
    Shape("kubeadm", 20, web=40, control=3),
    Shape("calico", 12, web=60),
    Shape("eks", 9, web=50, control=0),
    pytest.param(Shape("gke", 500, web=900, control=0), marks=pytest.mark.slow),
]
# What an answer from default/tools is like: the outcome's word, and where it is decided or answered
FLOWS = {
    "svc/web.shop:80": "delivered",
    "http://web.shop": "delivered",
    "http://alias.shop.svc.cluster.local": "delivered",
    "svc/hand.shop:80": "delivered",
    "svc/plain.shop:80": "delivered",
    "svc/half.shop:80": "delivered",
    "svc/kubernetes:443": "delivered",
    "name:ledger-1.ledger.books.svc.cluster.local:5432": "delivered",
    "svc/cart.shop:80": "rejected",
    "svc/crash.shop:80": "rejected",
    "svc/queue.shop:80": "rejected",
    "svc/image.shop:80": "rejected",
    "svc/typo.shop:80": "rejected",
    "svc/wrongname.shop:80": "rejected",
    "svc/leaving.shop:80": "delivered",  # every endpoint terminates: kube-proxy takes those that still serve
    "svc/wrongport.shop:80": "refused",
}


@cache
def loaded(shape: Shape) -> tuple[dict[str, Any], Cluster]:
    found = export(shape)
    return found, Cluster.live(found, capture=False)


def pods(cluster: Cluster, app: str) -> list[Pod]:
    return [each for each in cluster.store.list(Pod) if each.metadata.labels.get("app") == app]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_address_is_that_of_the_export(shape: Shape) -> None:
    found, cluster = loaded(shape)
    wanted = addresses(found)
    ended = {each["metadata"]["name"] for each in found["items"] if each.get("status", {}).get("phase") == "Succeeded"}
    have: dict[str, str] = {}
    for name in wanted:
        kind, namespace, rest = name.split("/")
        if kind == "Pod" and rest in ended:  # no sandbox: the address is in the status alone
            pod = cluster.store.get(Pod, namespace, rest)
            have[name] = pod.status.pod_ip if pod is not None else ""
        elif kind == "Pod":
            have[name] = str(cluster.pods[f"{namespace}/{rest}"].ip)
        elif kind == "Node":
            have[name] = str(cluster.nodes[rest].ip)
        else:
            service = cluster.store.get(Service, namespace, rest)
            have[name] = service.spec.cluster_ip if service is not None else ""
    assert len(wanted) > 30 and have == wanted


@pytest.mark.parametrize("shape", SHAPES[:11], ids=str)
def test_flows_end_as_the_state_of_the_cluster_gives(shape: Shape) -> None:
    _, cluster = loaded(shape)
    words = {to: cluster.tcp("default/tools", to, b"?", timeout_s=3).outcome.word for to in FLOWS}
    assert words == FLOWS


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_status_nodes_and_slices_stay_as_they_are(flavour: str) -> None:
    found, cluster = loaded(Shape(flavour, 1 if flavour == "minikube" else 4))
    for obj in found["items"]:
        meta, kind = obj["metadata"], obj["kind"]
        there = cluster.store.get(kind, meta.get("namespace", ""), meta["name"])
        if kind in ("Pod", "Node", "EndpointSlice"):
            assert there is not None and there.metadata.uid == meta["uid"]
        if isinstance(there, Pod):
            ready = [each["status"] for each in obj["status"]["conditions"] if each["type"] == "Ready"]
            assert (there.status.phase, there.spec.node_name) == (
                obj["status"]["phase"],
                obj["spec"]["nodeName"] if obj["spec"].get("nodeName") else "",
            )
            assert there.ready is (ready == ["True"])
    names = {
        f"{each['metadata'].get('namespace')}/{each['metadata']['name']}"
        for each in found["items"]
        if each["kind"] == "Pod"
    }
    assert {f"{each.namespace}/{each.name}" for each in cluster.store.list(Pod)} == names


def test_time_passes_and_the_pods_are_still_those_of_the_export() -> None:
    """No controller acts on what it did not see change: neither a template's hash of another maker nor a missing ready replica."""
    found = export(Shape("kubeadm", 4))
    cluster = Cluster.live(found, capture=False)
    before = {each.key for each in cluster.store.list(Pod)}
    cluster.wait(1000)
    assert {each.key for each in cluster.store.list(Pod)} == before


def test_what_is_assumed_is_a_sentence_each() -> None:
    """The first notes of an export that states little: k3s runs kube-proxy and flannel inside of one process."""
    cluster = Cluster.live(export(Shape("k3s", 4)), capture=False)
    assert cluster.warnings[:4] == [
        "export: the pod network is k3s's flannel",
        "export: the Service subnet is not stated: 10.43.0.0/20 holds every ClusterIP",
        "export: an export does not state the nodes' LANs: taken is 192.168.1.0/24, with one router",
        "export: kube-proxy's ConfigMap is not in the export: it has its defaults, in mode iptables",
    ]
    stale = [each for each in cluster.warnings if "stale" in each]
    assert len(stale) == 2 and "which is not there" in stale[0]
    assert any("Insufficient cpu" in each for each in cluster.warnings)


def test_an_unready_pod_answers_by_its_own_address_and_a_crashed_one_refuses() -> None:
    _, cluster = loaded(Shape("kind", 4))
    for app, word in (("cart", "delivered"), ("crash", "refused")):
        [pod] = pods(cluster, app)
        assert cluster.tcp("default/tools", f"shop/{pod.name}:8080", b"?").outcome.word == word


def test_external_traffic_policy_local_knows_the_node_of_the_pod() -> None:
    _, cluster = loaded(Shape("kubeadm", 4))
    [pod] = pods(cluster, "local")
    for name, node in cluster.nodes.items():
        word = cluster.tcp("external", f"{node.ip}:31235", b"?", timeout_s=2).outcome.word
        assert word == ("delivered" if name == pod.spec.node_name else "dropped")


def test_a_tainted_node_has_the_pods_of_the_export_and_no_others() -> None:
    _, cluster = loaded(Shape("kubeadm", 4))
    tainted = next(iter(cluster.nodes))
    assert all(each.spec.host_network for each in cluster.store.list(Pod) if each.spec.node_name == tainted)


# -- edited, mixed and partial exports ---------------------------------------------------------------


def test_owners_with_other_uids_lose_no_pod() -> None:
    found = export(Shape("kubeadm", 4))
    for obj in found["items"]:
        for owner in obj["metadata"].get("ownerReferences", ()):
            owner["uid"] = "00000000-0000-4000-8000-000000000000"
    cluster = Cluster.live(found, capture=False)
    cluster.wait(100)
    assert len(cluster.store.list(Pod)) == sum(each["kind"] == "Pod" for each in found["items"])
    assert sum("another uid" in each for each in cluster.warnings) == 1


def test_a_list_without_nodes_has_nodes_by_its_pods() -> None:
    found = export(Shape("kubeadm", 4))
    hosts = {
        each["metadata"]["name"]: each["status"]["addresses"][0]["address"]
        for each in found["items"]
        if each["kind"] == "Node"
    }
    found["items"] = [each for each in found["items"] if each["kind"] != "Node"]
    cluster = Cluster.live(found, capture=False)
    assert {name: str(node.ip) for name, node in cluster.nodes.items()} == hosts
    assert cluster.tcp("default/tools", "svc/web.shop:80", b"?").outcome.word == "delivered"
    assert sum("no Node object" in each for each in cluster.warnings) == 1


def test_without_slices_they_are_made_as_the_controller_would() -> None:
    found = export(Shape("kind", 4))
    found["items"] = [each for each in found["items"] if each["kind"] != "EndpointSlice"]
    cluster = Cluster.live(found, capture=False)
    words = {
        name: cluster.tcp("default/tools", f"svc/{name}.shop:80", b"?", timeout_s=2).outcome.word
        for name in ("web", "cart", "stale")
    }
    assert words == {"web": "delivered", "cart": "rejected", "stale": "delivered"}


def test_the_younger_of_two_moments_counts(tmp_path: Any) -> None:
    first, later = export(Shape("kind", 4)), export(Shape("kind", 4))
    name = next(each["metadata"]["name"] for each in later["items"] if each["metadata"]["name"].startswith("cart-"))
    for obj in later["items"]:
        obj["metadata"]["resourceVersion"] = str(int(obj["metadata"]["resourceVersion"]) + 10_000)
        if obj["kind"] == "Service" and obj["metadata"]["name"] == "cart":
            obj["spec"]["clusterIP"] = obj["spec"]["clusterIPs"][0] = "10.96.3.3"
    for number, each in enumerate((later, first)):
        (tmp_path / f"{number}.json").write_text(json.dumps(each), encoding="utf-8")
    cluster = Cluster.live(tmp_path / "0.json", tmp_path / "1.json", capture=False)
    service = cluster.store.get(Service, "shop", "cart")
    assert name and service is not None and service.spec.cluster_ip == "10.96.3.3"


def test_a_pod_whose_address_is_taken_is_left_out_with_a_sentence() -> None:
    found = export(Shape("kind", 4))
    web = [each for each in found["items"] if each["kind"] == "Pod" and each["metadata"]["name"].startswith("web-")]
    half = next(
        each for each in found["items"] if each["kind"] == "Pod" and each["metadata"]["name"].startswith("half-")
    )
    same = next(each for each in web if each["spec"]["nodeName"] == half["spec"]["nodeName"])
    half["status"]["podIP"], half["status"]["podIPs"] = same["status"]["podIP"], same["status"]["podIPs"]
    cluster = Cluster.live(found, capture=False)
    [left] = [each for each in cluster.warnings if "is left out" in each]
    assert same["status"]["podIP"] in left


# -- what changes afterwards -----------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["kubeadm", "eks"])
def test_a_change_of_one_workload_leaves_the_pods_of_others(flavour: str) -> None:
    """A pod of each kind of workload is deleted, and one is scaled: what comes is new, what was there stays."""
    cluster = Cluster.live(export(Shape(flavour, 4)), capture=False)
    before = {f"{each.namespace}/{each.name}": each.metadata.uid for each in cluster.store.list(Pod)}
    agent = next(name for name in before if name.startswith("shop/agent-"))
    for name in ("books/ledger-1", agent):
        cluster.delete("pod", *name.split("/"))
    cluster.scale("deployment", "shop", "web", 5)
    cluster.wait(60)
    after = {f"{each.namespace}/{each.name}": each.metadata.uid for each in cluster.store.list(Pod)}
    new = {name for name, uid in after.items() if before.get(name) != uid}
    assert {name for name in before if after.get(name) != before[name]} == {"books/ledger-1", agent}
    assert {name.partition("-")[0] for name in new} == {"books/ledger", "shop/agent", "shop/web"} and len(new) == 4
    assert (
        cluster.tcp("default/tools", "name:ledger-1.ledger.books.svc.cluster.local:5432", b"?").outcome.word
        == "delivered"
    )


def test_a_statefulset_declared_with_status_has_all_of_its_pods() -> None:
    """Manifests of pods come without their status: ordinals are made one after the other, as in a new cluster."""
    found = export(Shape("kubeadm", 4))
    wanted = [each for each in found["items"] if each["metadata"].get("namespace") == "books" or each["kind"] == "Node"]
    cluster = Cluster(4, wanted, capture=False)
    pods = {each.name: each for each in cluster.store.list(Pod, "books")}
    assert set(pods) == {"ledger-0", "ledger-1"} and all(each.ready for each in pods.values())
    assert {"books/ledger-0", "books/ledger-1"} <= set(cluster.pods)


# -- addresses of several blocks ---------------------------------------------------------------------------


def test_pods_of_a_secondary_block_of_the_vpc_keep_their_addresses() -> None:
    """Pods on 100.64.0.0/10, beside nodes on 10.0.0.0/16: one subnet for both would hold half of all addresses."""
    found = export(Shape("eks", 4, control=0))
    for each in found["items"]:
        if each["kind"] == "Pod" and not each["spec"].get("hostNetwork") and each["status"].get("podIP"):
            address = each["status"]["podIP"].replace("10.0.", "100.64.")
            each["status"] |= {"podIP": address, "podIPs": [{"ip": address}]}
        if each["kind"] == "EndpointSlice" and each["metadata"]["name"].startswith("web-"):
            for endpoint in each["endpoints"]:
                endpoint["addresses"] = [one.replace("10.0.", "100.64.") for one in endpoint["addresses"]]
    cluster = Cluster.live(found, capture=False)
    assert str(cluster.pods["default/tools"].ip).startswith("100.64.")
    assert any("several blocks of addresses" in each for each in cluster.warnings)
    slice = next(each for each in found["items"] if each["metadata"]["name"] == "web-fx2l7")
    to = slice["endpoints"][0]["addresses"][0]
    assert cluster.tcp("default/tools", f"{to}:8080", b"?").outcome.word == "delivered"
    assert cluster.tcp("default/tools", "svc/web.shop:80", b"?").outcome.word == "delivered"


def test_nodes_of_two_sites_have_a_lan_each() -> None:
    found = export(Shape("kubeadm", 4))
    nodes = [each for each in found["items"] if each["kind"] == "Node"]
    far = nodes[-1]["metadata"]["name"]
    for each in found["items"]:
        if each["kind"] == "Node" and each["metadata"]["name"] == far:
            each["status"]["addresses"][0]["address"] = "172.31.7.14"
        if each["kind"] == "Pod" and each["spec"].get("nodeName") == far:
            each["status"]["hostIP"] = "172.31.7.14"
            if each["spec"].get("hostNetwork"):
                each["status"] |= {"podIP": "172.31.7.14", "podIPs": [{"ip": "172.31.7.14"}]}
    cluster = Cluster.live(found, capture=False)
    assert str(cluster.nodes[far].ip) == "172.31.7.14"
    [pod] = pods(cluster, "local")
    assert pod.spec.node_name == far
    assert cluster.tcp("default/tools", "svc/local.shop:80", b"?").outcome.word == "delivered"
