"""The discovery.k8s.io group, v1: EndpointSlice.

Must not know who makes slices (the controller, the mirror, or a user).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from emu.kube.api.addresses import is_address, read_plain
from emu.kube.api.core import PortOrZero, Protocol
from emu.kube.api.meta import ApiStruct, Object, Problem

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


class EndpointConditions(ApiStruct, frozen=True):
    """None means the API's default: ready and serving are true, terminating is false."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(ApiStruct, frozen=True):
    name: str


class ForNode(ApiStruct, frozen=True):
    name: str


class EndpointHints(ApiStruct, frozen=True):
    for_zones: tuple[ForZone, ...] = ()
    for_nodes: tuple[ForNode, ...] = ()


class ObjectReference(ApiStruct, frozen=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Endpoint(ApiStruct, frozen=True):
    addresses: tuple[str, ...]
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: ObjectReference | None = None
    hints: EndpointHints | None = None

    def __post_init__(self) -> None:
        read_plain(self, "addresses")


class EndpointSlicePort(ApiStruct, frozen=True):
    """A port of None is not a port (kube-proxy skips it)."""

    name: str | None = ""
    protocol: Protocol = "TCP"
    port: PortOrZero | None = None
    app_protocol: str | None = None


class EndpointSlice(Object, frozen=True, kw_only=True):
    api_version: str = "discovery.k8s.io/v1"
    kind: str = "EndpointSlice"
    address_type: Literal["IPv4", "IPv6", "FQDN"]
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointSlicePort, ...] = ()

    @property
    def service_name(self) -> str:
        """The Service that the slice belongs to, or ""."""
        return self.metadata.labels.get(SERVICE_NAME, "")

    def problems(self) -> Iterator[Problem]:
        for i, endpoint in enumerate(self.endpoints):
            if not endpoint.addresses:
                yield Problem(("endpoints", i, "addresses"), "an endpoint needs an address")
            for j, text in enumerate(endpoint.addresses):
                if self.address_type != "FQDN" and not is_address(text):
                    yield Problem(("endpoints", i, "addresses", j), f'"{text}" is not an IP address')
