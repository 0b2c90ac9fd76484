"""The kube-proxies of nodes: how much of the rules a sync writes, and what it does beside the rules.

The first sync is full, and so is one after an hour, after the tables were flushed, after a failed one, and when the
node's zone changed. Kube-proxies that stand alike sync as one. Source: pkg/proxy/iptables/proxier.go, syncProxyRules.
Must not know when syncs happen, the store, or any mode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from emu.clock import SECOND
from emu.kernel.net.netns import Netns
from emu.kube.agent import Node
from emu.kube.proxy.cleanup import CleanUp, EndpointsMap, by_node, local_ready
from emu.kube.proxy.cleanup_by_change import CleanUpByChange
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


class HealthServer(Protocol):
    """What answers on a node's health check ports, with `reports`."""

    @property
    def reports(self) -> Mapping[int, tuple[str, str, int]]: ...

    def serve(self, reports: Mapping[int, Health]) -> None:
        """Answer on exactly these ports from now on."""


class Wanted(NamedTuple):
    """What is to be in force on a node (`rules` are the mode's), and what it was made of."""

    snapshot: Snapshot
    config: ProxyConfig
    rules: Any


class State(NamedTuple):
    """Where a kube-proxy stands: one object for all nodes where it is the same.

    `applied`: what the mode left in force. `synced`: the snapshot that this was made of. `zone`: the node's at the last
    sync; None before the first one.
    """

    applied: Any = None
    synced: Snapshot | None = None
    zone: str | None = None
    needs_full: bool = True
    last_full_ns: int = -FULL_SYNC_NS
    last_cleaned_ns: int = -FULL_SYNC_NS


START = State()


class Standing:
    """Where kube-proxies that stand alike stand, as one object: their state, and the syncs that did not fail since then."""

    __slots__ = ("full_syncs", "state", "syncs")

    def __init__(self, state: State) -> None:
        self.state = state
        self.syncs = self.full_syncs = 0

    def synced(self, state: State, full: bool) -> None:
        self.state = state
        self.syncs += 1
        self.full_syncs += full


class Proxier:
    """What belongs to the kube-proxy of one node. `syncs` and `full_syncs` count those that did not fail."""

    def __init__(self, name: str, net: Netns, health: HealthServer) -> None:
        self.name, self.net, self.health = name, net, health
        self.serves_health = False
        self._standing = Standing(START)
        self._before = 0, 0  # the syncs that its present standing does not count

    def join(self, standing: Standing) -> None:
        """Stand where others stand from now on."""
        self._before = self.syncs - standing.syncs, self.full_syncs - standing.full_syncs
        self._standing = standing

    @property
    def state(self) -> State:
        return self._standing.state

    @property
    def syncs(self) -> int:
        return self._before[0] + self._standing.syncs

    @property
    def full_syncs(self) -> int:
        return self._before[1] + self._standing.full_syncs

    def start(self, config: ProxyConfig) -> None:
        """The sysctl that NodePorts on localhost need."""
        if config.loopback_node_ports():
            self.net.sysctl[ROUTE_LOCALNET] = 1

    def intact(self, mode: Mode[Any]) -> bool:
        """Whether the rules are still there. If not, the next sync is full."""
        if mode.intact(self.net):
            return True
        self.join(Standing(self.state._replace(needs_full=True)))
        return False


