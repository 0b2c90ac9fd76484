"""DaemonSet: one pod on every node that matches (pkg/controller/daemon).

Its pods tolerate what the controller adds to their tolerations: unschedulable nodes, nodes that are not ready or have little
of a resource. A taint of effect NoSchedule keeps new pods away; those that run stay.
Must not know the scheduler: the controller names the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from emu.kube.api.apps import DaemonSet, DaemonSetStatus
from emu.kube.api.core import Node, Pod, PodSpec, Toleration, untolerated
from emu.kube.api.meta import Key, Object, replace
from emu.kube.controllers import names, pods
from emu.kube.store import Store

_NO_EXECUTE = ("not-ready", "unreachable")
_NO_SCHEDULE = ("disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")
_REVISION = "controller-revision-hash"


WATCHES = ("daemonset", "pod", "node")


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """The DaemonSet that changed, or whose pod did; all DaemonSets if a node came, went or has other labels or taints."""
    yield from pods.owners(store, DaemonSet, Pod, old, new)
    if isinstance(new or old, Node) and _traits(old) != _traits(new):
        yield from (each.key for each in store.list(DaemonSet))


def _traits(node: Object | None) -> tuple[object, ...]:
    return (node.metadata.labels, node.spec.taints) if isinstance(node, Node) else ()


def tolerations_of(spec: PodSpec) -> tuple[Toleration, ...]:
    """What the pods of a DaemonSet tolerate: their own, and what the controller adds (AddOrUpdateDaemonPodTolerations)."""
    keys = [*_NO_SCHEDULE, *(("network-unavailable",) if spec.host_network else ())]
    added = [("NoExecute", key) for key in _NO_EXECUTE] + [("NoSchedule", key) for key in keys]
    own = [Toleration(key=f"node.kubernetes.io/{key}", operator="Exists", effect=effect) for effect, key in added]
    return (*spec.tolerations, *(each for each in own if each not in spec.tolerations))


def reconcile(store: Store, seed: int, keys: Iterable[Key]) -> None:
    """Create missing pods, delete superfluous ones, and replace outdated ones one at a time."""
    owned = store.index(Pod, pods.controller_of)
    found = [(each, owned.of(each.metadata.uid)) for each in store.found(DaemonSet, keys)]
    nodes = store.list(Node) if found else []
    for ds, own in found:
        template = ds.spec.template
        revision = pods.revision_of(store, ds, template)
        tolerations = tolerations_of(template.spec)
        template = replace(template, spec=replace(template.spec, tolerations=tolerations))
        wanted = {
            n.name: None
            for n in nodes
            if template.spec.likes(n)
            and template.spec.node_name in ("", n.name)
            and not any(untolerated(tolerations, n.spec.taints, "NoExecute"))
        }
        closed = {n.name for n in nodes if n.spec.taints and any(untolerated(tolerations, n.spec.taints, "NoSchedule"))}
        leaving = {pod.spec.node_name for pod in own if pod.terminating}
        mine: dict[str, Pod] = {}
        for pod in pods.active(own):
            if pod.spec.node_name in wanted and pod.spec.node_name not in mine:
                mine[pod.spec.node_name] = pod
            else:
                store.delete(pod.key)
        for node in wanted:
            if node not in mine and node not in leaving and node not in closed:  # one at a time on a node
                name = names.generate(store, "pod", ds.namespace, f"{ds.name}-", seed)
                mine[node] = pods.create(store, ds, template, name, {_REVISION: revision}, node_name=node)
        if not leaving:
            _renew(store, ds, mine, revision)
        store.put(replace(ds, status=_status(mine, [name for name in wanted if name not in closed], revision)))


def _status(mine: dict[str, Pod], nodes: Sequence[str], revision: str) -> DaemonSetStatus:
    """updateDaemonSetStatus: of the nodes that should have a pod; a pod that only may stay where it is does not count."""
    there = [mine[node] for node in nodes if node in mine]
    ready = sum(pod.ready for pod in there)
    return DaemonSetStatus(
        desired_number_scheduled=len(nodes),
        current_number_scheduled=len(there),
        number_ready=ready,
        updated_number_scheduled=sum(pod.metadata.labels.get(_REVISION) == revision for pod in there),
        number_available=ready,
    )


def _renew(store: Store, ds: DaemonSet, mine: dict[str, Pod], revision: str) -> None:
    """Delete one outdated pod if no other pod is missing (maxUnavailable 1)."""
    if ds.spec.update_strategy.type == "OnDelete":
        return
    outdated = [n for n, p in mine.items() if p.metadata.labels.get(_REVISION) != revision]
    unready = [n for n, p in mine.items() if not p.ready]
    node = next((n for n in (*unready, *outdated) if n in outdated), None)
    if node is not None and all(n == node for n in unready):
        store.delete(mine.pop(node).key)
