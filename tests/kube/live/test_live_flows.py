"""Flows through exports, one a row: the outcome is the one that the state of the cluster gives, by the rule that stands beside it.

A row is judged on the flavours that it names. `{APP}` is a pod of a workload (its name), `{APP.ip}` its address, `{APP.host}` its node,
`{svc.NAME}` a clusterIP, `{first}` and `{last}` the addresses of the first and the last node.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

import pytest

from emu import craft
from emu.kube.cluster import Cluster
from emu.wire.dns import Question
from exports import Shape, export

ALL = ("kubeadm", "kind", "calico", "eks", "gke", "k3s", "minikube", "cilium")
CLOUDS = ("eks", "gke")
PUBLIC = tuple(each for each in ALL if each != "eks")  # whose nodes a host outside reaches by their InternalIP
TOOLS = "default/tools"
QUESTION = craft.dns_query(Question("kubernetes.default.svc.cluster.local.", "A"), 1)


class Row(NamedTuple):
    """`answer` is the outcome, with its detail behind a space; `at` is a part of the name of who answers or where it ends."""

    why: str
    source: str
    target: str
    answer: str
    at: str = ""
    flavours: tuple[str, ...] = ("kubeadm", "eks")


ROWS = [
    # what runs, by every way
    Row("a ready pod by its address", TOOLS, "{web.ip}:8080", "delivered", "shop/web-", ALL),
    Row("a ready pod by its name", TOOLS, "shop/{web}:8080", "delivered", "shop/web-"),
    Row("a ready pod answers a ping", TOOLS, "ping {web.ip}", "delivered", "shop/web-"),
    Row("a clusterIP", TOOLS, "{svc.web}:80", "delivered", "shop/web-", ALL),
    Row("a Service by its name", TOOLS, "http://web.shop", "delivered", "shop/web-", ALL),
    Row("a Service by its whole name", TOOLS, "http://web.shop.svc.cluster.local", "delivered", "shop/web-"),
    Row("a short name in its own namespace", "shop/{cart}", "http://web", "delivered", "shop/web-"),
    Row("a short name in another namespace does not exist", TOOLS, "http://web", "error"),
    Row("a pod to another one of its own node", TOOLS, "svc/hand.shop:80", "delivered", "shop/web-"),
    Row("a pod to itself by its own address", "shop/{local}", "{local.ip}:8080", "delivered", "shop/local-"),
    Row("a pod to itself by its Service, with hairpin", "shop/{local}", "svc/local.shop:80", "delivered", "shop/local-", ("kubeadm", "kind", "calico", "eks", "k3s")),
    Row("a pod to itself by its Service, hairpin off", "shop/{local}", "svc/local.shop:80", "dropped NO_TX_TARGET", "", ("minikube",)),
    Row("a node to a Service", "node/{tools.host}", "svc/web.shop:80", "delivered", "shop/web-", ALL),
    Row("a node to a pod", "node/{tools.host}", "{web.ip}:8080", "delivered", "shop/web-"),
    Row("a pod of the node's network to a Service", "shop/{agent}", "svc/web.shop:80", "delivered", "shop/web-"),
    Row("a pod to a node", TOOLS, "ping {last}", "delivered", ""),
    # not ready, Pending, crashed, terminating
    Row("not ready: its Service has no endpoint", TOOLS, "svc/cart.shop:80", "rejected port-unreachable", "", ALL),
    Row("not ready: by its address it answers", TOOLS, "{cart.ip}:8080", "delivered", "shop/cart-"),
    Row("not ready: it can send", "shop/{cart}", "svc/web.shop:80", "delivered", "shop/web-"),
    Row("one of two is ready", TOOLS, "svc/half.shop:80", "delivered", "shop/half-", ALL),
    Row("crashed: no endpoint", TOOLS, "svc/crash.shop:80", "rejected port-unreachable", "", ALL),
    Row("crashed: nothing listens at its address", TOOLS, "{crash.ip}:8080", "refused", "shop/crash-"),
    Row("crashed: its network is there and answers a ping", TOOLS, "ping {crash.ip}", "delivered", "shop/crash-"),
    Row("Pending for want of room: no endpoint", TOOLS, "svc/queue.shop:80", "rejected port-unreachable", "", ALL),
    Row("image missing: no endpoint", TOOLS, "svc/image.shop:80", "rejected port-unreachable", "", ALL),
    Row("terminating, and it still serves: the last resort", TOOLS, "svc/leaving.shop:80", "delivered", "shop/leaving-", ALL),
    Row("terminating, by its address", TOOLS, "{leaving.ip}:8080", "delivered", "shop/leaving-"),
    Row("a Job's pod that has ended: no pod has its address", TOOLS, "{done.ip}:8080", "rejected host-unreachable", "", ("kubeadm", "minikube")),
    # Services that are wrong
    Row("a selector that matches nothing", TOOLS, "svc/typo.shop:80", "rejected port-unreachable", "", ALL),
    Row("a targetPort that no port is called", TOOLS, "svc/wrongname.shop:80", "rejected port-unreachable", "", ALL),
    Row("a targetPort that nothing listens on", TOOLS, "svc/wrongport.shop:80", "refused", "shop/web-", ALL),
    Row("a port that the Service does not have", TOOLS, "{svc.web}:81", "rejected net-unreachable"),
    Row("a clusterIP answers no ping", TOOLS, "ping {svc.web}", "rejected net-unreachable"),
    Row("another protocol than the Service's", TOOLS, "udp {svc.web}:80", "dropped IP_INNOROUTES"),
    # slices
    Row("a stale slice: no pod has the address", TOOLS, "svc/stale.shop:80", "rejected host-unreachable", "", ("kubeadm", "minikube")),
    Row("a stale slice where each pod of a node has a route: it leaves by the default route", TOOLS, "svc/stale.shop:80", "dropped IP_INNOROUTES", "gateway/", ("kind",)),
    Row("a stale slice in a VPC or with routed pods", TOOLS, "svc/stale.shop:80", "dropped NO_INTERFACE", "vpc/", ("eks",)),
    Row("a slice written by hand", TOOLS, "svc/hand.shop:80", "delivered", "shop/web-", ALL),
    Row("the API server's slice", TOOLS, "svc/kubernetes:443", "delivered", "", ALL),
    Row("the API server from a node", "node/{tools.host}", "svc/kubernetes:443", "delivered", ""),
    Row("a targetPort that no container declares, beside none that is", TOOLS, "svc/plain.shop:80", "delivered", "shop/plain", ALL),
    # headless, ExternalName, DNS
    Row("a headless Service by its name", TOOLS, "name:ledger.books:5432", "delivered", "books/ledger-", ALL),
    Row("a pod of a StatefulSet by its name", TOOLS, "name:ledger-1.ledger.books:5432", "delivered", "books/ledger-1", ALL),
    Row("a headless Service at a port that no pod listens on", TOOLS, "name:ledger.books:80", "refused", "books/ledger-"),
    Row("an ExternalName of the cluster", TOOLS, "http://alias.shop", "delivered", "shop/web-", ALL),
    Row("a name that does not exist", TOOLS, "http://wbe.shop", "error"),
    Row("CoreDNS answers over UDP", TOOLS, "dns {svc.kube-dns}:53", "delivered", "kube-system/coredns-", ALL),
    Row("CoreDNS answers over TCP", TOOLS, "dns-tcp {svc.kube-dns}:53", "delivered", "kube-system/coredns-"),
    Row("CoreDNS by the address of its pod", TOOLS, "dns {coredns.ip}:53", "delivered", "kube-system/coredns-"),
    # the nodes' own network, taints
    Row("a hostNetwork pod has its node's address", TOOLS, "{tools.hostip}:9100", "delivered", "", ALL),
    Row("a hostNetwork pod on a tainted node", TOOLS, "{first}:9100", "delivered", "", ("kubeadm", "kind", "calico")),
    Row("a node's port that no program has", TOOLS, "{first}:9", "refused"),
    Row("the API server on its node", TOOLS, "{first}:6443", "delivered", "", ("kubeadm", "kind", "k3s")),
    Row("the kubelet's probe: a node to a pod that it runs", "node/{local.host}", "{local.ip}:8080", "delivered", "shop/local-"),
    # NodePort, external traffic
    Row("a NodePort of a node without a pod of it", "external", "{first}:31234", "delivered", "shop/web-", PUBLIC),
    Row("a node of a VPC has a private address", "external", "{first}:31234", "rejected net-unreachable", "", ("eks",)),
    Row("a NodePort from a pod", TOOLS, "{last}:31234", "delivered", "shop/web-"),
    Row("a NodePort from the node itself", "node/{tools.host}", "{tools.hostip}:31234", "delivered", "shop/web-"),
    Row("Local: a node with the pod", "external", "{local.hostip}:31235", "delivered", "shop/local-", PUBLIC),
    Row("Local: a node without it", "external", "{first}:31235", "dropped NETFILTER_DROP", "", ("kubeadm", "kind", "calico", "k3s", "gke")),
    Row("Local: a pod is inside, and any node will do", TOOLS, "{tools.hostip}:31235", "delivered", "shop/local-", ("kubeadm", "kind", "gke")),
    Row("Local: without a clusterCIDR no pod is inside", TOOLS, "{tools.hostip}:31235", "dropped NETFILTER_DROP", "", ("eks",)),
    Row("Local counts for outside only", TOOLS, "svc/local.shop:80", "delivered", "shop/local-", ALL),
    Row("a NodePort that no Service has", "external", "{first}:31999", "refused", "", ("kubeadm", "gke")),
    Row("a clusterIP from outside has no route", "external", "{svc.web}:80", "rejected"),
    # outside
    Row("a pod to a host outside", TOOLS, "ping external", "delivered", "external", ALL),
    Row("a node to a host outside", "node/{tools.host}", "ping external", "delivered", "external"),
    Row("a pod of a StatefulSet to a host outside", "books/{ledger}", "external:7", "delivered", "external"),
    Row("an address that no pod or node has", TOOLS, "198.51.100.7:80", "rejected net-unreachable"),
]  # fmt: skip


@cache
def loaded(flavour: str) -> tuple[dict[str, Any], Cluster]:
    found = export(Shape(flavour, 4 if flavour != "minikube" else 3, **({"control": 0} if flavour in CLOUDS else {})))
    return found, Cluster.live(found, capture=False)


def word_of(text: str, flavour: str) -> str:
    """A row's text with its words filled in."""
    found, _ = loaded(flavour)
    nodes = [each["status"]["addresses"][0]["address"] for each in found["items"] if each["kind"] == "Node"]

    def fill(match: re.Match[str]) -> str:
        name, _, part = match[1].partition(".")
        if name in ("first", "last"):
            return str(nodes[0 if name == "first" else -1])
        if name == "svc":
            return next(
                str(each["spec"]["clusterIP"])
                for each in found["items"]
                if each["kind"] == "Service" and each["metadata"]["name"] == part
            )
        pod = next(
            each
            for each in found["items"]
            if each["kind"] == "Pod" and re.match(rf"{name}(-|$)", each["metadata"]["name"])
        )
        values = {
            "": pod["metadata"]["name"],
            "ip": pod["status"].get("podIP"),
            "host": pod["spec"].get("nodeName"),
            "hostip": pod["status"].get("hostIP"),
        }
        return str(values[part])

    return re.sub(r"\{([a-z.-]+)\}", fill, text)


