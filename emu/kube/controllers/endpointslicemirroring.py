"""Mirrors the Endpoints that a user wrote for a Service without a selector to EndpointSlices.

Source: pkg/controller/endpointslicemirroring. Must not know pods.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Literal

from emu.kube.api.core import EndpointAddress, Endpoints, Service
from emu.kube.api.discovery import MANAGED_BY, Endpoint, EndpointConditions, EndpointSlice, EndpointSlicePort
from emu.kube.api.meta import Key, Object
from emu.kube.controllers.pods import ends
from emu.kube.controllers.slices import Wanted, pack, service_of
from emu.kube.store import Store

MANAGER = "endpointslicemirroring-controller.k8s.io"
_SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"


WATCHES = ("endpoints", "service", "endpointslice")


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """The Endpoints that changed, that have the name of a changed Service, or that a slice of this controller mirrors."""
    for obj in ends(old, new):
        if isinstance(obj, Endpoints | Service):
            yield Key("endpoints", obj.namespace, obj.name)
        elif isinstance(obj, EndpointSlice) and obj.metadata.labels.get(MANAGED_BY) == MANAGER:
            yield Key("endpoints", obj.namespace, obj.service_name)


def reconcile(store: Store, seed: int, keys: Collection[Key]) -> None:
    """Bring the mirrored slices of these Endpoints up to date; slices of Endpoints that are deleted, or no longer mirrored,
    are deleted."""
    index = store.index(EndpointSlice, service_of)
    found = [each for key in keys for each in index.keys((MANAGER, key.namespace, key.name))]
    slices: dict[tuple[str, str], list[EndpointSlice]] = defaultdict(list)
    for each in store.found(EndpointSlice, found):
        slices[each.namespace, each.service_name].append(each)
    for endpoints in store.found(Endpoints, keys):
        existing = slices.pop((endpoints.namespace, endpoints.name), [])
        wanted = _wanted(endpoints) if _mirrored(store, endpoints) else {}
        if wanted:
            pack(store, endpoints, MANAGER, endpoints.metadata.labels, existing, wanted, seed)
        else:
            slices[endpoints.namespace, endpoints.name] = existing
    for left in slices.values():
        for each in left:
            store.delete(each.key)


def _mirrored(store: Store, endpoints: Endpoints) -> bool:
    service = store.get(Service, endpoints.namespace, endpoints.name)
    return (
        service is not None
        and not service.spec.selector
        and endpoints.metadata.labels.get(_SKIP) != "true"
        and _LEADER not in endpoints.metadata.annotations
    )


def _wanted(endpoints: Endpoints) -> Wanted:
    wanted: Wanted = defaultdict(list)
    for subset in endpoints.subsets:
        ports = tuple(
            EndpointSlicePort(name=p.name, protocol=p.protocol, port=p.port, app_protocol=p.app_protocol)
            for p in subset.ports
        )
        for ready, addresses in ((True, subset.addresses), (False, subset.not_ready_addresses)):
            for address in addresses:
                family: Literal["IPv4", "IPv6"] = "IPv6" if ":" in address.ip else "IPv4"
                wanted[family, ports].append(_endpoint(address, ready))
    return wanted


def _endpoint(address: EndpointAddress, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=(address.ip,),
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        node_name=address.node_name,
    )
