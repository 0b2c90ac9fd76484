"""What every proxy mode knows: the service ports, their endpoints, and which endpoints a node may use.

`Snapshot` is the node-free half, made once for all nodes; `choose` is one node's. IPv4 only. Sources:
pkg/proxy/serviceport.go, endpointslicecache.go, topology.go (CategorizeEndpoints). Must not know rules.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from emu.kernel.netfilter.layered import changed
from emu.kube.api.core import Service
from emu.kube.api.discovery import Endpoint as SliceEndpoint
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Key, Object
from emu.wire.addr import Prefix

O = TypeVar("O", bound=Object)
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
LARGE_CLUSTER_ENDPOINTS = 1000
FEW = 16  # so many ports are put in their places one by one


class PortKey(NamedTuple):
    """A service port: namespace, name, the port's name ("" for none), TCP, UDP or SCTP."""

    namespace: str
    name: str
    port: str
    protocol: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.port}" if self.port else f"{self.namespace}/{self.name}"


class ServicePort(NamedTuple):
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


class Endpoint(NamedTuple):
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


def endpoints_of(each: EndpointSlice) -> tuple[tuple[PortKey, tuple[Endpoint, ...]], ...]:
    """The endpoints of one slice by service port, in the slice's order. Raises InputError."""
    if each.address_type != "IPv4" or PROXY_NAME_LABEL in each.metadata.labels or not each.service_name:
        return ()
    namespace = each.metadata.namespace or "default"
    return tuple(
        (
            PortKey(namespace, each.service_name, port.name, port.protocol),
            tuple(_endpoint(one, port.port) for one in each.endpoints if one.addresses),
        )
        for port in each.ports
        if port.name is not None and port.port
    )