class Team:
    """Nodes whose kube-proxies stand alike and want the same. `together`: whether they still did after the last sync."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.proxiers: list[Proxier] = []
        self.nets: list[Netns] = []
        self.together = True
        self._standing: Standing | None = None  # one for all of them

    def synced(self, state: State, full: bool) -> None:
        """All of them synced, and stand alike again."""
        standing = self._standing
        if standing is None:
            standing = self._standing = Standing(state)
            for proxier in self.proxiers:
                proxier.join(standing)
        standing.synced(state, full)

    def add(self, node: Node, proxier: Proxier) -> None:
        self.nodes.append(node)
        self.proxiers.append(proxier)
        self.nets.append(node.root)


def clean_up(release: tuple[int, int]) -> CleanUp | CleanUpByChange:
    """How a release of Kubernetes (major, minor) finds stale conntrack entries."""
    if release < (1, 32):
        return CleanUpByChange()
    return CleanUp(idle=release >= (1, 37), deleted=release >= (1, 38))


class Syncs:
    """The syncs of all nodes of a cluster, in one mode."""

    def __init__(self, mode: Mode[Any], release: tuple[int, int]) -> None:
        self._mode, self._clean_up = mode, clean_up(release)
        self._snapshot: Snapshot | None = None
        self._serving_health = False  # whether a node ever did
        self._states: dict[State, State] = {}  # after syncs of this snapshot
        self._endpoints: Mapping[str, EndpointsMap] = {}  # by node, those that health checks count

    def sync(self, team: Team, wanted: Wanted) -> list[Node]:
        """Put `wanted` in force (syncProxyRules) on a team's nodes. Returns those where the restore failed: the next sync
        there is full."""
        snapshot, config, rules = wanted
        if snapshot is not self._snapshot:
            self._turn_to(snapshot)
        before, now = team.proxiers[0].state, team.nets[0].clock.now
        other_zone = before.zone is not None and before.zone != config.zone
        full = before.needs_full or other_zone or now - before.last_full_ns > FULL_SYNC_NS
        # a large cluster's stale chains are looked for less often
        keep_stale = snapshot.large and now - before.last_cleaned_ns <= config.sync_period_ns
        left = self._mode.apply(team.nets, before.applied, rules, full=full, keep_stale=keep_stale)
        tried = before._replace(zone=config.zone, last_cleaned_ns=before.last_cleaned_ns if keep_stale else now)
        done = tried._replace(synced=snapshot, last_full_ns=now if full else before.last_full_ns, needs_full=False)
        synced, failed = self._note(team, left, tried._replace(needs_full=True), done, full)
        self._clean(synced, before.synced, snapshot)
        self._report_health(synced, snapshot)
        return failed

    def _note(
        self, team: Team, left: Sequence[Any], tried: State, done: State, full: bool
    ) -> tuple[list[Proxier], list[Node]]:
        """Where each stands now: `tried`, or `done` with what is in force there. Returns those that synced, and the
        nodes of those that failed."""
        team.together = len(left) == 1 and left[0] is not None
        if team.together:  # the usual case, and a cluster has many nodes
            one = done._replace(applied=left[0])
            team.synced(self._states.setdefault(one, one), full)
            return team.proxiers, []
        if len(left) == 1:
            left = [*left] * len(team.nodes)
        after = {id(applied): applied for applied in left}
        states = {number: done._replace(applied=applied) for number, applied in after.items()}
        states = {number: self._states.setdefault(state, state) for number, state in states.items()}
        for proxier, applied in zip(team.proxiers, left, strict=True):
            alone = Standing(tried)
            proxier.join(alone)
            if applied is not None:
                alone.synced(states[id(applied)], full)
        if None not in left:
            return team.proxiers, []
        synced = [proxier for proxier, applied in zip(team.proxiers, left, strict=True) if applied is not None]
        return synced, [node for node, applied in zip(team.nodes, left, strict=True) if applied is None]

    def _turn_to(self, snapshot: Snapshot) -> None:
        self._snapshot, self._states = snapshot, {}
        asked = {*snapshot.health_checks.values()}
        found = {key: each for key, each in snapshot.endpoints.items() if key[:2] in asked} if asked else {}
        self._endpoints = by_node(found)

    def _clean(self, proxiers: Sequence[Proxier], before: Snapshot | None, snapshot: Snapshot) -> None:
        """Delete the conntrack entries that the sync left stale."""
        if self._clean_up.needed(before, snapshot):
            for proxier in proxiers:
                conntrack = proxier.net.conntrack
                for entry in self._clean_up.stale(before, snapshot, conntrack):
                    conntrack.kill(entry)

    def _report_health(self, proxiers: Sequence[Proxier], snapshot: Snapshot) -> None:
        services = snapshot.health_checks
        if not services and not self._serving_health:
            return
        self._serving_health = True
        for proxier in proxiers:
            if services or proxier.serves_health:
                proxier.serves_health = bool(services)
                counts = local_ready(self._endpoints.get(proxier.name, {}), proxier.name)
                reports = {port: Health(*service, counts.get(service, 0)) for port, service in services.items()}
                proxier.health.serve(reports)
