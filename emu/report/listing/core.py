"""Pods, Services, what is behind them, nodes and NetworkPolicies as kubectl prints them.

`endpoints` are made of slices, for these are what kube-proxy reads. Must not know workloads.
"""

from __future__ import annotations

from collections.abc import Sequence

from emu.kube.api.core import Node, Pod, Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.networking import NetworkPolicy
from emu.kube.live.remarks import state
from emu.kube.store import Store
from emu.report.listing.ages import UNKNOWN
from emu.report.listing.cells import NONE, Columns, labels, selector

MOST = 3  # endpoints of one line


def _pod(pod: Pod, store: Store) -> Sequence[str]:
    sidecars = [each for each in pod.spec.init_containers if each.restart_policy == "Always"]
    total, statuses = len(pod.spec.containers) + len(sidecars), pod.status.container_statuses
    ready = sum(each.ready for each in statuses) if statuses else total * pod.ready
    names = {each.name for each in sidecars}
    ready += sum(each.ready for each in pod.status.init_container_statuses if each.name in names)
    restarts = sum(each.restart_count for each in statuses)
    address, node = pod.status.pod_ip or NONE, pod.spec.node_name or NONE
    return f"{ready}/{total}", state(pod), str(restarts), address, node, NONE, NONE


def _service(service: Service, store: Store) -> Sequence[str]:
    spec = service.spec
    ports = ",".join(f"{p.port}{f':{p.node_port}' if p.node_port else ''}/{p.protocol}" for p in spec.ports)
    return spec.type, spec.cluster_ip or NONE, _outside(service), ports or NONE, labels(spec.selector)


def _outside(service: Service) -> str:
    spec = service.spec
    if spec.type == "ExternalName":
        return spec.external_name
    given = [each.ip or each.hostname for each in service.status.load_balancer.ingress]
    found = [*(given if spec.type == "LoadBalancer" else ()), *spec.external_ips]
    return ",".join(found) or ("<pending>" if spec.type == "LoadBalancer" else NONE)


def _endpoints(service: Service, store: Store) -> Sequence[str]:
    slices = [each for each in store.list(EndpointSlice, service.namespace) if each.service_name == service.name]
    found = [
        f"{address}:{port.port}" if port.port else address
        for each in slices
        for port in each.ports
        for endpoint in each.endpoints
        if endpoint.conditions.ready is not False
        for address in endpoint.addresses
    ]
    return (_few(found),)


def _slice(each: EndpointSlice, store: Store) -> Sequence[str]:
    ports = [str(port.port) if port.port else "*" for port in each.ports]
    addresses = [address for endpoint in each.endpoints for address in endpoint.addresses]
    return each.address_type, _few(ports, "<unset>"), _few(addresses, "<unset>")


def _node(node: Node, store: Store) -> Sequence[str]:
    ready = next((each for each in node.status.conditions if each.type == "Ready"), None)
    status = ["Ready" if ready is None or ready.status == "True" else "NotReady"]
    status += ["SchedulingDisabled"] if node.spec.unschedulable else []
    prefix = "node-role.kubernetes.io/"
    roles = sorted(each.removeprefix(prefix) for each in node.metadata.labels if each.startswith(prefix))
    info, outside = node.status.node_info, (a.address for a in node.status.addresses if a.type == "ExternalIP")
    wide = (info.os_image, info.kernel_version, info.container_runtime_version)
    return (
        ",".join(status), ",".join(roles) or NONE, info.kubelet_version or UNKNOWN, node.internal_ip or NONE, next(outside, NONE),
        *(each or UNKNOWN for each in wide),
    )  # fmt: skip


def _network_policy(policy: NetworkPolicy, store: Store) -> Sequence[str]:
    return (selector(policy.spec.pod_selector),)


def _few(found: Sequence[str], nothing: str = NONE) -> str:
    more = f" + {len(found) - MOST} more..." if len(found) > MOST else ""
    return ",".join(found[:MOST]) + more if found else nothing


TABLES: dict[str, Columns] = {
    "pod": Columns(("READY", "STATUS", "RESTARTS", ""), ("IP", "NODE", "NOMINATED NODE", "READINESS GATES"), _pod),
    "service": Columns(("TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", ""), ("SELECTOR",), _service),
    "endpoints": Columns(("ENDPOINTS", ""), (), _endpoints, of="service"),
    "endpointslice": Columns(("ADDRESSTYPE", "PORTS", "ENDPOINTS", ""), (), _slice, "endpointslice.discovery.k8s.io"),
    "node": Columns(
        ("STATUS", "ROLES", "", "VERSION"),
        ("INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME"),
        _node,
    ),
    "networkpolicy": Columns(("POD-SELECTOR", ""), (), _network_policy, "networkpolicy.networking.k8s.io"),
}
