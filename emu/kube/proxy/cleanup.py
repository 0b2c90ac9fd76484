"""Which conntrack entries kube-proxy deletes after a sync, and what its health checks count. Pure.

UDP only: a client that keeps its port would go on to an endpoint that is gone; a TCP connection dies of itself.
Services without a serving endpoint are passed over, as in the version read (pkg/proxy/conntrack/cleanup.go,
endpointschangetracker.go; a later one deletes for these too). Must not know how an entry is deleted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from emu.kernel.netfilter.conn import Tuple5
from emu.kube.proxy.services import Endpoint, PortKey, Snapshot
from emu.wire.addr import ip4
from emu.wire.frame import UDP

EndpointsMap = Mapping[PortKey, tuple[Endpoint, ...]]


class Entry(Protocol):
    """A connection: the tuple of its first packet, and that of the answer."""

    orig: Tuple5
    reply: Tuple5


E = TypeVar("E", bound=Entry)


def clean_up(old: Snapshot | None, new: Snapshot, entries: Iterable[E]) -> list[E]:
    """The entries that a sync from `old` (None: the first one) to `new` leaves stale."""
    key = "conntrack clean-up", None if old is None else old.moment
    if key not in new.kept:
        new.kept[key] = required({} if old is None else old.endpoints, new.endpoints)
    return stale(new, entries) if new.kept[key] else []


def required(before: EndpointsMap, after: EndpointsMap) -> bool:
    """Whether the endpoints of a Service changed that has, or had, a UDP port: changes are kept by Service, so that
    one of its TCP port counts. A change of the Service object alone does not."""
    changed: set[tuple[str, str]] = set()
    udp: set[tuple[str, str]] = set()
    for key in {*before, *after}:
        service = key.namespace, key.name
        if key.protocol == "UDP":
            udp.add(service)
        if before.get(key) != after.get(key):
            changed.add(service)
    return not changed.isdisjoint(udp)


def stale(state: Snapshot, entries: Iterable[E]) -> list[E]:
    """UDP entries towards a front-end of a served Service whose answers do not come from a serving endpoint.

    Serving is enough: ready or not, terminating or not, whatever the policies and hints say.
    """
    by_address: dict[tuple[int, int], set[tuple[int, int]]] = {}
    by_node_port: dict[int, set[tuple[int, int]]] = {}
    for port in state.ports:
        if port.key.protocol != "UDP":
            continue
        serving = {(ip4(each.ip), each.port) for each in state.of_port(port) if each.serving}
        if not serving:
            continue
        for ip in (port.cluster_ip, *port.external_ips, *port.vips):
            by_address[ip4(ip), port.port] = serving
        if port.node_port:
            by_node_port[port.node_port] = serving
    if not by_address:
        return []
    found = []
    for entry in entries:
        proto, _src, dst, _sport, dport = entry.orig
        if proto != UDP:
            continue
        answer = entry.reply[1], entry.reply[3]
        for serving_here in (by_address.get((dst, dport)), by_node_port.get(dport)):
            if serving_here is not None and answer not in serving_here:
                found.append(entry)
                break
    return found


def local_ready(endpoints: EndpointsMap, node: str) -> dict[tuple[str, str], int]:
    """How many ready addresses each Service (namespace, name) has on a node: what its health check port tells.

    Terminating ones do not count, though they may still be used; a Service with none is absent.
    """
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for key, each in endpoints.items():
        for endpoint in each:
            if node and endpoint.node == node and endpoint.ready:
                found[key.namespace, key.name].add(endpoint.ip)
    return {service: len(addresses) for service, addresses in found.items()}
