"""Deployment: one ReplicaSet for each pod template, and the rolling update from old to new (pkg/controller/deployment).

Progress of a rolling update is counted in ready pods; there are no deadlines. Must not know pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emu.kube.api.apps import Deployment, ReplicaSet, ReplicaSetSpec, WorkloadStatus
from emu.kube.api.core import PodTemplateSpec
from emu.kube.api.meta import Key, Object, ObjectMeta, owned_by, replace
from emu.kube.controllers import names, pods
from emu.kube.store import Store

_HASH = "pod-template-hash"


WATCHES = ("deployment", "replicaset")


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """The Deployment that changed, or whose ReplicaSet did, and those that select a ReplicaSet without a controller."""
    for obj in pods.ends(old, new):
        if isinstance(obj, Deployment):
            yield obj.key
        elif isinstance(obj, ReplicaSet):
            yield from pods.controllers(store, Deployment, obj)
            yield from pods.selecting(store, Deployment, obj)


def reconcile(store: Store, seed: int, keys: Iterable[Key]) -> None:
    """Take the next step of these Deployments. Names come from the template, so the seed has no effect."""
    owned = store.index(ReplicaSet, pods.controller_of)
    found = [
        (each, owned.of(each.metadata.uid), pods.orphans(store, ReplicaSet, each))
        for each in store.found(Deployment, keys)
    ]
    taken: set[Key] = set()
    for deployment, own, orphans in found:
        sets = pods.adopt(store, deployment, deployment.selector, own, orphans, taken)
        name = f"{deployment.name}-{names.template_hash(deployment.spec.template)}"
        new = next((rs for rs in sets if rs.name == name or _template(rs) == deployment.spec.template), None)
        old = [rs for rs in sets if rs is not new]
        if not deployment.spec.paused:
            _roll(store, deployment, new or _replica_set(deployment, name), old)
        elif new is not None and not any(rs.spec.replicas for rs in old):
            _scale(store, new, deployment.spec.replicas)  # paused: scaled, but not rolled
        for rs in _surplus_history(deployment, old):
            store.delete(rs.key)
        status = WorkloadStatus(
            replicas=sum(rs.status.replicas for rs in sets),
            ready_replicas=sum(rs.status.ready_replicas for rs in sets),
            updated_replicas=0 if new is None else new.status.replicas,
            available_replicas=sum(rs.status.available_replicas for rs in sets),
        )
        store.put(replace(deployment, status=status))


def _template(rs: ReplicaSet) -> PodTemplateSpec:
    """A ReplicaSet's template as its Deployment wrote it."""
    meta = rs.spec.template.metadata
    labels = {k: v for k, v in meta.labels.items() if k != _HASH}
    return replace(rs.spec.template, metadata=replace(meta, labels=labels))


def _replica_set(deployment: Deployment, name: str) -> ReplicaSet:
    """The ReplicaSet of the present template, with no replicas yet."""
    template, selector = deployment.spec.template, deployment.spec.selector
    mark = {_HASH: name.removeprefix(f"{deployment.name}-")}
    labels = template.metadata.labels | mark
    return ReplicaSet(
        metadata=ObjectMeta(
            name=name, namespace=deployment.namespace, labels=labels, owner_references=owned_by(deployment)
        ),
        spec=ReplicaSetSpec(
            replicas=0,
            selector=replace(selector, match_labels=selector.match_labels | mark),
            template=replace(template, metadata=replace(template.metadata, labels=labels)),
        ),
    )


def _roll(store: Store, deployment: Deployment, new: ReplicaSet, old: list[ReplicaSet]) -> None:
    wanted = deployment.spec.replicas
    if deployment.spec.strategy.type == "Recreate":
        for rs in old:
            _scale(store, rs, 0)
        _scale(store, new, new.spec.replicas if any(rs.status.replicas for rs in old) else wanted)
        return
    surge, unavailable = _allowed(deployment)
    total = new.spec.replicas + sum(rs.spec.replicas for rs in old)
    grown = min(wanted, max(new.spec.replicas, new.spec.replicas + wanted + surge - total))
    _scale(store, new, grown)
    if grown != new.spec.replicas:
        return
    least = wanted - unavailable
    spare = total - least - (new.spec.replicas - new.status.ready_replicas)
    for rs in old:  # to delete a pod that is not ready costs no availability
        sick = min(spare, rs.spec.replicas - rs.status.ready_replicas)
        if sick > 0:
            _scale(store, rs, rs.spec.replicas - sick)
            return
    spare = min(spare, new.status.ready_replicas + sum(rs.status.ready_replicas for rs in old) - least)
    for rs in old:
        leave = min(max(spare, 0), rs.spec.replicas)
        _scale(store, rs, rs.spec.replicas - leave)
        spare -= leave


def _allowed(deployment: Deployment) -> tuple[int, int]:
    """maxSurge (rounded up) and maxUnavailable (rounded down) as numbers of pods; at least one is positive."""
    rolling, wanted = deployment.spec.strategy.rolling_update, deployment.spec.replicas
    surge, unavailable = (
        value if isinstance(value, int) else (int(value.removesuffix("%")) * wanted + up) // 100
        for value, up in ((rolling.max_surge, 99), (rolling.max_unavailable, 0))
    )
    return surge, min(max(unavailable, 0 if surge else 1), wanted)


def _scale(store: Store, rs: ReplicaSet, replicas: int) -> None:
    store.put(replace(rs, spec=replace(rs.spec, replicas=replicas)))


def _surplus_history(deployment: Deployment, old: list[ReplicaSet]) -> list[ReplicaSet]:
    idle = [rs for rs in old if not rs.spec.replicas and not rs.status.replicas]
    return idle[: max(len(idle) - deployment.spec.revision_history_limit, 0)]
