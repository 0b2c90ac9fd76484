"""The names of addresses, for people who read captures: pods, nodes, Services, the outside.

Must not know how a name is shown.
"""

from __future__ import annotations

from typing import Protocol

from emu.kube.api.core import Service
from emu.kube.flow.ends import Places
from emu.kube.front_ends import outer_addresses
from emu.kube.underlay.underlay import Underlay
from emu.wire.addr import ip4


class Addressed(Places, Protocol):
    """What has addresses: the ends of flows, and the network between nodes."""

    @property
    def underlay(self) -> Underlay: ...


def names(places: Addressed) -> dict[int, list[str]]:
    """Every address that has a name, with its names, the one to show first."""
    found: dict[int, list[str]] = {}
    for service in places.store.list(Service):
        if service.spec.cluster_ip not in ("", "None"):
            found.setdefault(ip4(service.spec.cluster_ip), []).append(
                f"svc/{service.metadata.name}.{service.metadata.namespace}"
            )
    for node in places.nodes.values():
        for address in node.net.ipv4.addresses:
            if address.device.name != "lo":
                suffix = "" if address.addr == node.ip else f"/{address.device.name}"
                found.setdefault(address.addr, []).append(f"{node.name}{suffix}")
    for pod in places.pods.values():
        if not pod.host_network:
            found.setdefault(pod.ip, []).append(pod.name)
    for name, net in places.underlay.namespaces.items():
        for address in net.ipv4.addresses:
            if address.device.name != "lo":
                suffix = "" if name == "external" else f"/{address.device.name}"
                found.setdefault(address.addr, []).append(f"{name}{suffix}")
    for service in places.store.list(Service):
        for text in outer_addresses(service):
            found.setdefault(ip4(text), []).append(f"svc/{service.metadata.name}.{service.metadata.namespace}")
    return found
