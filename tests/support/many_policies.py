"""Many policies over many pods: a world whose pair of callers has one policy, and what a change of it touches. Must not know who asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emu.kube.api.core import Container, ContainerPort, Namespace, Pod, PodSpec
from emu.kube.api.meta import LabelSelector, Object, ObjectMeta, replace
from emu.kube.api.networking import (
    NetworkPolicy,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
)
from emu.kube.cluster import Cluster

APPS, REPLICAS = 10, 10  # of a namespace, of an app
DATAPLANES: dict[str, dict[str, Any]] = {
    "kube-router": {"policy": "kube-router"},
    "calico": {"network": "calico", "underlay": "switched"},
}


def objects(policies: int, nodes: int, spaces: int) -> list[Object]:
    """Namespaces, pods on all nodes in turn, and policies in all namespaces but the first, which has one."""
    found: list[Object] = [Namespace(metadata=ObjectMeta(name=f"n{number}")) for number in range(spaces)]
    container = Container(name="app", ports=(ContainerPort(container_port=8080),))
    for number in range(spaces * APPS * REPLICAS):
        space, app = number % spaces, number // spaces % APPS
        meta = ObjectMeta(name=f"p{number}", namespace=f"n{space}", labels={"app": f"a{app}"})
        spec = PodSpec(node_name=f"node-{number // spaces % nodes + 1}", containers=(container,))
        found.append(Pod(metadata=meta, spec=spec))
    return [*found, *(policy(number, spaces) for number in range(policies))]


def policy(number: int, spaces: int) -> NetworkPolicy:
    """The first one is about the pair that calls: app a1 may call app a0 of n0."""
    space = 1 + (number - 1) % (spaces - 1) if number else 0
    app = (number - 1) // (spaces - 1) % APPS if number else 0
    peer = NetworkPolicyPeer(pod_selector=LabelSelector({"app": f"a{(app + 1) % APPS}"}))
    rule = NetworkPolicyIngressRule(ports=(NetworkPolicyPort(port=8080),), from_=(peer,))
    spec = NetworkPolicySpec(pod_selector=LabelSelector({"app": f"a{app}"}), ingress=(rule,))
    return NetworkPolicy(metadata=ObjectMeta(name=f"p{number}", namespace=f"n{space}"), spec=spec)


def touched(cluster: Cluster, change: Callable[[], object]) -> tuple[int, int]:
    """How many chains and sets are other objects after a change, over all nodes."""

    def there() -> tuple[set[int], set[int], list[object]]:
        chains, sets, kept = set(), set(), list[object]()
        for node in cluster.nodes.values():
            tables = node.net.ipv4.tables
            own = [chain for table in tables.ruleset.tables.values() for chain in table.values()]
            kept += [*own, *tables.ipsets.values()]
            chains |= set(map(id, own))
            sets |= set(map(id, tables.ipsets.values()))
        return chains, sets, kept

    chains, sets, kept = there()  # kept alive, so that no id is used again
    change()
    new_chains, new_sets, _ = there()
    del kept
    return len(new_chains - chains), len(new_sets - sets)


def relabelled(cluster: Cluster, name: str, label: str) -> Callable[[], object]:
    """Give a pod of n1 another app, as `kubectl label` does."""
    pod = cluster.store.get(Pod, "n1", name)
    assert pod is not None
    changed = replace(pod, metadata=replace(pod.metadata, labels={"app": label}))
    return lambda: cluster.apply(changed)
