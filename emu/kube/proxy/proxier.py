"""The kube-proxy of one node: how much of the rules a sync writes, and what it does beside the rules.

The first sync is full, and so is one after an hour, after the tables were flushed, after a failed one, and when the
node's zone changed. Source: pkg/proxy/iptables/proxier.go, syncProxyRules. Must not know when syncs happen, the store
or the other nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from emu.clock import SECOND
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kube.proxy import cleanup
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.iptables import restore
from emu.kube.proxy.services import Snapshot

FULL_SYNC_NS = 3600 * SECOND  # proxyutil.FullSyncPeriod
ROUTE_LOCALNET = "net.ipv4.conf.all.route_localnet"


class Health(NamedTuple):
    """What a health check node port answers for its Service."""

    namespace: str
    name: str
    local_endpoints: int


class Wanted(NamedTuple):
    """What is to be in force on a node, and what it was made of."""

    snapshot: Snapshot
    config: ProxyConfig
    rules: RuleSet


class Proxier:
    """`serve_health` gets, after each sync, what to answer on which port.

    `syncs` and `full_syncs` count those that did not fail; `synced` is what is in force.
    """

    def __init__(self, net: Netns, serve_health: Callable[[dict[int, Health]], None]) -> None:
        self.net, self.clock = net, net.clock
        self.synced: Snapshot | None = None
        self.syncs = self.full_syncs = 0
        self._serve_health = serve_health
        self._config: ProxyConfig | None = None
        self._rules = RuleSet({})
        self._put: RuleSet | None = None
        self._needs_full = True
        self._last_full_ns = self._last_cleaned_ns = -FULL_SYNC_NS

    def start(self, config: ProxyConfig) -> None:
        """The sysctl that NodePorts on localhost need."""
        if config.loopback_node_ports():
            self.net.sysctl[ROUTE_LOCALNET] = 1

    def intact(self) -> bool:
        """Whether the canary chains are alive. If not, the next sync is full."""
        if restore.intact(self.net.tables.ruleset):
            return True
        self._needs_full = True
        return False

    def sync(self, wanted: Wanted) -> bool:
        """Put `wanted` in force (syncProxyRules). False: the restore failed, and the next sync is full."""
        snapshot, config, _ = wanted
        now = self.clock.now
        if self._config is not None and self._config.zone != config.zone:
            self._needs_full = True
        whole = self._needs_full or now - self._last_full_ns > FULL_SYNC_NS
        self._config = config
        if not self._put_in_force(wanted, whole):
            self._needs_full = True
            return False
        self.syncs += 1
        if whole:
            self.full_syncs += 1
            self._needs_full, self._last_full_ns = False, now
        conntrack = self.net.conntrack
        for entry in cleanup.clean_up(self.synced, snapshot, conntrack):
            conntrack.kill(entry)
        self.synced = snapshot
        self._report_health(snapshot, config)
        return True

    def _put_in_force(self, wanted: Wanted, whole: bool) -> bool:
        """False when the restore failed. What agreeing nodes have in force is made once for all of them."""
        snapshot, config, rules = wanted
        shared = snapshot.kept
        tables = self.net.tables
        current: RuleSet = tables.ruleset
        # a large cluster's stale chains are looked for less often
        keep_stale = snapshot.large and self.clock.now - self._last_cleaned_ns <= config.sync_period_ns
        if not keep_stale:
            self._last_cleaned_ns = self.clock.now
        key = "in force", current, self._rules, rules, whole, keep_stale
        if key not in shared:
            if whole:
                shared[key] = restore.full(current, rules, keep_stale=keep_stale)
            else:
                shared[key] = restore.partial(current, self._rules, rules, keep_stale=keep_stale)
        made: RuleSet | None = shared[key]
        if made is None:
            return False
        if whole or rules is not self._rules or current is not self._put:
            tables.replace(made)
        self._rules, self._put = rules, tables.ruleset
        return True

    def _report_health(self, snapshot: Snapshot, config: ProxyConfig) -> None:
        ports = {
            port.health_check_node_port: (port.key.namespace, port.key.name)
            for port in snapshot.ports
            if port.health_check_node_port
        }
        asked = set(ports.values())
        endpoints = {key: each for key, each in snapshot.endpoints.items() if key[:2] in asked} if asked else {}
        counts = cleanup.local_ready(endpoints, config.node_name)
        self._serve_health({number: Health(*service, counts.get(service, 0)) for number, service in ports.items()})
