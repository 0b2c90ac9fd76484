"""ReplicaSet: keep a number of pods of one template (kubernetes pkg/controller/replicaset).

Must not know Deployments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from emu.kube.api.apps import ReplicaSet, WorkloadStatus
from emu.kube.api.batch import ReplicationController
from emu.kube.api.core import Pod
from emu.kube.api.meta import Key, Object, replace
from emu.kube.controllers import names, pods
from emu.kube.store import Store
from emu.wire.addr import decimal

_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


WATCHES = ("replicaset", "pod")


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """The ReplicaSet that changed, or whose pod did, and those that select a pod without a controller."""
    for obj in pods.ends(old, new):
        if isinstance(obj, ReplicaSet):
            yield obj.key
        elif isinstance(obj, Pod):
            yield from pods.controllers(store, ReplicaSet, obj)
            yield from pods.selecting(store, ReplicaSet, obj)


def reconcile(store: Store, seed: int, keys: Iterable[Key]) -> None:
    """Create and delete pods until these ReplicaSets have their number; write into the status how many are ready."""
    keep(store, seed, store.found(ReplicaSet, keys))


def keep(store: Store, seed: int, owners: Sequence[ReplicaSet] | Sequence[ReplicationController]) -> None:
    """The same for objects of either kind."""
    owned = store.index(Pod, pods.controller_of)
    # all of them as they are before the first one acts
    found = [
        (each, pods.active(owned.of(each.metadata.uid)), pods.active(pods.orphans(store, Pod, each)), _kin(store, each))
        for each in owners
    ]
    taken: set[Key] = set()
    for rs, own, orphans, kin in found:
        mine = pods.adopt(store, rs, rs.selector, own, orphans, taken)
        surplus = len(mine) - rs.spec.replicas
        if surplus > 0:
            related = [*mine, *kin]
            for pod in _first_to_go(mine, Counter(p.spec.node_name for p in related))[:surplus]:
                store.delete(pod.key)
                mine.remove(pod)
        for _ in range(-surplus):
            name = names.generate(store, "pod", rs.namespace, f"{rs.name}-", seed)
            mine.append(pods.create(store, rs, rs.spec.template, name, {}))
        ready = sum(p.ready for p in mine)
        status = WorkloadStatus(replicas=len(mine), ready_replicas=ready, available_replicas=ready)
        store.put(replace(rs, status=status))


def _kin(store: Store, rs: ReplicaSet | ReplicationController) -> list[Pod]:
    """The active pods of the other ReplicaSets of its controller."""
    owner = rs.metadata.controller
    if owner is None:
        return []
    siblings = store.index(ReplicaSet, pods.controller_of).of(owner.uid)
    owned = store.index(Pod, pods.controller_of)
    return [p for sibling in siblings if sibling.key != rs.key for p in pods.active(owned.of(sibling.metadata.uid))]


def _first_to_go(mine: list[Pod], crowd: Counter[str]) -> list[Pod]:
    """The documented order of scaling down: unbound, pending, not ready, low deletion cost, many on one node, young.

    `crowd` counts related pods by node: the pods of all ReplicaSets of one Deployment.
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
    cost = decimal(text.removeprefix("-")) or 0
    return -cost if text.startswith("-") else cost
