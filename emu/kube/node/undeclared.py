"""What a pod listens on beside the ports that it declares. `containerPort` only informs people: a container may listen without it.

These are taken to be open: the ports of its probes, and a Service's numeric targetPort, unless that looks like a mistake. The pods of
kube-dns answer as CoreDNS. Must not know sockets, statuses or exports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emu.kube.api.core import Container, Pod, PodSpec, Service, ServicePort
from emu.kube.api.meta import selects
from emu.kube.store import Store

DNS_SERVICE = ("kube-system", "kube-dns")
DNS_PORT, DNS_PORT_NAMES = 53, ("dns", "dns-tcp")
Port = tuple[int, str]  # number, protocol
Open = dict[Port, str]
"""App by port."""


def open_ports(store: Store, pod: Pod) -> Open:
    """The app of each such port of a pod, as the Services that are there now have it."""
    services = store.index(Service, _first_label)
    found = [
        each
        for label in pod.metadata.labels.items()
        for each in services.of((pod.namespace, *label))
        if selects(each.spec.selector, pod.metadata.labels)
    ]
    return ports_of(pod, found)


def ports_of(pod: Pod, services: Iterable[Service]) -> Open:
    """The same, for the Services that select the pod."""
    found: Open = dict.fromkeys(probed(pod.spec), "echo")
    for service in services:
        for port in service.spec.ports:
            if is_open(service, port, pod.spec):
                found.setdefault((target_of(port), port.protocol), "echo")
        if (service.namespace, service.name) == DNS_SERVICE:
            found |= dict.fromkeys(_dns(service, pod), "dns")
    return {port: app for port, app in found.items() if port[1] != "SCTP"}


def is_open(service: Service, port: ServicePort, pod: PodSpec) -> bool:
    """Whether a numeric targetPort that no container of a selected pod declares is taken to be listened on.

    It is where the pod declares no port of the protocol. Beside a pod that declares others, it is where it is the Service's own number,
    and that is stated as targetPort or another port of the Service is declared: people who know a port of the pod know the other. Else
    (80 to 8081 where 8080 is declared, or targetPort forgotten) it is rather a mistake, and refused."""
    target = target_of(port)
    declared = {each.container_port for each in pod.ports if each.protocol == port.protocol}
    if not target or target in declared:
        return False
    if not declared or port.target_port == port.port:
        return True
    if target != port.port:
        return False
    others = (each for each in service.spec.ports if each.protocol == port.protocol)
    names = {each.name for each in pod.ports if each.name and each.protocol == port.protocol}
    return any(target_of(each) in declared or each.target_port in names for each in others)


def target_of(port: ServicePort) -> int:
    """The number of a Service's targetPort, 0 for a name."""
    target = port.port if port.target_port is None else port.target_port
    return target if isinstance(target, int) else 0


def probed(pod: PodSpec) -> Iterator[Port]:
    """The ports that kubelet asks: a program listens there when the pod is well."""
    for container in (*pod.containers, *pod.init_containers):
        for probe in container.probes:
            number = _number(container, probe.asked.port) if probe.asked is not None else 0
            if number:
                yield number, "TCP"


def _number(container: Container, port: int | str) -> int:
    if isinstance(port, int):
        return port
    return next((each.container_port for each in container.ports if each.name == port), 0)


def _dns(service: Service, pod: Pod) -> Iterator[Port]:
    for port in service.spec.ports:
        target = target_of(port)
        if not target:
            target = next((each.container_port for each in pod.spec.ports if each.name == port.target_port), 0)
        if target and (port.port == DNS_PORT or port.name in DNS_PORT_NAMES):
            yield target, port.protocol


def _first_label(service: Service) -> tuple[tuple[str, str, str], ...]:
    """What a Service is found by, from the labels of a pod: the first pair of its selector."""
    return tuple((service.namespace, name, value) for name, value in list(service.spec.selector.items())[:1])
