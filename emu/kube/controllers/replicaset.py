"""ReplicaSet: keep so many pods of a template (kubernetes pkg/controller/replicaset).

Must not know Deployments.
"""

from __future__ import annotations

from collections import Counter

from emu.kube.api.apps import ReplicaSet, WorkloadStatus
from emu.kube.api.core import Pod
from emu.kube.api.meta import replace
from emu.kube.controllers import names, pods
from emu.kube.store import Store

_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def reconcile(store: Store, seed: int) -> None:
    """Make and delete pods until every ReplicaSet has its number; note in its status how many are ready."""
    owned = pods.by_controller(store, Pod)
    orphans = pods.active(owned[""])
    families = pods.by_controller(store, ReplicaSet)
    for rs in store.list(ReplicaSet):
        mine = pods.adopt(store, rs, rs.spec.selector, pods.active(owned[rs.metadata.uid]), orphans)
        surplus = len(mine) - rs.spec.replicas
        if surplus > 0:
            owner = rs.metadata.controller
            kin = [sibling for sibling in families[owner.uid] if sibling.key != rs.key] if owner is not None else []
            related = [*mine, *(p for sibling in kin for p in pods.active(owned[sibling.metadata.uid]))]
            for pod in _first_to_go(mine, Counter(p.spec.node_name for p in related))[:surplus]:
                store.delete(pod.key)
                mine.remove(pod)
        for _ in range(-surplus):
            name = names.generate(store, "pod", rs.namespace, f"{rs.name}-", seed)
            mine.append(pods.create(store, rs, rs.spec.template, name, {}))
        status = WorkloadStatus(replicas=len(mine), ready_replicas=sum(p.ready for p in mine))
        store.put(replace(rs, status=status))


def _first_to_go(mine: list[Pod], crowd: Counter[str]) -> list[Pod]:
    """The documented order of scaling down: unbound, pending, not ready, cheap, crowded on one node, young.

    `crowd` counts related pods by node: those of all ReplicaSets of one Deployment.
    """
    age = {p.key: -i for i, p in enumerate(mine)}

    def rank(pod: Pod) -> tuple[bool, bool, bool, int, int, int]:
        return (
            bool(pod.spec.node_name),
            pod.status.phase != "Pending",
            pod.ready,
            _cost(pod),
            -crowd[pod.spec.node_name],
            age[pod.key],
        )

    return sorted(mine, key=rank)


def _cost(pod: Pod) -> int:
    """The pod-deletion-cost annotation; 0 when absent or no number, as in Kubernetes."""
    text = pod.metadata.annotations.get(_DELETION_COST, "0")
    return int(text) if text.removeprefix("-").isdecimal() else 0
