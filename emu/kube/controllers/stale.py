"""Where the EndpointSlices of a cluster that runs are not what the controller would write: which endpoint, and how.

Pure: it reads a store. Must not know who asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from emu.kube.api.core import Pod, Service
from emu.kube.api.discovery import Endpoint, EndpointSlice, EndpointSlicePort
from emu.kube.controllers.endpointslice import wanted
from emu.kube.store import Store


class Difference(NamedTuple):
    """About `slice` ("" for none at all) of a Service, and the `address` that it is about ("" for all)."""

    service: Service
    slice: str
    address: str
    what: str

    @property
    def about(self) -> str:
        return f"endpointslice/{self.service.namespace}/{self.slice}" if self.slice else str(self.service.key)

    def __str__(self) -> str:
        return f"{self.about}: {self.what}"


def differences(store: Store, service: Service) -> Iterator[Difference]:
    """The differences of one Service, in the order of slices. None for a Service without a selector."""
    if not service.spec.selector or service.spec.type == "ExternalName":
        return
    slices = [each for each in store.list(EndpointSlice, service.namespace) if each.service_name == service.name]
    slices = [each for each in slices if each.address_type == "IPv4"]
    right = {
        address: (endpoint, ports)
        for (_, ports), endpoints in wanted(store, service).items()
        for endpoint in endpoints
        for address in endpoint.addresses
    }
    if not slices:
        if right:
            yield Difference(service, "", "", f"has no EndpointSlice; the controller would list {len(right)} endpoints")
        return
    seen: set[str] = set()
    for each in slices:
        for endpoint in each.endpoints:
            for address in endpoint.addresses:
                seen.add(address)
                what = _wrong(store, each, endpoint, right.get(address))
                if what:
                    yield Difference(service, each.name, address, what.format(address))
    for address in right.keys() - seen:
        name = _name(right[address][0])
        what = f"does not list {address} of {name}, which the selector of {service.key} matches"
        yield Difference(service, slices[0].name, address, what)


def _wrong(
    store: Store, here: EndpointSlice, endpoint: Endpoint, right: tuple[Endpoint, tuple[EndpointSlicePort, ...]] | None
) -> str:
    """What is wrong with an endpoint, "{}" for its address; "" for nothing."""
    if right is None:
        pod = endpoint.target_ref
        there = store.get(Pod, pod.namespace or here.namespace, pod.name) if pod is not None else None
        if pod is not None and there is None:
            return f"lists {{}} of pod/{pod.namespace}/{pod.name}, which is not there"
        if there is not None and there.status.pod_ip not in endpoint.addresses:
            return f"lists {{}} for {there.key}, whose address is {there.status.pod_ip or 'none'}"
        return "lists {}, which no pod has that the selector matches"
    ought, ports = right
    is_ready, ready = endpoint.conditions.ready is not False, ought.conditions.ready is not False
    if is_ready is not ready:
        words = ("ready", "not ready") if is_ready else ("not ready", "ready")
        return f"lists {{}} as {words[0]}, but {_name(ought)} is {words[1]}"
    numbers = tuple((each.name, each.port) for each in here.ports)
    meant = tuple((each.name, each.port) for each in ports)
    if sorted(map(str, numbers)) != sorted(map(str, meant)):
        return f"lists {{}} with the ports {_ports(here.ports)}, but {_name(ought)} has {_ports(ports)}"
    return ""


def _ports(ports: tuple[EndpointSlicePort, ...]) -> str:
    return ", ".join(f"{each.name or 'unnamed'} {each.port}" for each in ports) or "none"


def _name(endpoint: Endpoint) -> str:
    ref = endpoint.target_ref
    return f"pod/{ref.namespace}/{ref.name}" if ref is not None else "a pod"
