"""The controllers, one file each. They change the store's objects until these follow the declared ones.

`concerned(store, old, new)` gives the keys that a change concerns; `reconcile(store, ..., keys)` reads these objects
and changes what differs. No other object is read. Passes are repeated until nothing changes. Between passes the
scheduler binds pods and the kubelet starts them. Must not know either, nor any packet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

from emu.clock import Clock
from emu.errors import InputError
from emu.kube.api.apps import Deployment, ReplicaSet, StatefulSet
from emu.kube.api.batch import ReplicationController
from emu.kube.api.core import Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Key, Object, replace
from emu.kube.controllers import (
    cronjob,
    daemonset,
    deployment,
    endpointslice,
    endpointslicemirroring,
    garbage,
    job,
    replicaset,
    replicationcontroller,
    services,
    statefulset,
    tainteviction,
)
from emu.kube.controllers.later import Later
from emu.kube.store import Store
from emu.wire.addr import Prefix

SERVICE_SUBNET = Prefix.parse("10.96.0.0/12")
_WORKLOADS = {
    "deployment": deployment,
    "replicaset": replicaset,
    "statefulset": statefulset,
    "daemonset": daemonset,
    "replicationcontroller": replicationcontroller,
}
_TIMED = {"job": (job, "job"), "cronjob": (cronjob, "cronjob"), "tainteviction": (tainteviction, "")}
_SLICES = {"endpointslice": endpointslice, "endpointslicemirroring": endpointslicemirroring}
Concerned = Callable[[Store, Object | None, Object | None], Iterable[Key]]


class Queue:
    """The work queue of one controller: a key is in it once, however many changes concern it.

    `looked_at` counts the keys that were taken out, in all.
    """

    def __init__(
        self,
        store: Store,
        watches: Collection[str],
        concerned: Concerned,
        reconcile: Callable[[Collection[Key]], None],
        kind: str = "",
    ) -> None:
        """`watches` are the kinds whose changes may concern the controller, in lower case; empty: all kinds. `kind`: the one
        kind that has its keys, if there is one."""
        self.kind = kind
        self.keys: set[Key] = set()
        self.looked_at = 0
        self.watches = watches
        self._store, self._concerned, self._reconcile = store, concerned, reconcile
        self.add_all()

    def add_all(self) -> None:
        """Queue every object, as if it had just been added."""
        for obj in self._store:
            if not self.watches or obj.key.kind in self.watches:
                self.changed(None, obj)

    def changed(self, old: Object | None, new: Object | None) -> None:
        self.keys.update(self._concerned(self._store, old, new))

    def run(self) -> None:
        """Reconcile the queued keys; if that fails, they stay queued. Raises InputError."""
        if not self.keys:
            return
        keys, self.keys = self.keys, set()
        self.looked_at += len(keys)
        try:
            self._reconcile(keys)
        except InputError:
            self.keys |= keys
            raise


class Controllers:
    """The controllers of one store, each with its queue. They have reconciled nothing yet.

    The seed decides pod suffixes, Service addresses and node ports, each together with the object's own name.
    """

    def __init__(
        self,
        store: Store,
        seed: int = 0,
        *,
        service_subnet: Prefix = SERVICE_SUBNET,
        clock: Clock | None = None,
        act: Callable[[], None] = lambda: None,
    ) -> None:
        """`act` runs everything once a controller has waited for a time of the `clock`."""
        self.store = store
        address = partial(services.reconcile, store, seed, service_subnet)
        self.queues = {
            "garbage": Queue(store, (), garbage.concerned, partial(garbage.reconcile, store)),
            "services": Queue(store, services.WATCHES, services.concerned, address),
        } | {name: self._queue(part, seed, name) for name, part in _WORKLOADS.items()}
        self.queues |= {name: self._timed(part, seed, Later(clock, act), kind) for name, (part, kind) in _TIMED.items()}
        self.slices = {name: self._queue(part, seed) for name, part in _SLICES.items()}
        self._by_kind: dict[str, list[Queue]] = {}
        self.close = store.follow(self._changed)
        """Stop watching the store."""

    def _queue(self, part: Any, seed: int, kind: str = "") -> Queue:
        return Queue(self.store, part.WATCHES, part.concerned, partial(part.reconcile, self.store, seed), kind)

    def _timed(self, part: Any, seed: int, later: Later, kind: str) -> Queue:
        reconcile = partial(part.reconcile, self.store, seed, later=later)
        queue = later.queue = Queue(self.store, part.WATCHES, part.concerned, reconcile, kind)
        return queue

    def _changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        has = self.store.has
        for queue in self._by_kind.get(obj.kind) or self._watching(obj.kind):
            # a pod is no concern of Jobs where there is none
            if not queue.kind or has(queue.kind) or queue.kind == obj.kind.lower():
                queue.changed(old, new)

    def _watching(self, kind: str) -> list[Queue]:
        """The queues that watch a kind."""
        found = self._by_kind[kind] = [
            each
            for each in (*self.queues.values(), *self.slices.values())
            if not each.watches or kind.lower() in each.watches
        ]
        return found

    @property
    def looked_at(self) -> Counter[str]:
        """How many objects each controller has reconciled until now."""
        return Counter({name: queue.looked_at for name, queue in (self.queues | self.slices).items()})

    def look_at_all(self) -> None:
        """Make every controller reconcile all of its objects in the next pass."""
        for queue in (*self.queues.values(), *self.slices.values()):
            queue.add_all()

    def take_over(self) -> None:
        """The objects are those of a cluster that runs: nothing is due, but addresses that Services lack, and the slices of
        namespaces from which there are none."""
        known = {each.namespace for each in self.store.list(EndpointSlice)}
        for name, queue in (self.queues | self.slices).items():
            if name == "services":
                queue.keys = {each.key for each in self.store.list(Service) if services.lacks(each)}
            elif name in self.slices:
                queue.keys = {key for key in queue.keys if key.namespace not in known}
            else:
                queue.keys = set()

    def reconcile(self, *, slices: bool = True) -> bool:
        """One pass of every controller; returns whether anything changed. Raises InputError for impossible addresses.

        Without `slices` the EndpointSlices stay unchanged.
        """
        before = self.store.version
        for queue in self.queues.values():
            queue.run()
        if slices:
            self.reconcile_slices()
        return self.store.version != before

    def reconcile_slices(self) -> None:
        """One pass of the two controllers that make EndpointSlices."""
        for queue in self.slices.values():
            queue.run()


def scale(store: Store, key: Key, replicas: int) -> Object:
    """Set a workload's replicas, as `kubectl scale` does. Raises InputError."""
    obj = store.find(key)
    if obj is None:
        raise InputError(f"there is no {key}")
    if not isinstance(obj, (Deployment, ReplicaSet, StatefulSet, ReplicationController)):
        expected = "a deployment, replicaset, replicationcontroller or statefulset"
        raise InputError(f"{key} cannot be scaled", expected=expected)
    if replicas < 0:
        raise InputError(f"{key} cannot have {replicas} replicas", expected="0 or more")
    return store.put(replace(obj, spec=replace(obj.spec, replicas=replicas)))
