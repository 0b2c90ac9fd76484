"""The controllers: from what is declared to what follows from it, one file each, each a function of the store.

A pass looks at everything and changes what differs; passes are repeated until nothing changes. Pods are bound by
the scheduler and brought up by the kubelet between passes. Must not know either, nor any packet.
"""

from __future__ import annotations

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
_IN_ORDER = (deployment, replicaset, statefulset, daemonset)


def reconcile(store: Store, seed: int = 0, *, service_subnet: Prefix = SERVICE_SUBNET, slices: bool = True) -> bool:
    """One pass of every controller; returns whether anything changed. Raises InputError for impossible addresses.

    The seed decides pod suffixes, Service addresses and node ports, each by the object's own name. Without `slices`
    the EndpointSlices are left as they are.
    """
    before = store.version
    garbage.reconcile(store)
    services.reconcile(store, seed, service_subnet)
    for controller in _IN_ORDER:
        controller.reconcile(store, seed)
    if slices:
        reconcile_slices(store, seed)
    return store.version != before


def reconcile_slices(store: Store, seed: int = 0) -> None:
    """One pass of the two controllers that make EndpointSlices."""
    endpointslice.reconcile(store, seed)
    endpointslicemirroring.reconcile(store, seed)


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