def _endpoint(one: SliceEndpoint, port: int) -> Endpoint:
    conditions, hints = one.conditions, one.hints
    return Endpoint(
        one.addresses[0],
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


class _Part(NamedTuple):
    """A slice, and what it has of each port."""

    slice: EndpointSlice
    endpoints: tuple[tuple[PortKey, tuple[Endpoint, ...]], ...]


Parts = Mapping[tuple[str, str], tuple[_Part, ...]]


Change = tuple[O | None, O | None]  # an object before and after: None where it was not there, or is gone


class _Read(NamedTuple):
    """What was read of the objects: all of them in their order, and what slices have by Service (namespace, name)."""

    services: Mapping[Key, Service]
    slices: Mapping[Key, EndpointSlice]
    parts: Parts


class Changed(NamedTuple):
    """The ports that are not as they were at another moment: they, or their endpoints, changed, came or went."""

    since: Any  # a moment
    ports: frozenset[PortKey]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All service ports and their endpoints at one moment, for all nodes. `order` has the ports by their names.

    `large` is kube-proxy's large-cluster mode: more than 1000 endpoints in all (`count`). `health_checks` are the node ports that
    answer for a Service (namespace, name). `moment` stands for the snapshot where one must not hold on to it.
    """

    by_key: Mapping[PortKey, ServicePort]
    order: Sequence[PortKey]
    endpoints: Mapping[PortKey, tuple[Endpoint, ...]]
    count: int
    health_checks: Mapping[int, tuple[str, str]]
    read: _Read
    changed: Changed
    moment: Any = field(default_factory=object)

    @classmethod
    def of(
        cls, services: Iterable[Service], slices: Iterable[EndpointSlice], after: Snapshot | None = None
    ) -> Snapshot:
        """From objects. `after`: an earlier moment, whose unchanged parts are taken over. Raises InputError."""
        after = NOTHING if after is None else after
        return after.followed(_changes(after.read.services, services), _changes(after.read.slices, slices))

    def followed(self, services: Sequence[Change[Service]], slices: Sequence[Change[EndpointSlice]]) -> Snapshot:
        """The moment after these changes, each made after the one before: it costs what changed, not what is there. Raises
        InputError."""
        by_key, order, new_ports = _ports(self, services)
        health_checks = self.health_checks
        if any(port.health_check_node_port for each in services for end in each if end for port in ports_of(end)):
            asked = (by_key[key] for key in order)
            health_checks = {p.health_check_node_port: p.key[:2] for p in asked if p.health_check_node_port}
        now = _with_changes(self.read.slices, slices)
        parts, with_others = _parts(self.read, slices, now)
        endpoints = _endpoints(self, parts, sorted(with_others))
        count = self.count
        if endpoints is not self.endpoints:
            count += sum(len(endpoints.get(key, ())) - len(self.endpoints.get(key, ())) for key in with_others)
        moved = Changed(self.moment, frozenset(new_ports | with_others))
        read = _Read(_with_changes(self.read.services, services), now, parts)
        return Snapshot(by_key, order, endpoints, count, health_checks, read, moved)

    @property
    def large(self) -> bool:
        return self.count > LARGE_CLUSTER_ENDPOINTS

    def keys_of(self, service: tuple[str, str]) -> Iterator[PortKey]:
        """The ports of a Service (namespace, name) that slices have."""
        return (key for part in self.read.parts.get(service, ()) for key, _ in part.endpoints)

    @property
    def ports(self) -> list[ServicePort]:
        return [self.by_key[key] for key in self.order]

    def of_port(self, port: ServicePort) -> tuple[Endpoint, ...]:
        return self.endpoints.get(port.key, ())


NOTHING = Snapshot({}, (), {}, 0, {}, _Read({}, {}, {}), Changed(None, frozenset()))


def _changes(before: Mapping[Key, O], objects: Iterable[O]) -> list[Change[O]]:
    """The changes that make all of `objects`, in their order, of those that were there."""
    now = {each.key: each for each in objects}
    stay = [key for key in before if key in now]
    same = next((at for at, (old, new) in enumerate(zip(stay, now, strict=False)) if old != new), len(stay))
    again = {*stay[same:]}  # what comes again stands at the end
    gone: list[Change[O]] = [(each, None) for key, each in before.items() if key not in now or key in again]
    there = {key: None if key in again else each for key, each in before.items()}
    return gone + [(there.get(key), each) for key, each in now.items() if there.get(key) is not each]


def _with_changes(objects: Mapping[Key, O], changes: Iterable[Change[O]]) -> Mapping[Key, O]:
    moved: dict[Key, O | None] = {}
    for old, new in changes:
        end = old if new is None else new
        assert end is not None
        if end.key in moved:  # what comes again stands at the end
            objects, moved = changed(objects, moved), {}
        moved[end.key] = new
    return changed(objects, moved)


def _ports(
    after: Snapshot, changes: Iterable[Change[Service]]
) -> tuple[Mapping[PortKey, ServicePort], Sequence[PortKey], set[PortKey]]:
    """The service ports, their order, and which of them changed, came or went."""
    moved: dict[PortKey, ServicePort | None] = {}
    for old, new in changes:
        moved.update((port.key, None) for port in (ports_of(old) if old else ()))
        moved.update((port.key, port) for port in (ports_of(new) if new else ()))
    if not moved:
        return after.by_key, after.order, set()
    came = [key for key, port in moved.items() if port is not None and key not in after.by_key]
    gone = [key for key, port in moved.items() if port is None and key in after.by_key]
    return changed(after.by_key, moved), _ordered(after.order, came, gone), {*moved}


def _ordered(order: Sequence[PortKey], came: Sequence[PortKey], gone: Sequence[PortKey]) -> Sequence[PortKey]:
    """The same order with further ports, and without some."""
    if not came and not gone:
        return order
    new = [*order]
    for key in gone:
        del new[bisect_left(new, key)]
    if len(came) < FEW:
        for key in came:
            insort(new, key)
    else:
        new = sorted([*new, *came])
    return new


def _service_of(each: EndpointSlice) -> tuple[str, str]:
    return each.metadata.namespace or "default", each.service_name or ""


def _parts(
    after: _Read, changes: Iterable[Change[EndpointSlice]], slices: Mapping[Key, EndpointSlice]
) -> tuple[Parts, set[PortKey]]:
    """What slices have by Service, in the order of `slices`, and the ports that changed there."""
    moved: dict[tuple[str, str], list[_Part]] = {}
    ports, elsewhere = set[PortKey](), set[tuple[str, str]]()
    for old, new in changes:
        came = None if new is None else _Part(new, endpoints_of(new))
        if old is not None:
            there = moved.setdefault(_service_of(old), [*after.parts.get(_service_of(old), ())])
            at = next(at for at, part in enumerate(there) if part.slice is old)
            ports.update(key for key, _ in there[at].endpoints)
            if came is not None and _service_of(came.slice) == _service_of(old):
                there[at] = came
            else:
                del there[at]
        if came is None:
            continue
        ports.update(key for key, _ in came.endpoints)
        service = _service_of(came.slice)
        if old is None or service != _service_of(old):
            moved.setdefault(service, [*after.parts.get(service, ())]).append(came)
            elsewhere |= {service} if old is not None else set()
    if elsewhere:  # a slice of another Service stands where it stood, not behind all
        places = {id(each): place for place, each in enumerate(slices.values())}
        for service in elsewhere:
            moved[service].sort(key=lambda part: places[id(part.slice)])
    return changed(after.parts, {service: tuple(parts) or None for service, parts in moved.items()}), ports


def _endpoints(after: Snapshot, parts: Parts, ports: Iterable[PortKey]) -> Mapping[PortKey, tuple[Endpoint, ...]]:
    """The endpoints by port."""
    found = {
        key: [some for part in parts.get(key[:2], ()) for port, some in part.endpoints if port == key] for key in ports
    }
    return changed(after.endpoints, {key: merged(some) if some else None for key, some in found.items()})


def _is_ipv4(text: str) -> bool:
    return bool(text) and ":" not in text and text != "None"


def _source_range(text: str) -> str:
    """An IPv4 source range, trimmed and without host bits; "" for other families. Raises InputError."""
    text = text.strip()
    if ":" in text:
        return ""
    return str(Prefix.parse(text))
