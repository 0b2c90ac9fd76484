"""What every proxy mode knows: the service ports, their endpoints, and which endpoints a node may use.

`Snapshot` is the node-free half, made once for all nodes; `choose` is one node's. IPv4 only. Sources:
pkg/proxy/serviceport.go, endpointslicecache.go, topology.go (CategorizeEndpoints). Must not know rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, NamedTuple, TypeVar

from emu.errors import InputError
from emu.kube.api.core import Service
from emu.kube.api.discovery import Endpoint as SliceEndpoint
from emu.kube.api.discovery import EndpointSlice
from emu.wire.addr import Prefix

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
LARGE_CLUSTER_ENDPOINTS = 1000


class PortKey(NamedTuple):
    """A service port: namespace, name, the port's name ("" for none), TCP, UDP or SCTP."""

    namespace: str
    name: str
    port: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.port}" if self.port else f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service as a proxy sees it. Addresses are text; `affinity_s` 0: no session affinity."""

    key: PortKey
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    vips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    affinity_s: int = 0
    internal_local: bool = False
    external_local: bool = False
    health_check_node_port: int = 0

    @property
    def externally_accessible(self) -> bool:
        return bool(self.node_port or self.vips or self.external_ips)

    @property
    def uses_cluster(self) -> bool:
        return not self.internal_local or self.externally_accessible

    @property
    def uses_local(self) -> bool:
        return self.internal_local or (self.external_local and self.externally_accessible)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address and port. `node` "" is unknown and local nowhere; hints name zones and nodes."""

    ip: str
    port: int
    node: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}"


class Chosen(NamedTuple):
    """What one node may use of a port's endpoints; each tuple sorted as text.

    `cluster`: under policy Cluster; `local`: under policy Local. `any`: an endpoint on some node could answer,
    so that traffic without a usable endpoint is dropped and not refused.
    """

    cluster: tuple[Endpoint, ...]
    local: tuple[Endpoint, ...]
    any: bool
    internal: bool
    external: bool

    @property
    def reachable(self) -> list[Endpoint]:
        return sorted({*self.cluster, *self.local}, key=str)


def ports_of(service: Service) -> tuple[ServicePort, ...]:
    """The service ports of one Service: none for ExternalName, headless and foreign proxies' Services. Raises InputError."""
    spec, labels = service.spec, service.metadata.labels
    if spec.type == "ExternalName" or PROXY_NAME_LABEL in labels or HEADLESS_LABEL in labels:
        return ()
    cluster_ip = next((ip for ip in (spec.cluster_ip, *spec.cluster_ips) if _is_ipv4(ip)), "")
    if not cluster_ip:
        return ()
    vips = tuple(
        ingress.ip
        for ingress in service.status.load_balancer.ingress
        if _is_ipv4(ingress.ip) and ingress.ip_mode in (None, "VIP")
    )
    external_ips = tuple(ip for ip in spec.external_ips if _is_ipv4(ip))
    affinity = spec.session_affinity_config.client_ip.timeout_seconds
    may_be_local = spec.type in ("NodePort", "LoadBalancer") or (spec.type == "ClusterIP" and bool(external_ips))
    external_local = may_be_local and spec.external_traffic_policy == "Local"
    source_ranges = tuple(text for text in map(_source_range, spec.load_balancer_source_ranges) if text)
    return tuple(
        ServicePort(
            PortKey(service.metadata.namespace or "default", service.metadata.name, port.name, port.protocol),
            cluster_ip,
            port.port,
            port.node_port,
            external_ips,
            vips,
            source_ranges,
            affinity if spec.session_affinity == "ClientIP" else 0,
            spec.internal_traffic_policy == "Local",
            external_local,
            spec.health_check_node_port if spec.type == "LoadBalancer" and external_local else 0,
        )
        for port in spec.ports
    )


def endpoints_of(each: EndpointSlice) -> dict[PortKey, tuple[Endpoint, ...]]:
    """The endpoints of one slice by service port, in the slice's order. Raises InputError."""
    found: dict[PortKey, tuple[Endpoint, ...]] = {}
    if each.address_type != "IPv4" or PROXY_NAME_LABEL in each.metadata.labels or not each.service_name:
        return found
    namespace = each.metadata.namespace or "default"
    for port in each.ports:
        if port.name is not None and port.port:
            key = PortKey(namespace, each.service_name, port.name, port.protocol)
            found[key] = found.get(key, ()) + tuple(
                _endpoint(one, port.port) for one in each.endpoints if one.addresses
            )
    return found


