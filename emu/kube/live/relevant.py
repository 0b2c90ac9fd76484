"""Which pods of an export a question may concern: those that its ends name, those behind their Services, and the DNS.

More than needed does no harm, so that names are compared by their beginnings. Must not know flows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from emu.kube.api.core import Pod, Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Object, selects

_DNS = {"k8s-app": "kube-dns"}
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_WORD = re.compile(r"[a-z0-9][a-z0-9-]*")


def relevant(objects: Iterable[Object], ends: Sequence[str]) -> frozenset[str] | None:
    """The pods, as "namespace/name"; None for all of them, where a glob is among the ends."""
    if any(letter in end for end in ends for letter in "*?["):
        return None
    objects = list(objects)
    pods = [each for each in objects if isinstance(each, Pod)]
    words, addresses = _words(ends)
    services: list[Service] = []
    while True:  # an ExternalName names others
        found = [each for each in objects if isinstance(each, Service) and _meant(each, words, addresses)]
        more = [each.spec.external_name for each in found if each.spec.type == "ExternalName"]
        if len(found) == len(services):
            break
        services = found
        further, _ = _words(more)
        words |= further
    names = {(each.namespace, each.name) for each in services}
    for slice in objects:
        if isinstance(slice, EndpointSlice) and (slice.namespace, slice.service_name) in names:
            addresses |= {address for each in slice.endpoints for address in each.addresses}
    return frozenset(
        f"{pod.namespace}/{pod.name}"
        for pod in pods
        if pod.status.pod_ip in addresses
        or selects(_DNS, pod.metadata.labels)
        or any(pod.name == word or pod.name.startswith(f"{word}-") for word in words)
        or any(each.namespace == pod.namespace and _selected(each, pod) for each in services)
    )


def _words(ends: Iterable[str]) -> tuple[set[str], set[str]]:
    text = " ".join(ends)
    return set(_WORD.findall(_ADDRESS.sub(" ", text))), set(_ADDRESS.findall(text))


def _meant(service: Service, words: set[str], addresses: set[str]) -> bool:
    spec = service.spec
    given = {spec.cluster_ip, *spec.external_ips, *(each.ip for each in service.status.load_balancer.ingress)}
    ports = {str(each.node_port) for each in spec.ports if each.node_port}
    return service.name in words or bool(given & addresses) or bool(ports & words)


def _selected(service: Service, pod: Pod) -> bool:
    return bool(service.spec.selector) and selects(service.spec.selector, pod.metadata.labels)
