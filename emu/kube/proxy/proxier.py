"""The kube-proxy of one node: how much of the rules a sync writes, and what it does beside the rules.

The first sync is full, and so is one after an hour, after the tables were flushed, after a failed one, and when the
node's zone changed. Source: pkg/proxy/iptables/proxier.go, syncProxyRules. Must not know when syncs happen, the store,
the other nodes, or any mode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from emu.clock import SECOND
from emu.kernel.net.netns import Netns
from emu.kube.proxy.cleanup import CleanUp, local_ready
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.mode import Mode
from emu.kube.proxy.services import Snapshot

FULL_SYNC_NS = 3600 * SECOND  # proxyutil.FullSyncPeriod
ROUTE_LOCALNET = "net.ipv4.conf.all.route_localnet"


class Health(NamedTuple):
    """What a health check node port answers for its Service."""

    namespace: str
    name: str
    local_endpoints: int


class Wanted(NamedTuple):
    """What is to be in force on a node (`rules` are the mode's), and what it was made of."""

    snapshot: Snapshot
    config: ProxyConfig
    rules: Any


class Proxier:
    """`mode` and `clean_up` are shared by all nodes; `serve_health` gets, after each sync, what to answer on which port.

    `syncs` and `full_syncs` count those that did not fail; `synced` is what is in force.
    """

    def __init__(
        self, net: Netns, mode: Mode[Any], clean_up: CleanUp, serve_health: Callable[[dict[int, Health]], None]
    ) -> None:
        self.net, self.clock = net, net.clock
        self._mode, self._clean_up = mode, clean_up
        self.synced: Snapshot | None = None
        self.syncs = self.full_syncs = 0
        self._serve_health = serve_health
        self._config: ProxyConfig | None = None
        self._needs_full, self._serves_health = True, False
        self._last_full_ns = self._last_cleaned_ns = -FULL_SYNC_NS

    def start(self, config: ProxyConfig) -> None:
        """The sysctl that NodePorts on localhost need."""
        if config.loopback_node_ports():
            self.net.sysctl[ROUTE_LOCALNET] = 1

    def intact(self) -> bool:
        """Whether the rules are still there. If not, the next sync is full."""
        if self._mode.intact(self.net):
            return True
        self._needs_full = True
        return False

    def sync(self, wanted: Wanted) -> bool:
        """Put `wanted` in force (syncProxyRules). False: the restore failed, and the next sync is full."""
        snapshot, config, _ = wanted
        now = self.clock.now
        if self._config is not None and self._config.zone != config.zone:
            self._needs_full = True
        full = self._needs_full or now - self._last_full_ns > FULL_SYNC_NS
        self._config = config
        if not self._put_in_force(wanted, full):
            self._needs_full = True
            return False
        self.syncs += 1
        if full:
            self.full_syncs += 1
            self._needs_full, self._last_full_ns = False, now
        conntrack = self.net.conntrack
        for entry in self._clean_up.stale(self.synced, snapshot, conntrack):
            conntrack.kill(entry)
        self.synced = snapshot
        self._report_health(snapshot, config)
        return True

    def _put_in_force(self, wanted: Wanted, full: bool) -> bool:
        """False when the restore failed."""
        # a large cluster's stale chains are looked for less often
        now, period_ns = self.clock.now, wanted.config.sync_period_ns
        keep_stale = wanted.snapshot.large and now - self._last_cleaned_ns <= period_ns
        if not keep_stale:
            self._last_cleaned_ns = now
        return self._mode.apply(self.net, wanted.rules, full=full, keep_stale=keep_stale)

    def _report_health(self, snapshot: Snapshot, config: ProxyConfig) -> None:
        services = snapshot.health_checks
        if not services and not self._serves_health:
            return
        self._serves_health = bool(services)
        asked = {*services.values()}
        endpoints = {key: each for key, each in snapshot.endpoints.items() if key[:2] in asked}
        counts = local_ready(endpoints, config.node_name)
        self._serve_health({port: Health(*service, counts.get(service, 0)) for port, service in services.items()})
