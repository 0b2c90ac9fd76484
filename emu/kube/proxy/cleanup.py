"""Which conntrack entries kube-proxy deletes after a sync, by its release, and what its health checks count. Pure.

UDP only: a client that keeps its port would still reach a deleted endpoint; a TCP connection ends without that.
From 1.32 on, entries are held against the endpoints that serve (pkg/proxy/conntrack/cleanup.go); a Service without one is
passed over until 1.37, a deleted Service until 1.38. Up to 1.31, what changed is looked for (cleanup_by_change.py).
Patch releases of one minor release count as one. Must not know how an entry is deleted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import NamedTuple, Protocol, TypeVar

from emu.kernel.netfilter.conn import Tuple5
from emu.kube.proxy.services import Endpoint, PortKey, ServicePort, Snapshot
from emu.wire.addr import ip4
from emu.wire.frame import AF_INET, UDP

EndpointsMap = Mapping[PortKey, tuple[Endpoint, ...]]


class Entry(Protocol):
    """A connection: its address family, the tuple of its first packet, and that of the answer."""

    @property
    def family(self) -> int: ...
    @property
    def orig(self) -> Tuple5: ...
    @property
    def reply(self) -> Tuple5: ...


E = TypeVar("E", bound=Entry)


class CleanUp:
    """Finds stale entries for all nodes of a cluster: what does not depend on the node is worked out once a snapshot.

    `idle`: entries of Services without a serving endpoint are stale too (kubernetes/kubernetes#139629); `deleted`: and
    those of Services that are gone (#141371)."""

    def __init__(self, *, idle: bool = False, deleted: bool = False) -> None:
        self._idle, self._deleted = idle, deleted
        self._new: Snapshot | None = None
        self._required: dict[Snapshot | None, bool] = {}
        self._serving: dict[Snapshot | None, Serving] = {}

    def needed(self, old: Snapshot | None, new: Snapshot) -> bool:
        """Whether a sync from `old` (None: the first one) to `new` looks for stale entries at all."""
        if new is not self._new:
            self._new, self._required, self._serving = new, {}, {}
        if old not in self._required:
            self._required[old] = self._requires(old, new) or bool(self._gone(old, new))
        return self._required[old]

    @staticmethod
    def _requires(old: Snapshot | None, new: Snapshot) -> bool:
        if old is None or old.moment is not new.changed.since:
            return required({} if old is None else old.endpoints, new.endpoints)
        keys = {*new.changed.ports}
        for service in {key[:2] for key in keys}:
            keys.update(old.keys_of(service), new.keys_of(service))
        before = {key: old.endpoints[key] for key in keys if key in old.endpoints}
        return required(before, {key: new.endpoints[key] for key in keys if key in new.endpoints})

    def stale(self, old: Snapshot | None, new: Snapshot, entries: Iterable[E]) -> list[E]:
        """The entries that a sync from `old` (None: the first one) to `new` leaves stale."""
        if not self.needed(old, new):
            return []
        gone = self._gone(old, new)
        since = old if gone else None
        if since not in self._serving:
            self._serving[since] = serving(new, idle=self._idle, gone=gone)
        return stale(self._serving[since], entries)

    def _gone(self, old: Snapshot | None, new: Snapshot) -> list[ServicePort]:
        """The UDP ports of Services that are gone, where that counts."""
        if old is None or not self._deleted:
            return []
        keys = sorted(new.changed.ports) if old.moment is new.changed.since else old.order
        return [
            old.by_key[key] for key in keys if key.protocol == "UDP" and key in old.by_key and key not in new.by_key
        ]


def required(before: EndpointsMap, after: EndpointsMap) -> bool:
    """Whether the endpoints of a Service changed that has, or had, a UDP port: changes are kept by Service, so that
    one of its TCP port counts. A change of the Service object alone does not."""
    changed = {(key.namespace, key.name) for key in {*before, *after} if before.get(key) != after.get(key)}
    return bool(changed) and any(
        key.protocol == "UDP" and (key.namespace, key.name) in changed for key in chain(before, after)
    )


class Serving(NamedTuple):
    """The (family, address, port) of each serving endpoint behind a UDP front-end: by the same three, and by NodePort."""

    by_address: dict[tuple[int, int, int], set[tuple[int, int, int]]]
    by_node_port: dict[int, set[tuple[int, int, int]]]


def serving(state: Snapshot, *, idle: bool = False, gone: Iterable[ServicePort] = ()) -> Serving:
    """The serving endpoints of UDP ports; a port without any is left out unless `idle`. Those that are `gone` have none.

    Serving is enough: ready or not, terminating or not, with any policies and hints.
    """
    found = Serving({}, {})
    for port in (*gone, *state.ports):
        if port.key.protocol != "UDP":
            continue
        # of a port that is gone there may be endpoints left, but no rule sends to them
        known = state.of_port(port) if port.key in state.by_key else ()
        endpoints = {(AF_INET, ip4(each.ip), each.port) for each in known if each.serving}
        if not endpoints and not idle:
            continue
        for ip in front_ends(port):
            found.by_address[AF_INET, ip4(ip), port.port] = endpoints
        if port.node_port:
            found.by_node_port[port.node_port] = endpoints
    return found


def front_ends(port: ServicePort) -> tuple[str, ...]:
    """The addresses of a service port."""
    return port.cluster_ip, *port.external_ips, *port.vips


def stale(serving: Serving, entries: Iterable[E]) -> list[E]:
    """UDP entries towards a front-end of a served Service whose answers do not come from a serving endpoint."""
    by_address, by_node_port = serving
    if not by_address:
        return []  # as every service port has an address
    found = []
    for entry in entries:
        proto, _src, dst, _sport, dport = entry.orig
        if proto != UDP:
            continue
        answer = entry.family, entry.reply[1], entry.reply[3]
        for serving_here in (by_address.get((entry.family, dst, dport)), by_node_port.get(dport)):
            if serving_here is not None and answer not in serving_here:
                found.append(entry)
                break
    return found


def by_node(endpoints: EndpointsMap) -> dict[str, dict[PortKey, tuple[Endpoint, ...]]]:
    """The endpoints on each node."""
    found: dict[str, dict[PortKey, tuple[Endpoint, ...]]] = defaultdict(dict)
    for key, each in endpoints.items():
        for endpoint in each:
            here = found[endpoint.node]
            here[key] = (*here.get(key, ()), endpoint)
    return found


def local_ready(endpoints: EndpointsMap, node: str) -> dict[tuple[str, str], int]:
    """How many ready addresses each Service (namespace, name) has on a node: what its health check port answers.

    Terminating ones do not count, though they may still be used; a Service with none is absent.
    """
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for key, each in endpoints.items():
        for endpoint in each:
            if node and endpoint.node == node and endpoint.ready:
                found[key.namespace, key.name].add(endpoint.ip)
    return {service: len(addresses) for service, addresses in found.items()}
