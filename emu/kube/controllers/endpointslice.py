"""EndpointSlices of Services with a selector (kubernetes staging/src/k8s.io/endpointslice).

Every matching pod with an address and not finished is an endpoint, terminating ones too; named target ports are
looked up pod by pod, so one Service may have slices with different ports. Must not know who reads slices.
"""

from __future__ import annotations

from collections import defaultdict

from emu.kube.api.core import Node, Pod, Service, ServicePort
from emu.kube.api.discovery import (
    MANAGED_BY,
    Endpoint,
    EndpointConditions,
    EndpointSlice,
    EndpointSlicePort,
    ObjectReference,
)
from emu.kube.api.meta import selects
from emu.kube.controllers.slices import Wanted, pack
from emu.kube.store import Store

MANAGER = "endpointslice-controller.k8s.io"
_HEADLESS = "service.kubernetes.io/headless"

PodIndex = dict[tuple[str, str, str], list[Pod]]
"""Pods by namespace and one label pair."""


def reconcile(store: Store, seed: int) -> None:
    """Bring the slices of every Service up to date."""
    index: PodIndex = defaultdict(list)
    for pod in store.list(Pod):
        if (pod.status.pod_ip or pod.status.pod_ips) and not pod.finished:
            for name, value in pod.metadata.labels.items():
                index[pod.namespace, name, value].append(pod)
    nodes = {n.name: n for n in store.list(Node)}
    slices: dict[tuple[str, str], list[EndpointSlice]] = defaultdict(list)
    for found in store.list(EndpointSlice):
        if found.metadata.labels.get(MANAGED_BY) == MANAGER:
            slices[found.namespace, found.service_name].append(found)
    for service in store.list(Service):
        existing = slices[service.namespace, service.name]
        if service.spec.type == "ExternalName":
            for found in existing:
                store.delete(found.key)
        elif service.spec.selector:
            labels = {k: v for k, v in service.metadata.labels.items() if k != _HEADLESS}
            if service.spec.headless:
                labels[_HEADLESS] = ""
            pack(store, service, MANAGER, labels, existing, _wanted(service, index, nodes), seed)


def _wanted(service: Service, index: PodIndex, nodes: dict[str, Node]) -> Wanted:
    wanted: Wanted = defaultdict(list)
    for pod in _selected(service, index):
        node = nodes.get(pod.spec.node_name)
        if node is None and not service.spec.publish_not_ready_addresses:
            continue
        ports = tuple(p for p in (_resolve(port, pod) for port in service.spec.ports) if p is not None)
        wanted["IPv4", ports].append(_endpoint(service, pod, node))
    return wanted


def _selected(service: Service, index: PodIndex) -> list[Pod]:
    """The Service's pods, found by whichever pair of its selector the fewest pods have."""
    selector = service.spec.selector
    few = min((index.get((service.namespace, k, v), []) for k, v in selector.items()), key=len)
    return [p for p in few if selects(selector, p.metadata.labels)]


def _resolve(port: ServicePort, pod: Pod) -> EndpointSlicePort | None:
    """The port of this pod that a Service port means; None when the pod has no port of that name and protocol."""
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
