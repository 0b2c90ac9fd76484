"""What the pods of an export listen on beside the ports that they declare, and what answers there.

What is open in any pod (`node/undeclared.py`), and the ports of an EndpointSlice that names the pod and that no controller made. Must not
know sockets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emu.kube.api.core import Pod, Service
from emu.kube.api.discovery import MANAGED_BY, EndpointSlice
from emu.kube.api.meta import Key, Object, selects
from emu.kube.live.subnets import address
from emu.kube.node.undeclared import Port, ports_of, probed

Listening = dict[Key, dict[Port, str]]


def listening(objects: Iterable[Object]) -> Listening:
    """The app by port and protocol, for each pod that has such ports."""
    objects = list(objects)
    pods = [each for each in objects if isinstance(each, Pod)]
    found: Listening = {}
    by_label: dict[tuple[str, str, str], list[Pod]] = {}
    for pod in pods:
        for label in pod.metadata.labels.items():
            by_label.setdefault((pod.namespace, *label), []).append(pod)
    services: dict[Key, list[Service]] = {}
    for obj in objects:
        if isinstance(obj, Service) and obj.spec.selector:
            first = next(iter(obj.spec.selector.items()))
            for pod in by_label.get((obj.namespace, *first), ()):
                if selects(obj.spec.selector, pod.metadata.labels):
                    services.setdefault(pod.key, []).append(obj)
    for pod in pods:
        ports = ports_of(pod, services.get(pod.key, ()))
        if ports:
            found[pod.key] = ports
    for port, pod in _named_by_hand(objects, pods):
        if port[1] != "SCTP":
            found.setdefault(pod.key, {}).setdefault(port, "echo")
    return found


def pod_addresses(objects: Iterable[Object]) -> list[int]:
    """The addresses that pods have of their own."""
    pods = (each for each in objects if isinstance(each, Pod) and not each.spec.host_network and not each.finished)
    return [addr for pod in pods if (addr := address(pod.status.pod_ip))]


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
    return (number, protocol) in {*probed(pod.spec)} or any(
        (each.container_port, each.protocol) == (number, protocol) for each in pod.spec.ports
    )


def _likely(pods: list[Pod], slice: EndpointSlice) -> Pod:
    """The API server for its own Service, else the first."""
    if (slice.namespace, slice.service_name or slice.name) == ("default", "kubernetes"):
        return next((each for each in pods if each.name.startswith("kube-apiserver")), pods[0])
    return pods[0]
