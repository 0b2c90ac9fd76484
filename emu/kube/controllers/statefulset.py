"""StatefulSet: pods with ordinals, one after the other (pkg/controller/statefulset).

OrderedReady waits for each pod to be ready before the next; Parallel does not. Must not know volumes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emu.kube.api.apps import StatefulSet, WorkloadStatus
from emu.kube.api.core import Pod
from emu.kube.api.meta import Key, Object, replace
from emu.kube.controllers import pods
from emu.kube.store import Store
from emu.wire.addr import decimal

_REVISION = "controller-revision-hash"


WATCHES = ("statefulset", "pod")


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """The StatefulSet that changed, or whose pod did."""
    for obj in pods.ends(old, new):
        if isinstance(obj, StatefulSet):
            yield obj.key
        elif isinstance(obj, Pod):
            yield from pods.controllers(store, StatefulSet, obj)


def reconcile(store: Store, seed: int, keys: Iterable[Key]) -> None:
    """Take the next step of these StatefulSets. Names end with ordinals, so the seed has no effect."""
    owned = store.index(Pod, pods.controller_of)
    for sts, own in [(each, owned.of(each.metadata.uid)) for each in store.found(StatefulSet, keys)]:
        mine = {_ordinal(sts, p): p for p in own}
        _step(store, sts, mine)
        living = pods.active([p for p in mine.values() if store.find(p.key) is not None])
        ready, revision = sum(p.ready for p in living), pods.revision_of(store, sts, sts.spec.template)
        updated = sum(p.metadata.labels.get(_REVISION) == revision for p in living)
        status = WorkloadStatus(len(living), ready, updated, ready)
        store.put(replace(sts, status=status))


def _ordinal(sts: StatefulSet, pod: Pod) -> int:
    tail = pod.name.removeprefix(f"{sts.name}-")
    ordinal = decimal(tail)
    return -1 if ordinal is None else ordinal


def _step(store: Store, sts: StatefulSet, mine: dict[int, Pod]) -> None:
    start = sts.spec.ordinals.start
    wanted = range(start, start + sts.spec.replicas)
    ordered = sts.spec.pod_management_policy == "OrderedReady"
    revision = pods.revision_of(store, sts, sts.spec.template)
    for ordinal in wanted:
        pod = mine.get(ordinal)
        if pod is not None and pod.finished and not pod.terminating:
            store.delete(pod.key)
            pod = None
        if pod is None:
            pod = mine[ordinal] = _create(store, sts, ordinal, revision)
        if ordered and (pod.terminating or not pod.ready):
            return
    for ordinal in sorted(set(mine) - set(wanted), reverse=True):
        if not mine[ordinal].terminating:
            store.delete(mine[ordinal].key)
        if ordered:
            return
    if sts.spec.update_strategy.type == "OnDelete":
        return
    for ordinal in reversed(wanted):
        pod = mine[ordinal]
        if ordinal < start + sts.spec.update_strategy.rolling_update.partition:
            return
        if pod.metadata.labels.get(_REVISION) != revision:
            store.delete(pod.key)
            return
        if not pod.ready:
            return


def _create(store: Store, sts: StatefulSet, ordinal: int, revision: str) -> Pod:
    name = f"{sts.name}-{ordinal}"
    labels = {
        _REVISION: revision,
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": str(ordinal),
    }
    return pods.create(store, sts, sts.spec.template, name, labels, hostname=name, subdomain=sts.spec.service_name)
