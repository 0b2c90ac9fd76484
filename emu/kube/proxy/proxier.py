"""The kube-proxy of one node in virtual time: when it syncs, how much of it, and what it does beside the rules.

News calls `heard`; a sync follows at once, or `min_sync_period_ns` after the last one. The first sync is full, and so
is one after an hour, after the tables were flushed, after a failed one, and when the node's zone changed. Sources:
pkg/proxy/iptables/proxier.go, pkg/proxy/runner. Must not know Services' rules, the store or the other nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from emu.clock import SECOND, Timer
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kube.proxy import cleanup
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.iptables import restore
from emu.kube.proxy.iptables.compile import compile_snapshot
from emu.kube.proxy.services import Snapshot

FULL_SYNC_NS = 3600 * SECOND  # proxyutil.FullSyncPeriod
ROUTE_LOCALNET = "net.ipv4.conf.all.route_localnet"


class Health(NamedTuple):
    """What a health check node port answers for its Service."""

    namespace: str
    name: str
    local_endpoints: int


class Proxier:
    """`latest()` gives the objects as they are known now, `config()` the node's configuration.

    `under_way` holds this proxier while a sync is due. `serve_health` is told, after each sync, what to answer on
    which port. `syncs` and `full_syncs` count; `synced` is what is in force.
    """

    def __init__(
        self,
        net: Netns,
        latest: Callable[[], Snapshot],
        config: Callable[[], ProxyConfig],
        under_way: set[Any],
        serve_health: Callable[[dict[int, Health]], None],
    ) -> None:
        self.net, self.clock = net, net.clock
        self.synced: Snapshot | None = None
        self.syncs = self.full_syncs = 0
        self._latest, self._configure, self._serve_health = latest, config, serve_health
        self._under_way = under_way
        self._config: ProxyConfig | None = None
        self._rules = RuleSet({})
        self._put: RuleSet | None = None
        self._needs_full = True
        self._last_ns = self._last_full_ns = self._last_cleaned_ns = -FULL_SYNC_NS
        self._timer: Timer | None = None

    def start(self) -> None:
        """The first sync, and the sysctl that NodePorts on localhost need."""
        if self._configure().loopback_node_ports():
            self.net.sysctl[ROUTE_LOCALNET] = 1
        self.sync()

    def heard(self) -> None:
        """Something changed: sync as soon as that may be."""
        self._plan(self._last_ns + self._configure().min_sync_period_ns)

    def tick(self) -> None:
        """What is looked at every `sync_period_ns`: are the canaries alive, is a full sync due?"""
        if not restore.intact(self.net.ipv4.tables.ruleset):
            self._needs_full = True
            self.heard()
        elif self.clock.now - self._last_ns >= FULL_SYNC_NS:
            self.heard()

    def _plan(self, due_ns: int) -> None:
        if self._timer is None:
            self._timer = self.clock.call_at(due_ns, self.sync)
            self._under_way.add(self)

    def sync(self) -> None:
        """Put in force what is known now (syncProxyRules)."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._under_way.discard(self)
        snapshot, config = self._latest(), self._configure()
        now = self._last_ns = self.clock.now
        if self._config is not None and self._config.zone != config.zone:
            self._needs_full = True
        whole = self._needs_full or now - self._last_full_ns > FULL_SYNC_NS
        self._config = config
        if not self._put_in_force(snapshot, config, whole):
            self._needs_full = True
            self._plan(now + config.sync_period_ns)
            return
        self.syncs += 1
        if whole:
            self.full_syncs += 1
            self._needs_full, self._last_full_ns = False, now
        conntrack = self.net.conntrack
        for entry in cleanup.clean_up(self.synced, snapshot, conntrack):
            conntrack.kill(entry)
        self.synced = snapshot
        self._tell_health(snapshot, config)

    def _put_in_force(self, snapshot: Snapshot, config: ProxyConfig, whole: bool) -> bool:
        """False when the restore failed. What agreeing nodes have in force is made once for all of them."""
        rules, shared = compile_snapshot(snapshot, config), snapshot.kept
        tables = self.net.ipv4.tables
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

    def _tell_health(self, snapshot: Snapshot, config: ProxyConfig) -> None:
        ports = {
            port.health_check_node_port: (port.key.namespace, port.key.name)
            for port in snapshot.ports
            if port.health_check_node_port
        }
        asked = set(ports.values())
        endpoints = {key: each for key, each in snapshot.endpoints.items() if key[:2] in asked} if asked else {}
        counts = cleanup.local_ready(endpoints, config.node_name)
        self._serve_health({number: Health(*who, counts.get(who, 0)) for number, who in ports.items()})