def outcome(row: Row, flavour: str) -> tuple[str, str]:
    """What became of it, and who answered or where it ended."""
    _, cluster = loaded(flavour)
    source, target = word_of(row.source, flavour), word_of(row.target, flavour)
    kind, _, to = target.rpartition(" ")
    if kind == "ping":
        flow = cluster.ping(source, to, timeout_s=2)
    elif kind == "dns":
        flow = cluster.udp(source, to, QUESTION, timeout_s=2)
    elif kind == "dns-tcp":
        flow = cluster.tcp(source, to, len(QUESTION).to_bytes(2, "big") + QUESTION, timeout_s=2)
    elif kind == "udp":
        flow = cluster.udp(source, to, b"?", timeout_s=6)
    else:
        flow = cluster.tcp(source, to, b"?", timeout_s=6)
    made = flow.outcome
    return f"{made.word} {made.detail}".strip(), flow.at or made.place


CASES = [(row, flavour) for row in ROWS for flavour in row.flavours]


@pytest.mark.parametrize(("row", "flavour"), CASES, ids=[f"{flavour}-{row.why}" for row, flavour in CASES])
def test_the_outcome_is_that_of_the_state(row: Row, flavour: str) -> None:
    answer, at = outcome(row, flavour)
    assert answer == row.answer or (" " not in row.answer and answer.partition(" ")[0] == row.answer), at
    assert row.at in at


def test_there_are_sixty_rows_and_every_flavour_has_some() -> None:
    assert len(ROWS) >= 60 and {flavour for _, flavour in CASES} == set(ALL)