def _endpoint(one: SliceEndpoint, port: int) -> Endpoint:
    conditions, hints = one.conditions, one.hints
    return Endpoint(
        _plain(one.addresses[0]),
        port,
        one.node_name or "",
        conditions.ready is not False,
        conditions.serving is not False,
        conditions.terminating is True,
        tuple(zone.name for zone in hints.for_zones) if hints else (),
        tuple(node.name for node in hints.for_nodes) if hints else (),
    )


def merged(parts: Iterable[tuple[Endpoint, ...]]) -> tuple[Endpoint, ...]:
    """The endpoints of a port from all its slices, sorted as text. An ip:port that several slices name is there once for
    each node that they give it."""
    found: dict[tuple[str, str], Endpoint] = {}
    for part in parts:
        for endpoint in part:
            found.setdefault((str(endpoint), endpoint.node), endpoint)
    return tuple(found[place] for place in sorted(found))


def distinct(endpoints: tuple[Endpoint, ...], node: str) -> list[Endpoint]:
    """Each ip:port once: the copy on this node if there is one, else the first."""
    kept: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        text = str(endpoint)
        if text not in kept or (node and endpoint.node == node):
            kept[text] = endpoint
    return list(kept.values())


def choose(port: ServicePort, endpoints: tuple[Endpoint, ...], node: str, zone: str) -> Chosen:
    """CategorizeEndpoints: what the node called `node`, in `zone`, may use."""
    here = distinct(endpoints, node)
    cluster: list[Endpoint] = []
    local: list[Endpoint] = []
    some = False
    if port.uses_cluster:
        cluster = _by_topology([e for e in here if e.ready], node, zone)
        cluster = cluster or [e for e in here if e.serving and e.terminating]
        some = bool(cluster)
    if port.uses_local:
        mine = [e for e in here if node and e.node == node]
        local = [e for e in mine if e.ready] or [e for e in mine if e.serving and e.terminating]
        some = some or any(e.ready or (e.serving and e.terminating) for e in here)
    return Chosen(
        tuple(cluster),
        tuple(local),
        some,
        some and not (port.internal_local and not local),
        some and not (port.external_local and not local),
    )


def _by_topology(ready: list[Endpoint], node: str, zone: str) -> list[Endpoint]:
    if all(e.node_hints for e in ready):
        hinted = [e for e in ready if node in e.node_hints]
        if hinted:
            return hinted
    if zone and all(e.zone_hints for e in ready):
        hinted = [e for e in ready if zone in e.zone_hints]
        if hinted:
            return hinted
    return ready


def same_everywhere(port: ServicePort, endpoints: tuple[Endpoint, ...]) -> bool:
    """Whether every node chooses the same endpoints of a port."""
    return not (
        port.uses_local
        or port.source_ranges
        or any(e.zone_hints or e.node_hints for e in endpoints)
        or len({str(e) for e in endpoints}) < len(endpoints)
    )


