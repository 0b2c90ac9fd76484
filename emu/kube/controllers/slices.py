"""Packs endpoints into EndpointSlices: at most 100 in a slice, slices by set of ports, with as few changes as possible.

Shared by the controller and the mirror. Must not know where the endpoints come from.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

from emu.kube.api.discovery import MANAGED_BY, SERVICE_NAME, Endpoint, EndpointSlice, EndpointSlicePort
from emu.kube.api.meta import Object, ObjectMeta, owned_by, replace
from emu.kube.controllers import names
from emu.kube.store import Store

MAX_ENDPOINTS = 100
Family = tuple[Literal["IPv4", "IPv6"], tuple[EndpointSlicePort, ...]]
Wanted = dict[Family, list[Endpoint]]


def service_of(found: EndpointSlice) -> tuple[tuple[str, str, str]]:
    """Which controller made a slice, and the namespace and name of its Service."""
    return ((found.metadata.labels.get(MANAGED_BY, ""), found.namespace, found.service_name),)


def pack(
    store: Store,
    owner: Object,
    manager: str,
    labels: dict[str, str],
    existing: list[EndpointSlice],
    wanted: Wanted,
    seed: int,
) -> None:
    """Update the slices of a Service to hold these endpoints. An endpoint stays in its slice; no endpoint: one empty slice."""
    labels = labels | {SERVICE_NAME: owner.name, MANAGED_BY: manager}
    wanted = {family: endpoints for family, endpoints in wanted.items() if endpoints} or {("IPv4", ()): []}
    by_family: dict[Family, list[EndpointSlice]] = defaultdict(list)
    for found in existing:
        family: Family = ("IPv6" if found.address_type == "IPv6" else "IPv4", found.ports)
        by_family[family].append(found)
    for family, endpoints in wanted.items():
        _pack_family(store, owner, labels, by_family.pop(family, []), family, endpoints, seed)
    for left in by_family.values():
        for found in left:
            store.delete(found.key)


def _pack_family(
    store: Store,
    owner: Object,
    labels: dict[str, str],
    existing: list[EndpointSlice],
    family: Family,
    endpoints: list[Endpoint],
    seed: int,
) -> None:
    left = {_identity(e): e for e in endpoints}
    kept: list[tuple[EndpointSlice, list[Endpoint]]] = []
    for found in existing:
        ids = [_identity(e) for e in found.endpoints]
        kept.append((found, [left.pop(i) for i in ids if i in left]))
    new = [*left.values()]
    for _, inside in kept:
        room = MAX_ENDPOINTS - len(inside)
        inside += new[:room]
        del new[:room]
    full = [(found, inside) for found, inside in kept if inside]
    spare = [found for found, inside in kept if not inside]
    if not endpoints:
        full = [(found, []) for found in spare[:1]]
        del spare[:1]
        if not full:
            _create(store, owner, labels, family, [], seed)
    for found, inside in full:
        meta = replace(found.metadata, labels=labels)
        store.put(replace(found, metadata=meta, endpoints=tuple(inside)))
    for found in spare:
        store.delete(found.key)
    for i in range(0, len(new), MAX_ENDPOINTS):
        _create(store, owner, labels, family, new[i : i + MAX_ENDPOINTS], seed)


def _identity(endpoint: Endpoint) -> tuple[str, ...]:
    """The identity of an endpoint: the pod, and its addresses."""
    return (endpoint.target_ref.uid if endpoint.target_ref is not None else "", *endpoint.addresses)


def _create(
    store: Store, owner: Object, labels: dict[str, str], family: Family, endpoints: list[Endpoint], seed: int
) -> None:
    address_type, ports = family
    stem = f"{owner.name}-"
    meta = ObjectMeta(
        name=names.generate(store, "endpointslice", owner.namespace, stem, seed),
        namespace=owner.namespace,
        generate_name=stem,
        labels=labels,
        owner_references=owned_by(owner),
    )
    store.put(EndpointSlice(metadata=meta, address_type=address_type, endpoints=tuple(endpoints), ports=ports))
