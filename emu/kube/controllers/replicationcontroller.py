"""ReplicationController: a ReplicaSet by its older name (pkg/controller/replication, which wraps the ReplicaSet controller).

Must not know Deployments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emu.kube.api.batch import ReplicationController
from emu.kube.api.core import Pod
from emu.kube.api.meta import Key, Object
from emu.kube.controllers import pods, replicaset
from emu.kube.store import Store

WATCHES = ("replicationcontroller", "pod")


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """The controller that changed, or whose pod did, and those that select a pod without one."""
    for obj in pods.ends(old, new):
        if isinstance(obj, ReplicationController):
            yield obj.key
        elif isinstance(obj, Pod):
            yield from pods.controllers(store, ReplicationController, obj)
            yield from pods.selecting(store, ReplicationController, obj)


def reconcile(store: Store, seed: int, keys: Iterable[Key]) -> None:
    """Create and delete pods until these have their number."""
    replicaset.keep(store, seed, store.found(ReplicationController, keys))