class _Read(NamedTuple):
    """What was read of the objects, by their identity: an object that is still there need not be read again."""

    services: dict[int, tuple[Service, tuple[ServicePort, ...]]]
    slices: dict[int, tuple[EndpointSlice, dict[PortKey, tuple[Endpoint, ...]]]]
    ports: dict[PortKey, ServicePort]  # in the order of names
    parts: dict[PortKey, dict[int, tuple[Endpoint, ...]]]  # of each port, by slice


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All service ports, in the order of their names, and their endpoints at one moment, for all nodes.

    `count` is the number of endpoints in all. `health_checks` are the node ports that answer for a Service (namespace,
    name). `changed` are the ports that differ, or whose endpoints do, from the snapshot whose `moment` is `since`.
    """

    ports: list[ServicePort]
    endpoints: Mapping[PortKey, tuple[Endpoint, ...]]
    count: int
    health_checks: Mapping[int, tuple[str, str]]
    read: _Read
    since: object
    changed: frozenset[PortKey]
    moment: object = field(default_factory=object)

    @classmethod
    def of(
        cls, services: Iterable[Service], slices: Iterable[EndpointSlice], after: Snapshot | None = None
    ) -> Snapshot:
        """From objects. `after`: an earlier moment, from which only what changed is read. Raises InputError."""
        after = NOTHING if after is None else after
        listed, listed_slices = [*services], [*slices]
        read, changed = _Read({}, {}, after.read.ports, dict(after.read.parts)), set[PortKey]()
        ports, health_checks = after.ports, after.health_checks
        came, gone = _differences(listed, after.read.services)
        read.services.update(after.read.services)
        if came or gone:
            by_key = dict(after.read.ports)
            for number in gone:
                for port in read.services.pop(number)[1]:
                    by_key.pop(port.key, None)
                    changed.add(port.key)
            for service in came:
                found = ports_of(service)
                read.services[id(service)] = service, found
                by_key.update((port.key, port) for port in found)
                changed.update(port.key for port in found)
            read = read._replace(ports={key: by_key[key] for key in sorted(by_key)})
            ports = [*read.ports.values()]
            health_checks = {p.health_check_node_port: p.key[:2] for p in ports if p.health_check_node_port}
        endpoints, count = _endpoints(listed_slices, after, read, changed)
        return cls(ports, endpoints, count, health_checks, read, after.moment, frozenset(changed))

    @property
    def large(self) -> bool:
        """kube-proxy's large-cluster mode: more than 1000 endpoints in all."""
        return self.count > LARGE_CLUSTER_ENDPOINTS

    def port(self, key: PortKey) -> ServicePort | None:
        return self.read.ports.get(key)

    def of_port(self, port: ServicePort) -> tuple[Endpoint, ...]:
        return self.endpoints.get(port.key, ())


NOTHING = Snapshot([], {}, 0, {}, _Read({}, {}, {}, {}), None, frozenset())
O = TypeVar("O")


def _differences(objects: list[O], known: Mapping[int, Any]) -> tuple[list[O], list[int]]:
    """The objects that are not known, in their order, and the identities of those that are gone."""
    now = dict(zip(map(id, objects), objects, strict=True))
    new = now.keys() - known.keys()
    return [each for each in objects if id(each) in new] if new else [], sorted(known.keys() - now.keys())


def _endpoints(
    slices: list[EndpointSlice], after: Snapshot, read: _Read, changed: set[PortKey]
) -> tuple[Mapping[PortKey, tuple[Endpoint, ...]], int]:
    """The endpoints of every port, and how many they are. Adds to `read` what it read, and to `changed`."""
    came, gone = _differences(slices, after.read.slices)
    read.slices.update(after.read.slices)
    if not came and not gone:
        return after.endpoints, after.count
    parts: dict[PortKey, dict[int, tuple[Endpoint, ...]]] = {}  # the ports that these touch
    for number in gone:
        for key in read.slices.pop(number)[1]:
            parts.setdefault(key, dict(after.read.parts.get(key, {}))).pop(number)
    for each in came:
        found = endpoints_of(each)
        read.slices[id(each)] = each, found
        for key, part in found.items():
            parts.setdefault(key, dict(after.read.parts.get(key, {})))[id(each)] = part
    read.parts.update(parts)
    place = dict(zip(map(id, slices), range(len(slices)), strict=True))
    endpoints, count = dict(after.endpoints), after.count
    for key, by_slice in parts.items():
        before = endpoints.pop(key, ())
        if by_slice:
            endpoints[key] = merged(by_slice[number] for number in sorted(by_slice, key=place.__getitem__))
        else:
            del read.parts[key]
        count += len(endpoints.get(key, ())) - len(before)
        if endpoints.get(key, ()) != before:
            changed.add(key)
    return endpoints, count


def _is_ipv4(text: str) -> bool:
    return bool(text) and ":" not in text and text != "None"


def _plain(text: str) -> str:
    """An address without leading zeros, which Kubernetes reads as decimal. Raises InputError."""
    try:
        return str(IPv4Address(".".join(str(int(octet)) for octet in text.split("."))))
    except ValueError:
        raise InputError(f"{text!r} is not an IPv4 address", expected="four decimal octets") from None


def _source_range(text: str) -> str:
    """An IPv4 source range, trimmed and without host bits; "" for other families. Raises InputError."""
    text = text.strip()
    if ":" in text:
        return ""
    host, slash, length = text.partition("/")
    return str(Prefix.parse(f"{_plain(host)}{slash}{length}"))
