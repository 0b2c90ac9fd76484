"""What the pods of an export listen on beside the ports that they declare, and what answers there.

A container may listen on ports that it does not declare (`containerPort` informs people). These are taken to be open: the ports of
its probes; a Service's numeric targetPort, where the pod declares no port of that protocol at all; the ports of an
EndpointSlice that names the pod and that no controller made. The pods of kube-dns answer as CoreDNS. Must not know sockets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emu.kube.api.core import Container, Pod, Service
from emu.kube.api.discovery import MANAGED_BY, EndpointSlice
from emu.kube.api.meta import Key, Object, selects
from emu.kube.live.subnets import address

DNS_SERVICE = ("kube-system", "kube-dns")
DNS_PORT_NAMES = ("dns", "dns-tcp")
Port = tuple[int, str]
Listening = dict[Key, dict[Port, str]]


def listening(objects: Iterable[Object]) -> Listening:
    """The app by port and protocol, for each pod that has such ports."""
    objects = list(objects)
    pods = [each for each in objects if isinstance(each, Pod)]
    found: Listening = {}
    for pod in pods:
        _open(found, pod, _probed(pod))
    by_label: dict[tuple[str, str, str], list[Pod]] = {}
    for pod in pods:
        for label in pod.metadata.labels.items():
            by_label.setdefault((pod.namespace, *label), []).append(pod)
    for obj in objects:
        if isinstance(obj, Service) and obj.spec.selector:
            first = next(iter(obj.spec.selector.items()))
            for pod in by_label.get((obj.namespace, *first), ()):
                if selects(obj.spec.selector, pod.metadata.labels):
                    _open(found, pod, _targeted(obj, pod))
                    if (obj.namespace, obj.name) == DNS_SERVICE:
                        _open(found, pod, _dns(obj, pod), "dns")
    for port, pod in _named_by_hand(objects, pods):
        _open(found, pod, [port])
    return found


def pod_addresses(objects: Iterable[Object]) -> list[int]:
    """The addresses that pods have of their own."""
    pods = (each for each in objects if isinstance(each, Pod) and not each.spec.host_network and not each.finished)
    return [addr for pod in pods if (addr := address(pod.status.pod_ip))]


def _open(found: Listening, pod: Pod, ports: Iterable[Port], app: str = "echo") -> None:
    for port in ports:
        if port[1] != "SCTP":
            there = found.setdefault(pod.key, {})
            if app != "echo" or port not in there:
                there[port] = app


def _probed(pod: Pod) -> Iterator[Port]:
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        for probe in container.probes:
            number = _number(container, probe.asked.port) if probe.asked is not None else 0
            if number:
                yield number, "TCP"


def _number(container: Container, port: int | str) -> int:
    if isinstance(port, int):
        return port
    return next((each.container_port for each in container.ports if each.name == port), 0)


def _targeted(service: Service, pod: Pod) -> Iterator[Port]:
    declared = {each.protocol for each in pod.spec.ports}
    for port in service.spec.ports:
        target = port.port if port.target_port is None else port.target_port
        if isinstance(target, int) and port.protocol not in declared:
            yield target, port.protocol


def _dns(service: Service, pod: Pod) -> Iterator[Port]:
    for port in service.spec.ports:
        target = port.port if port.target_port is None else port.target_port
        if isinstance(target, str):
            target = next((each.container_port for each in pod.spec.ports if each.name == target), 0)
        if target and (port.port == 53 or port.name in DNS_PORT_NAMES):
            yield target, port.protocol


def _named_by_hand(objects: list[Object], pods: list[Pod]) -> Iterator[tuple[Port, Pod]]:
    """The ports of slices that no controller made, such as the API server's own: who wrote an address and a port there knows
    a listener. Where several pods share the address, of the node's network, one that declares the port is meant."""
    by_address: dict[str, list[Pod]] = {}
    for pod in pods:
        if pod.status.pod_ip and not pod.finished:
            by_address.setdefault(pod.status.pod_ip, []).append(pod)
    for obj in objects:
        if isinstance(obj, EndpointSlice) and not obj.metadata.labels.get(MANAGED_BY, "").endswith("controller.k8s.io"):
            for address in (each for endpoint in obj.endpoints for each in endpoint.addresses):
                there = by_address.get(address, [])
                for port in obj.ports:
                    number = port.port or 0
                    if there and number and not any(_declares(each, number, port.protocol) for each in there):
                        yield (number, port.protocol), _likely(there, obj)


def _declares(pod: Pod, number: int, protocol: str) -> bool:
    return (number, protocol) in {*_probed(pod)} or any(
        (each.container_port, each.protocol) == (number, protocol) for each in pod.spec.ports
    )


def _likely(pods: list[Pod], slice: EndpointSlice) -> Pod:
    """The API server for its own Service, else the first."""
    if (slice.namespace, slice.service_name or slice.name) == ("default", "kubernetes"):
        return next((each for each in pods if each.name.startswith("kube-apiserver")), pods[0])
    return pods[0]
