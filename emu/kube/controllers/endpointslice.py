"""EndpointSlices of Services with a selector (kubernetes staging/src/k8s.io/endpointslice).

Every matching pod that has an address and is not finished is an endpoint, terminating ones too; named target ports are
looked up pod by pod, so one Service may have slices with different ports. Must not know who reads slices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from emu.kube.api.core import Node, Pod, Service, ServicePort
from emu.kube.api.discovery import (
    MANAGED_BY,
    Endpoint,
    EndpointConditions,
    EndpointSlice,
    EndpointSlicePort,
    ObjectReference,
)
from emu.kube.api.meta import Key, Object, selects
from emu.kube.controllers.pods import ends, node_of
from emu.kube.controllers.slices import Wanted, pack, service_of
from emu.kube.store import Label, Store, labels_of

MANAGER = "endpointslice-controller.k8s.io"
_HEADLESS = "service.kubernetes.io/headless"


WATCHES = ("service", "pod", "node", "endpointslice")


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """The Services whose slices may change with an object: those that select the pod, or a pod on the node that came, went
    or changed its zone; the Service itself; and the Service of a slice of this controller."""
    for obj in ends(old, new):
        if isinstance(obj, Pod):
            yield from _selecting(store, obj)
        elif isinstance(obj, Service):
            yield obj.key
        elif isinstance(obj, EndpointSlice) and obj.metadata.labels.get(MANAGED_BY) == MANAGER:
            yield Key("service", obj.namespace, obj.service_name)
    before, after = (each if isinstance(each, Node) else None for each in (old, new))
    node = after or before
    if node is not None and (before is None or after is None or before.zone != after.zone):
        for pod in store.index(Pod, node_of).of(node.name):
            yield from _selecting(store, pod)


def reconcile(store: Store, seed: int, keys: Iterable[Key]) -> None:
    """Bring the slices of these Services up to date."""
    slices = store.index(EndpointSlice, service_of)
    # all of them as they are before the first one acts
    found = [(each, slices.of((MANAGER, each.namespace, each.name))) for each in store.found(Service, keys)]
    for service, existing in found:
        if service.spec.type == "ExternalName":
            for each in existing:
                store.delete(each.key)
        elif service.spec.selector:
            labels = {k: v for k, v in service.metadata.labels.items() if k != _HEADLESS}
            if service.spec.headless:
                labels[_HEADLESS] = ""
            pack(store, service, MANAGER, labels, existing, wanted(store, service), seed)


def selector_of(service: Service) -> tuple[Label, ...]:
    """One pair of a Service's selector, with the namespace."""
    return tuple((service.namespace, *pair) for pair in [*service.spec.selector.items()][:1])


def _selecting(store: Store, pod: Pod) -> Iterator[Key]:
    """The Services whose selector matches a pod."""
    index = store.index(Service, selector_of)
    for word in labels_of(pod):
        for service in index.of(word):
            if selects(service.spec.selector, pod.metadata.labels):
                yield service.key


def wanted(store: Store, service: Service) -> Wanted:
    """The endpoints that the slices of a Service with a selector are to hold, by their family and ports."""
    found: Wanted = defaultdict(list)
    for pod in store.list(Pod, service.namespace, service.spec.selector):
        if not (pod.status.pod_ip or pod.status.pod_ips) or pod.finished:
            continue
        node = store.get(Node, "", pod.spec.node_name)
        if node is None and not service.spec.publish_not_ready_addresses:
            continue
        ports = tuple(p for p in (_resolve(port, pod) for port in service.spec.ports) if p is not None)
        found["IPv4", ports].append(_endpoint(service, pod, node))
    return found


def _resolve(port: ServicePort, pod: Pod) -> EndpointSlicePort | None:
    """The target port of a Service port on this pod; None when the pod has no port of that name and protocol."""
    target = port.port if port.target_port is None else port.target_port
    if isinstance(target, str):
        named = (p.container_port for p in pod.spec.ports if p.name == target and p.protocol == port.protocol)
        number = next(named, None)
        if number is None:
            return None
        target = number
    return EndpointSlicePort(name=port.name, protocol=port.protocol, port=target, app_protocol=port.app_protocol)


def _endpoint(service: Service, pod: Pod, node: Node | None) -> Endpoint:
    serving = pod.ready
    named = bool(pod.spec.hostname) and pod.spec.subdomain == service.name
    return Endpoint(
        addresses=(pod.status.pod_ip or pod.status.pod_ips[0].ip,),
        conditions=EndpointConditions(
            ready=service.spec.publish_not_ready_addresses or (serving and not pod.terminating),
            serving=serving,
            terminating=pod.terminating,
        ),
        hostname=pod.spec.hostname if named else None,
        node_name=pod.spec.node_name or None,
        zone=(node.zone or None) if node is not None else None,
        target_ref=ObjectReference(kind="Pod", namespace=pod.namespace, name=pod.name, uid=pod.metadata.uid),
    )
