"""Service addresses: cluster IPs from the service subnet, node ports from 30000 to 32767.

Explicit ones are kept; the others are chosen by hash of the Service's name from the upper band, so that a new
Service does not change the addresses of others (KEP-3070, KEP-3668: the lower band is for explicit ones).
Must not know rules or packets.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from emu.errors import InputError
from emu.kube.api.core import Service, ServicePort, ServiceSpec
from emu.kube.api.meta import Key, Object, replace
from emu.kube.controllers import names
from emu.kube.store import Index, Store
from emu.wire.addr import Prefix, ip4, ip4_text

FIRST_NODE_PORT, LAST_NODE_PORT = 30000, 32767


WATCHES = ("service",)


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """The Service that changed."""
    if isinstance(new, Service):
        yield new.key


def reconcile(store: Store, seed: int, subnet: Prefix, keys: Iterable[Key]) -> None:
    """Give these Services the addresses and node ports that they lack. Raises InputError: out of range, taken, or none left."""
    addresses, ports = store.index(Service, addresses_of), store.index(Service, node_ports_of)
    found = store.found(Service, keys)
    if not all(_in_order(service, addresses, ports, subnet) for service in found):
        _reserve_all(store, subnet)
    for service in found:
        spec = _with_address(service, addresses, seed, subnet)
        spec = _with_ports(service.key, spec, ports, seed)
        if spec is not service.spec:
            store.put(replace(service, spec=spec))


def lacks(service: Service) -> bool:
    """Whether a Service waits for an address or a node port."""
    spec = service.spec
    if spec.type == "ExternalName":
        return False
    ports = spec.type in ("NodePort", "LoadBalancer") and spec.allocate_load_balancer_node_ports
    return not _address(spec) or (ports and not all(each.node_port for each in spec.ports))


def addresses_of(service: Service) -> list[int]:
    """A key of an index: the cluster IP of a Service, none if it has no IPv4 one."""
    text = _address(service.spec)
    if text in ("", "None") or service.spec.type == "ExternalName":
        return []
    try:
        return [ip4(text)]
    except InputError:
        return []


def node_ports_of(service: Service) -> list[int]:
    """A key of an index: every node port of a Service."""
    return [port for _, port in _node_ports(service.spec) if port]


def _in_order(service: Service, addresses: Index[Service], ports: Index[Service], subnet: Prefix) -> bool:
    """Whether the addresses and node ports of a Service are in range and taken by no other."""
    try:
        _reserve_address(service, {}, subnet)
        _reserve_ports(service, {})
    except InputError:
        return False
    return all(addresses.count(each) == 1 for each in addresses_of(service)) and all(
        ports.count(each) == 1 for each in node_ports_of(service)
    )


def _reserve_all(store: Store, subnet: Prefix) -> None:
    """Allocate the addresses and node ports of all Services, the oldest first. Raises InputError for the first conflict."""
    addresses: dict[int, Key] = {}
    ports: dict[int, Key] = {}
    for service in store.list(Service):
        _reserve_address(service, addresses, subnet)
        _reserve_ports(service, ports)


def _address(spec: ServiceSpec) -> str:
    return spec.cluster_ip or (spec.cluster_ips[0] if spec.cluster_ips else "")


def _reserve_address(service: Service, taken: dict[int, Key], subnet: Prefix) -> None:
    text = _address(service.spec)
    if text in ("", "None") or service.spec.type == "ExternalName":
        return
    path = f"{service.key} spec.clusterIP"
    first, last = subnet.net + 1, subnet.broadcast - 1
    try:
        address = ip4(text)
    except InputError as e:
        raise e.at(path=path) from None
    if not first <= address <= last:
        raise InputError(f"{text} is not in the service subnet", path=path, expected=f"an address of {subnet}")
    if taken.setdefault(address, service.key) != service.key:
        raise InputError(f"{text} is already the address of {taken[address]}", path=path)


def _node_ports(spec: ServiceSpec) -> Iterator[tuple[str, int]]:
    for i, p in enumerate(spec.ports):
        yield f"spec.ports[{i}].nodePort", p.node_port
    if spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local":
        yield "spec.healthCheckNodePort", spec.health_check_node_port


def _reserve_ports(service: Service, taken: dict[int, Key]) -> None:
    for path, port in _node_ports(service.spec):
        if not port:
            continue
        place = f"{service.key} {path}"
        if not FIRST_NODE_PORT <= port <= LAST_NODE_PORT:
            expected = f"{FIRST_NODE_PORT} to {LAST_NODE_PORT}"
            raise InputError(f"{port} is not in the range of node ports", path=place, expected=expected)
        if taken.setdefault(port, service.key) != service.key:
            raise InputError(f"{port} is already a node port of {taken[port]}", path=place)


def _draw(taken: Container[int], first: int, last: int, static: int, text: str) -> int | None:
    """A free number of first..last by hash of a text; the lowest `static` numbers are used only when all others are taken."""
    for low, high in ((first + static, last), (first, first + static - 1)):
        size = high - low + 1
        start = names.number(text) % size if size > 0 else 0
        for i in range(size):
            number = low + (start + i) % size
            if number not in taken:
                return number
    return None


def _with_address(service: Service, taken: Container[int], seed: int, subnet: Prefix) -> ServiceSpec:
    spec = service.spec
    if spec.type == "ExternalName":
        return spec
    text = _address(spec)
    if not text:
        first, last = subnet.net + 1, subnet.broadcast - 1
        size = last - first + 1
        static = min(max(16, size // 16), 256)
        address = _draw(taken, first, last, static if static < size else 0, f"{seed}/{service.key}/clusterIP")
        if address is None:
            raise InputError(f"the service subnet {subnet} is full", path=f"{service.key} spec.clusterIP")
        text = ip4_text(address)
    if spec.cluster_ip == text and spec.cluster_ips:
        return spec
    return replace(spec, cluster_ip=text, cluster_ips=spec.cluster_ips or (text,))


def _with_ports(key: Key, spec: ServiceSpec, taken: Container[int], seed: int) -> ServiceSpec:
    if spec.type not in ("NodePort", "LoadBalancer"):
        return spec
    own: set[int] = set()  # allocated here, and not in the store yet
    check = spec.health_check_node_port
    if spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local" and not check:
        spec = replace(spec, health_check_node_port=_node_port(key, taken, own, seed, "health"))
    if spec.type == "LoadBalancer" and not spec.allocate_load_balancer_node_ports:
        return spec
    if all(p.node_port for p in spec.ports):
        return spec
    ports: list[ServicePort] = []
    for p in spec.ports:
        if not p.node_port:
            # the same port over TCP and UDP gets one number, as in the API server
            twin = next((q.node_port for q in ports if q.port == p.port and q.protocol != p.protocol), 0)
            p = replace(p, node_port=twin or _node_port(key, taken, own, seed, f"{p.name}/{p.port}"))
        ports.append(p)
    return replace(spec, ports=tuple(ports))


def _node_port(key: Key, taken: Container[int], own: set[int], seed: int, text: str) -> int:
    port = _draw(_Either(taken, own), FIRST_NODE_PORT, LAST_NODE_PORT, 86, f"{seed}/{key}/nodePort/{text}")
    if port is None:
        raise InputError("no node port is left", path=f"{key} spec.ports")
    own.add(port)
    return port


class _Either:
    """Membership in either of two containers."""

    def __init__(self, one: Container[int], other: Container[int]) -> None:
        self.one, self.other = one, other

    def __contains__(self, number: object) -> bool:
        return number in self.one or number in self.other
