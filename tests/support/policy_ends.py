"""Which packet arrives where when something calls something: names of cases to packets after DNAT.

A Service is its endpoints and their targetPort; a NodePort's endpoint on another node sees the node that took the call. Must
not know policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from emu.kube.api.core import Node, Pod, Service, ServicePort
from emu.kube.api.meta import Key, Object, selects
from emu.kube.policy.ends import End, address
from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.verdict import Packet
from policy_cases import Cell

Outside = Mapping[str, tuple[str, tuple[str, ...]]]


def end(name: str, objects: Mapping[Key, Object], index: PolicyIndex, outside: Outside) -> End:
    """`NAMESPACE/POD`, `node/NAME` or `out/NAME`."""
    kind, _, rest = name.partition("/")
    if kind == "out":
        addr, names = outside[rest]
        return index.end(*address(addr), names)
    if kind == "node":
        node = index.node(rest)
        assert node is not None, name
        return node
    pod = objects[Key("pod", kind, rest)]
    assert isinstance(pod, Pod)
    return index.end(*address(pod.status.pod_ip))


def packets(cell: Cell, objects: Mapping[Key, Object], index: PolicyIndex, outside: Outside) -> list[Packet]:
    """The packets that a call may become; none where no endpoint answers."""
    source = end(cell.source, objects, index, outside)
    kind, _, rest = cell.destination.partition("/")
    services = [each for each in objects.values() if isinstance(each, Service)]
    if kind == "svc":
        namespace, _, name = rest.partition("/")
        service = next(each for each in services if (each.namespace, each.name) == (namespace, name))
        port = next((p for p in service.spec.ports if (p.port, p.protocol) == (cell.port, cell.protocol)), None)
        if service.spec.cluster_ip == "None" or port is None:  # the caller's own port
            port = ServicePort(port=cell.port, protocol=cell.protocol)  # type: ignore[arg-type]
        return [Packet(source, *rest_of) for rest_of in _endpoints(service, port, objects, index)]
    if kind == "node":
        for service in services:
            for port in service.spec.ports:
                if port.node_port == cell.port and port.protocol == cell.protocol:
                    return [*_by_node(rest, source, service, port, objects, index)]
    return [Packet(source, end(cell.destination, objects, index, outside), cell.protocol, cell.port)]


def _endpoints(
    service: Service, port: ServicePort, objects: Mapping[Key, Object], index: PolicyIndex
) -> Iterable[tuple[End, str, int]]:
    for pod in objects.values():
        if isinstance(pod, Pod) and pod.namespace == service.namespace and not pod.finished and pod.status.pod_ip:
            if service.spec.selector and selects(service.spec.selector, pod.metadata.labels):
                number: int | None = port.port
                if isinstance(port.target_port, int):
                    number = port.target_port
                elif isinstance(port.target_port, str):
                    named = (p for p in pod.spec.ports if (p.name, p.protocol) == (port.target_port, port.protocol))
                    number = next((p.container_port for p in named), None)
                if number is not None:
                    yield index.end(*address(pod.status.pod_ip)), port.protocol, number


def _by_node(
    node: str,
    source: End,
    service: Service,
    port: ServicePort,
    objects: Mapping[Key, Object],
    index: PolicyIndex,
) -> Iterable[Packet]:
    local = service.spec.external_traffic_policy == "Local"
    assert isinstance(objects[Key("node", "", node)], Node)
    for found, protocol, number in _endpoints(service, port, objects, index):
        assert found.pod is not None
        if found.pod.node == node:
            yield Packet(source, found, protocol, number)
        elif not local:
            taker = index.node(node)
            assert taker is not None
            yield Packet(taker, found, protocol, number)
