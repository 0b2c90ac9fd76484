"""Which pod network a cluster runs, by the pods and nodes that show it, and what stands for it here.

`SIGNS` is the whole table, the first that fits counts. Must not know what a network does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from emu.kube.api.apps import DaemonSet
from emu.kube.api.core import Node, Pod
from emu.kube.api.meta import Object

FLANNEL = "flannel.alpha.coreos.com/backend-type"
ROUTED = "routed"
"""No network of that name: each pod has a routed veth pair, and every node a route to each pod of another one."""


class Signs(NamedTuple):
    """What shows in an export. `labels` are labels of the network's own pods; `node` looks at one node."""

    labels: tuple[tuple[str, str], ...] = ()
    node: Callable[[Node], bool] = lambda node: False


class Known(NamedTuple):
    """A network: its `name` for people, the built-in one that stands for it ("" is ROUTED), what is not as in reality, and whether it
    enforces NetworkPolicies."""

    name: str
    signs: Signs
    network: str
    note: str = ""
    policy: bool = False


def _annotated(name: str) -> Callable[[Node], bool]:
    return lambda node: name in node.metadata.annotations


def _labelled(name: str, value: str = "") -> Callable[[Node], bool]:
    return lambda node: (node.metadata.labels.get(name) == value) if value else name in node.metadata.labels


_EBPF = "its eBPF programs are not modelled: routed veth pairs and kube-proxy's rules stand for them"
_K3S = _labelled("node.kubernetes.io/instance-type", "k3s")
KNOWN: tuple[Known, ...] = (
    Known("kindnet", Signs((("k8s-app", "kindnet"), ("app", "kindnet"))), "kindnet", policy=True),
    Known("Amazon VPC CNI", Signs((("k8s-app", "aws-node"),)), "aws-vpc"),
    Known("GKE Dataplane V2", Signs((("k8s-app", "cilium"), ("component", "anetd"))), "", _EBPF, policy=True),
    Known("Cilium", Signs((("k8s-app", "cilium"), ("app.kubernetes.io/name", "cilium-agent"))), "", _EBPF, policy=True),
    Known("Canal", Signs((("k8s-app", "canal"),)), "flannel", policy=True),
    Known("Calico", Signs((("k8s-app", "calico-node"),)), "calico", policy=True),
    Known("Antrea", Signs((("component", "antrea-agent"),)), "", "Open vSwitch is not modelled: routed veth pairs stand for it", policy=True),
    Known("OVN-Kubernetes", Signs((("app", "ovnkube-node"),)), "", "OVN is not modelled: routed veth pairs stand for it", policy=True),
    Known("Weave Net", Signs((("name", "weave-net"),)), "", "its overlay is not modelled: routed veth pairs stand for it", policy=True),
    Known("kube-router", Signs((("k8s-app", "kube-router"),)), "bridge", "routes of the underlay stand for its BGP", policy=True),
    Known("Azure CNI", Signs((("k8s-app", "azure-cns"),)), "", "the VNet is not modelled: routes to each pod stand for it"),
    Known("k3s's flannel", Signs((), _K3S), "flannel", policy=True),
    Known(
        "flannel",
        Signs((("app", "flannel"), ("k8s-app", "flannel"), ("name", "kube-flannel")), _annotated(FLANNEL)),
        "flannel",
    ),
    Known("GKE's routes", Signs((("k8s-app", "netd"),), _labelled("cloud.google.com/gke-nodepool")), "bridge"),
    Known("minikube's bridge", Signs((), _labelled("minikube.k8s.io/name")), "bridge"),
)  # fmt: skip


def enforces(known: Known | None, objects: Sequence[Object]) -> bool:
    """Whether the cluster enforces NetworkPolicies: by its pod network, by an agent beside it, or by the VPC CNI's own agent."""
    if known is None:
        return False
    if known.name == "Amazon VPC CNI":
        pods = (each for each in objects if isinstance(each, Pod) and each.metadata.labels.get("k8s-app") == "aws-node")
        return any("--enable-network-policy=true" in c.args for pod in pods for c in pod.spec.containers)
    agents = {("k8s-app", "calico-node"), ("k8s-app", "kube-router")}
    return known.policy or any(pair in agents for obj in objects for pair in _labels(obj))


def recognised(objects: Sequence[Object]) -> Known | None:
    """The network whose own pods run, or that a node shows; None for none of the table."""
    shown = {pair for obj in objects for pair in _labels(obj)}
    nodes = [obj for obj in objects if isinstance(obj, Node)]
    for known in KNOWN:
        if known.name == "GKE Dataplane V2" and not any(_labelled("cloud.google.com/gke-nodepool")(n) for n in nodes):
            continue
        if any(each in shown for each in known.signs.labels) or any(known.signs.node(node) for node in nodes):
            return known
    return None


def _labels(obj: Object) -> Iterable[tuple[str, str]]:
    """The labels of pods on their nodes' own network, where the agents of all networks run."""
    if isinstance(obj, Pod) and obj.spec.host_network:
        return obj.metadata.labels.items()
    if isinstance(obj, DaemonSet) and obj.spec.template.spec.host_network:
        return obj.spec.template.metadata.labels.items()
    return ()
