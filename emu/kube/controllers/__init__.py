"""The controllers: from what is declared to what follows from it, one file each, each a function of the store and of keys.

`concerned(store, old, new)` gives the keys that a change concerns, `reconcile(store, ..., keys)` looks at these objects
and changes what differs; one that nothing concerns is not looked at. Passes are repeated until nothing changes. Pods
are bound by the scheduler and brought up by the kubelet between passes. Must not know either, nor any packet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import partial

from emu.errors import InputError
from emu.kube.api.apps import Deployment, ReplicaSet, StatefulSet
from emu.kube.api.meta import Key, Object, replace
from emu.kube.controllers import (
    daemonset,
    deployment,
    endpointslice,
    endpointslicemirroring,
    garbage,
    replicaset,
    services,
    statefulset,
)
from emu.kube.store import Store
from emu.wire.addr import Prefix

SERVICE_SUBNET = Prefix.parse("10.96.0.0/12")
Concerned = Callable[[Store, Object | None, Object | None], Iterable[Key]]


class Queue:
    """The keys that one controller has to look at: a key is there once, however often it was concerned.

    `looked_at` counts the keys that were handed out, in all.
    """

    def __init__(self, store: Store, concerned: Concerned, reconcile: Callable[[Collection[Key]], None]) -> None:
        self.keys: set[Key] = set()
        self.looked_at = 0
        self._store, self._concerned, self._reconcile = store, concerned, reconcile
        self.add_all()

    def add_all(self) -> None:
        """As if every object had just come."""
        for obj in self._store:
            self.heard(None, obj)

    def heard(self, old: Object | None, new: Object | None) -> None:
        self.keys.update(self._concerned(self._store, old, new))

    def run(self) -> None:
        """Look at them; where that fails, they stay. Raises InputError."""
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
    """The controllers of one store, each with its queue. They have not looked at anything yet.

    The seed decides pod suffixes, Service addresses and node ports, each by the object's own name.
    """

    def __init__(self, store: Store, seed: int = 0, *, service_subnet: Prefix = SERVICE_SUBNET) -> None:
        self.store = store
        address = partial(services.reconcile, store, seed, service_subnet)
        self.queues = {
            "garbage": Queue(store, garbage.concerned, partial(garbage.reconcile, store)),
            "services": Queue(store, services.concerned, address),
            "deployment": Queue(store, deployment.concerned, partial(deployment.reconcile, store, seed)),
            "replicaset": Queue(store, replicaset.concerned, partial(replicaset.reconcile, store, seed)),
            "statefulset": Queue(store, statefulset.concerned, partial(statefulset.reconcile, store, seed)),
            "daemonset": Queue(store, daemonset.concerned, partial(daemonset.reconcile, store, seed)),
        }
        mirror = partial(endpointslicemirroring.reconcile, store, seed)
        self.slices = {
            "endpointslice": Queue(store, endpointslice.concerned, partial(endpointslice.reconcile, store, seed)),
            "endpointslicemirroring": Queue(store, endpointslicemirroring.concerned, mirror),
        }
        self._all = [*self.queues.values(), *self.slices.values()]
        self.close = store.follow(self._heard)
        """Follow the store no longer."""

    def _heard(self, old: Object | None, new: Object | None) -> None:
        for queue in self._all:
            queue.heard(old, new)

    @property
    def looked_at(self) -> Counter[str]:
        """How many objects each controller has looked at until now."""
        return Counter({name: queue.looked_at for name, queue in (self.queues | self.slices).items()})

    def look_at_all(self) -> None:
        """Have every controller look at all of its objects in the next pass."""
        for queue in self._all:
            queue.add_all()

    def reconcile(self, *, slices: bool = True) -> bool:
        """One pass of every controller; returns whether anything changed. Raises InputError for impossible addresses.

        Without `slices` the EndpointSlices are left as they are.
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
    if not isinstance(obj, (Deployment, ReplicaSet, StatefulSet)):
        raise InputError(f"{key} cannot be scaled", expected="a deployment, replicaset or statefulset")
    if replicas < 0:
        raise InputError(f"{key} cannot have {replicas} replicas", expected="0 or more")
    return store.put(replace(obj, spec=replace(obj.spec, replicas=replicas)))
