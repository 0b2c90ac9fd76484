"""Planted causes, one a row: `emu why` names each with its object in the first two lines, and none for flows that arrive.

The exports are those of tests/support/exports.py. A row plants by a change of the export, or of the cluster once it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster
from emu.why.answer import answer, idle
from emu.why.ask import ask
from emu.why.ask import idle as idle_pod
from emu.why.case import Seen
from emu.why.causes import CAUSES, cause
from emu.why.causes.pods import why_not_ready
from exports import Shape, export
from node_dumps_made import CAUSES as OF_DUMPS
from planted_exports import (
    Found,
    affinity,
    clash,
    creating,
    crooked,
    dns_down,
    dns_policy,
    external,
    finished_job,
    gone,
    hand_elsewhere,
    hand_misnamed,
    headless_empty,
    headless_port,
    host_port,
    narrow,
    no_config,
    no_hand,
    no_slice,
    node_down,
    node_of,
    nothing,
    one,
    outside_answers,
    policy,
    ranges,
    readiness_gate,
    rule,
    service,
    stay_in,
    still,
    sysctl,
    tainted,
    unmarked,
    unplugged,
    unready_in_slice,
    unroute,
)

KUBEADM, KIND, EKS = Shape("kubeadm", 4), Shape("kind", 4), Shape("eks", 4, control=0)


class Row(NamedTuple):
    """`planted` by a change of the export, `then` of the cluster. `object` stands in the second line."""

    cause: str
    target: str
    object: str
    planted: Callable[[Found], None] = nothing
    then: Callable[[Cluster], None] = still
    source: str = "default/tools"
    shape: Shape = KUBEADM
    options: dict[str, Any] = {}


ROWS = [
    Row("selector-matches-nothing", "svc/typo.shop:80", "service/shop/typo"),
    Row("selector-matches-nothing", "typo.shop:80", "app=web", shape=KIND),
    Row("no-selector", "svc/hand.shop:80", "service/shop/hand", no_hand),
    Row("no-selector", "svc/hand.shop:80", "list the ports web TCP, not http TCP", hand_misnamed, shape=KIND),
    Row("target-port-name", "svc/wrongname.shop:80", 'targetPort "htpp"'),
    Row("target-port-number", "svc/wrongport.shop:80", "targetPort 8081"),
    Row("target-port-number", "svc/wrongport.shop:80", "service/shop/wrongport", shape=EKS),
    Row("service-port", "{svc/web}:81", "service/shop/web"),
    Row("inside-only", "svc/web.shop:80", "service/shop/web", source="external", shape=EKS),
    Row("not-ready", "svc/cart.shop:80", "pod/shop/cart-"),
    Row("not-ready", "cart.shop:80", "pod/shop/cart-", shape=EKS),
    Row("readiness-gate", "svc/cart.shop:80", "target-health", readiness_gate, shape=EKS),
    Row("crash-loop", "svc/crash.shop:80", "pod/shop/crash-"),
    Row("crash-loop", "deploy/crash:8080", "CrashLoopBackOff", options={"namespace": "shop"}, shape=KIND),
    Row("finished", "shop/done-x7k2p:80", "status.phase is Succeeded"),
    Row("finished", "svc/web.shop:80", "pod/shop/done-x7k2p has finished", source="shop/done-x7k2p", shape=EKS),
    Row(
        "finished",
        "svc/web.shop:80",
        "pod/shop/done-x7k2p has finished",
        finished_job,
        source="job/done",
        options={"namespace": "shop"},
    ),
    Row("container-not-created", "svc/cart.shop:80", "CreateContainerConfigError", no_config),
    Row("image-pull", "svc/image.shop:80", "pod/shop/image-"),
    Row("pending", "svc/image.shop:80", "pod/shop/image-", creating),
    Row("unschedulable", "svc/queue.shop:80", "Insufficient cpu"),
    Row("unschedulable", "svc/web.shop:80", "pod/shop/queue-", source="deploy/queue", options={"namespace": "shop"}),
    Row("unschedulable", "svc/queue.shop:80", "untolerated taint", tainted, shape=KIND),
    Row("host-port-taken", "svc/queue.shop:80", "pod/shop/queue-", host_port),
    Row("node-not-ready", "svc/cart.shop:80", "stopped posting", node_down),
    Row("node-not-ready", "svc/cart.shop:80", "node/ip-10-0", node_down, shape=EKS),
    Row("terminating", "svc/leaving.shop:80", "pod/shop/leaving-", gone),
    Row("no-local-endpoint", "{first}:31235", "externalTrafficPolicy", source="external"),
    Row(
        "no-local-endpoint",
        "svc/local.shop:80",
        "internalTrafficPolicy",
        service("local", internalTrafficPolicy="Local"),
        shape=KIND,
    ),
    Row("route-missing", "{first}:31235", "internet has no route to 10.0.0.20", source="external", shape=EKS),
    Row("stale-slice", "svc/stale.shop:80", "endpointslice/shop/stale-"),
    Row("stale-slice", "svc/web.shop:80", "endpointslice/shop/web-", unready_in_slice),
    Row("stale-slice", "svc/web.shop:80", "has no EndpointSlice", no_slice, shape=KIND),
    Row("endpoint-unreachable", "svc/hand.shop:80", "endpointslice/shop/hand", hand_elsewhere),
    Row(
        "affinity",
        "svc/half.shop:80",
        "sessionAffinity",
        affinity,
        rule("-I FORWARD -p tcp --dport 9999 -j DROP", "client"),
    ),
    Row("source-ranges", "203.0.113.80:80", "loadBalancerSourceRanges", ranges, source="external"),
    Row("headless", "svc/ledger.books:80", "service/books/ledger", headless_port),
    Row("headless", "ledger.books:5432", "service/books/ledger", headless_empty),
    Row("external-name", "alias.shop:80", "spec.externalName", external("nowhere.example.com")),
    Row("dns-name", "wbe.shop:80", "web.shop"),
    Row("dns-search", "name:cart:80", "service/shop/cart"),
    Row(
        "dns-ndots",
        "web.shop:8083",
        "service/shop/web is not asked",
        dns_policy("ClusterFirst", dnsConfig={"options": [{"name": "ndots", "value": "1"}]}),
        outside_answers(web_shop="203.0.113.10"),
    ),
    Row(
        "dns-ndots",
        "api.example.com:8443",
        "api.example.com.corp.example",
        dns_policy("ClusterFirst", dnsConfig={"searches": ["corp.example"]}),
        outside_answers(api_example_com_corp_example="203.0.113.10", api_example_com="203.0.113.10"),
        shape=KIND,
    ),
    Row("dns-outside", "api.example.com:443", "none of the cluster's names", shape=EKS),
    Row("dns-policy", "web.shop:80", "dnsPolicy Default", dns_policy("Default")),
    Row("dns-policy", "web.shop:80", "hostNetwork", dns_policy("ClusterFirst", hostNetwork=True), shape=KIND),
    Row("dns-policy", "web.shop:80", "node/node-001 asks", source="node/node-001"),
    Row("dns-server", "web.shop:80", "service/kube-system/kube-dns", dns_down),
    Row("kube-proxy-mode", "svc/web.shop", "service/shop/web", options={"protocol": "icmp"}),
    Row("not-listening", "deploy/web:9", "pod/shop/web-", options={"namespace": "shop"}),
    Row("not-listening", "node/{node}:9", "node/"),
    Row(
        "hairpin",
        "svc/local.shop:80",
        "pod/shop/local-",
        source="deploy/local",
        options={"namespace": "shop"},
        shape=Shape("minikube", 3),
    ),
    Row(
        "masquerade-missing",
        "{first}:31235",
        "pod/shop/local-",
        service("local", externalTrafficPolicy="Cluster"),
        unmarked,
        source="external",
    ),
    Row("rp-filter", "svc/local.shop:80", "rp_filter", then=crooked),
    Row(
        "forwarding-off", "svc/local.shop:80", "ip_forward", then=sysctl("net.ipv4.ip_forward", 0, "client"), shape=KIND
    ),
    Row("route-missing", "svc/local.shop:80", "no route", then=unroute, shape=KIND),
    Row("rule", "svc/local.shop:80", "-j DROP", then=rule("-I FORWARD -p tcp --dport 8080 -j DROP", "local")),
    Row("rule", "svc/local.shop:80", "FORWARD", then=rule("-P FORWARD DROP\n-F FORWARD", "local"), shape=EKS),
    Row("host-network-clash", "svc/cart.shop:80", "9100/TCP", clash),
    Row("network-policy", "svc/web.shop:80", "networkpolicy/shop/web-is-closed", policy, shape=KIND),
    Row("network-policy", "svc/web.shop:80", "pod/shop/web-", policy, shape=Shape("calico", 4)),
    Row("network-policy", "web.shop:80", "networkpolicy/default/tools-stay-in", stay_in, shape=Shape("k3s", 4)),
    Row("mtu", "svc/local.shop:80", "MTU", then=narrow, shape=KIND, options={"size": 1400}),
    Row("link-down", "svc/local.shop:80", "the interface is down", then=unplugged, shape=KIND),
    Row(
        "not-modelled",
        "svc/local.shop:80",
        "bpf",
        then=rule("-I FORWARD -m bpf --object-pinned /sys/fs/bpf/x -j DROP", "client"),
    ),
    Row("no-such-host", "{gone}:8080", "no host answers ARP", shape=Shape("minikube", 1)),
]


def asked(row: Row) -> tuple[str, str | None]:
    """The first two lines, and the cause."""
    found = export(row.shape)
    row.planted(found)
    cluster = Cluster.live(found, capture=False)
    row.then(cluster)
    words = {
        "first": str(next(iter(cluster.nodes.values())).ip),
        "node": node_of(cluster, "web"),
        "gone": str(cluster.pods["default/tools"].ip).rpartition(".")[0] + ".199",
        "svc/web": one(found, "Service", "web")["spec"]["clusterIP"],
    }
    target = row.target.format(**words)
    for end in (row.source, target):
        pod = idle_pod(cluster, end, row.options.get("namespace", "default"))
        if pod is not None:
            because = why_not_ready(Seen(cluster.store, lambda key, path: ""), pod)
            return idle(pod, because, row.source, target, end == row.source).text, because.cause
    case, _ = ask(cluster, row.source, target, **row.options)
    found_cause = cause(case)
    return answer(case, found_cause).text, found_cause.cause if found_cause is not None else None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.cause}-{row.target}-{row.shape.flavour}")
def test_the_cause_and_its_object_stand_in_the_first_two_lines(row: Row) -> None:
    text, found = asked(row)
    first, second, *_ = text.splitlines()
    assert found == row.cause, text
    assert row.object in second, text
    assert any(words in first for words in ("does not reach", "only: ", "It is undecided")), text


def test_every_cause_has_a_row_or_another_test() -> None:
    elsewhere = {"no-answer", *OF_DUMPS}
    assert {row.cause for row in ROWS} | elsewhere == set(CAUSES)
    assert len(ROWS) >= 40


def test_the_page_has_the_same_list() -> None:
    page = (Path(__file__).parents[2] / "emu" / "why" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", page, re.MULTILINE)
    assert dict(rows) == CAUSES and len(rows) == len(CAUSES)


@pytest.mark.parametrize(
    ("flavour", "word", "words"),
    [
        ("kubeadm", "delivered", "flannel enforces no NetworkPolicy: those of the export have no effect"),
        ("eks", "delivered", "Amazon VPC CNI enforces no NetworkPolicy: those of the export have no effect"),
        ("cilium", "rejected", "Cilium enforces NetworkPolicies: the chains of kube-router stand for its own"),
    ],
)
def test_policies_are_enforced_where_the_pod_network_does(flavour: str, word: str, words: str) -> None:
    found = export(Shape(flavour, 4))
    policy(found)
    cluster = Cluster.live(found, capture=False)
    assert cluster.tcp("default/tools", "svc/web.shop:80", b"?").outcome.word == word
    assert any(words in each for each in cluster.warnings)


HEALTHY = [
    "svc/web.shop:80", "web.shop:80", "web.shop.svc.cluster.local:80", "alias.shop:80", "svc/hand.shop:80", "svc/plain.shop:80", "svc/half.shop:80",
    "svc/ledger.books:5432", "ledger-0.ledger.books:5432", "svc/leaving.shop:80", "svc/kube-dns.kube-system:53/udp", "svc/kubernetes:443", "svc/web.shop",
]  # fmt: skip


@pytest.mark.parametrize("shape", [KUBEADM, KIND, EKS], ids=lambda shape: shape.flavour)
def test_a_flow_that_arrives_has_no_cause(shape: Shape) -> None:
    """Thirty-nine flows over three exports."""
    cluster = Cluster.live(export(shape), capture=False)
    for target in HEALTHY:
        case, _ = ask(cluster, "default/tools", target)
        because = cause(case)
        text = answer(case, because).text
        assert because is None and " reaches " in text.splitlines()[0], text
        assert "cause" not in text


def test_the_keys_of_the_data_are_those_that_are_documented() -> None:
    case, _ = ask(Cluster.live(export(KUBEADM), capture=False), "default/tools", "svc/cart.shop:80")
    data = answer(case, cause(case)).data
    assert {"outcome", "cause", "object", "sentence", "rule", "assumed", "flow"} <= set(data)
    assert (data["outcome"], data["cause"]) == ("rejected", "not-ready")
    assert data["object"].startswith("pod/shop/cart-") and data["rule"].startswith("-A KUBE-SERVICES")


def test_a_service_that_answers_by_some_endpoints_is_not_called_healthy() -> None:
    found = export(KUBEADM)
    slice = one(found, "EndpointSlice", "web-")
    slice["endpoints"][1]["addresses"] = ["10.244.2.222"]
    case, _ = ask(Cluster.live(found, capture=False), "default/tools", "svc/web.shop:80")
    text = answer(case, cause(case)).text
    assert text.startswith("default/tools reaches svc/web.shop:80 by 2 of 3 endpoints only: "), text
    assert "[stale-slice]" in text


def test_a_declared_cluster_is_asked_the_same_way() -> None:
    objects = load_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c}]}}\n---\n"
        "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {selector: {app: x}, ports: [{port: 80}]}}\n"
    ).objects
    case, _ = ask(Cluster(2, objects, capture=False), "default/a", "svc/s")
    because = cause(case)
    assert because is not None and because.cause == "selector-matches-nothing"


def test_a_server_that_keeps_silent_has_no_answer() -> None:
    objects = load_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c}]}}\n---\n"
        "{apiVersion: v1, kind: Pod, metadata: {name: b, annotations: {emu/app: sink@9/udp}}, spec: {containers: [{name: c}]}}\n"
    ).objects
    case, _ = ask(Cluster(2, objects, capture=False), "default/a", "default/b:9/udp")
    because = cause(case)
    assert because is not None and (because.cause, because.object) == ("no-answer", "default/b")
