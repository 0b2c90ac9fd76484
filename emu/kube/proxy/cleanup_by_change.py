"""Which conntrack entries kube-proxy up to 1.31 deletes after a sync: those that the changes since the last one name.

A UDP port that is gone: all UDP entries to its Service's address. One that has its first serving endpoint: all to its addresses and to
its NodePort. An endpoint that is gone: those that were translated to its address, whichever port. A change that is missed is
never made up for. Source: pkg/proxy/conntrack/cleanup.go and endpoints.go of that release. Pure. Must not know how an entry
is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from emu.kube.proxy.cleanup import E, Entry, front_ends
from emu.kube.proxy.services import Endpoint, PortKey, Snapshot
from emu.wire.addr import ip4
from emu.wire.frame import AF_INET, UDP


class Filters(NamedTuple):
    """An entry is stale that any of these matches: `addresses` and `node_ports` by its original destination alone,
    `translated` by the original destination and the source of its answers, `node_ports_translated` likewise by port."""

    addresses: set[int]
    node_ports: set[int]
    translated: set[tuple[int, int]]
    node_ports_translated: set[tuple[int, int]]

    def match(self, entry: Entry) -> bool:
        proto, _src, dst, _sport, dport = entry.orig
        answer = entry.reply[1]
        return (
            proto == UDP
            and entry.family == AF_INET
            and (
                dst in self.addresses
                or dport in self.node_ports
                or (dst, answer) in self.translated
                or (dport, answer) in self.node_ports_translated
            )
        )


class CleanUpByChange:
    """Finds stale entries for all nodes of a cluster: what does not depend on the node is worked out once a snapshot."""

    def __init__(self) -> None:
        self._new: Snapshot | None = None
        self._filters: dict[Snapshot | None, Filters] = {}

    def needed(self, old: Snapshot | None, new: Snapshot) -> bool:
        """Whether a sync from `old` (None: the first one) to `new` looks for stale entries at all."""
        return any(self._of(old, new))

    def stale(self, old: Snapshot | None, new: Snapshot, entries: Iterable[E]) -> list[E]:
        """The entries that a sync from `old` (None: the first one) to `new` leaves stale."""
        return [*filter(self._of(old, new).match, entries)] if self.needed(old, new) else []

    def _of(self, old: Snapshot | None, new: Snapshot) -> Filters:
        if new is not self._new:
            self._new, self._filters = new, {}
        if old not in self._filters:
            self._filters[old] = filters(old, new)
        return self._filters[old]


def filters(old: Snapshot | None, new: Snapshot) -> Filters:
    """What a sync from `old` (None: the first one) to `new` deletes."""
    found = Filters(set(), set(), set(), set())
    before_of = {} if old is None else old.by_key
    following = old is not None and old.moment is new.changed.since
    for key in new.changed.ports if following else {*before_of, *new.by_key}:
        if key.protocol != "UDP":
            continue
        port = new.by_key.get(key)
        if port is None:
            if key in before_of:
                found.addresses.add(ip4(before_of[key].cluster_ip))
            continue
        before, after = _serving(old, key), _serving(new, key)
        if after and not before:
            found.addresses.update(map(ip4, front_ends(port)))
            found.node_ports.update([port.node_port] if port.node_port else [])
        still = {str(each) for each in new.endpoints.get(key, ())}
        for endpoint in before:
            if str(endpoint) not in still:
                found.translated.update((ip4(ip), ip4(endpoint.ip)) for ip in front_ends(port))
                if port.node_port:
                    found.node_ports_translated.add((port.node_port, ip4(endpoint.ip)))
    return found


def _serving(state: Snapshot | None, key: PortKey) -> list[Endpoint]:
    return [] if state is None else [each for each in state.endpoints.get(key, ()) if each.serving]
