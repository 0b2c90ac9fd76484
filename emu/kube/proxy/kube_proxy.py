"""kube-proxy as a node agent: what it takes from the objects, what it reads on its node, what it compiles.

One object serves all nodes of a cluster; what belongs to one node is its `Proxier`. The health check ports are
answered by a process of the node. Must not know when it runs, or how rules are put in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

from emu.apps.healthcheck import HealthCheck
from emu.errors import InputError
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api.core import Node as NodeObject
from emu.kube.api.core import Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Object
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.mode import modes
from emu.kube.proxy.proxier import FULL_SYNC_NS, Proxier, Syncs, Team, Wanted
from emu.kube.proxy.services import Change, Snapshot
from emu.wire.addr import ip4_text


class View(NamedTuple):
    """What all kube-proxies know: service ports and endpoints, and the zone of each node that has one."""

    snapshot: Snapshot
    zones: Mapping[str, str]


class _Known(NamedTuple):
    """The teams of nodes that ran together, while their zones were these."""

    nodes: Sequence[Node]
    zones: Mapping[str, str]
    teams: list[Team]


@agents.add("kube-proxy")
class KubeProxy(Agent[View, ProxyConfig, Wanted]):
    """`proxiers` by the node's name."""

    watches: ClassVar[tuple[type[Object], ...]] = (Service, NodeObject, EndpointSlice)
    follows = watches
    max_period_ns = FULL_SYNC_NS

    def __init__(self, settings: Settings) -> None:
        """Raises InputError: the periods do not fit together, or no mode has that name."""
        super().__init__(settings)
        self.config = settings.of(ProxyConfig)
        self.min_period_ns, self.resync_period_ns = self.config.min_sync_period_ns, self.config.sync_period_ns
        if not 0 <= self.min_period_ns <= self.resync_period_ns or not self.resync_period_ns:
            raise InputError(
                "kube-proxy's periods do not fit",
                path="cluster.kubeProxy.iptables.syncPeriod",
                expected="a syncPeriod above 0 and not below minSyncPeriod",
            )
        self.mode = modes[self.config.mode]()
        self._syncs = Syncs(self.mode, self.config.release)
        self._known: _Known | None = None
        self.proxiers: dict[str, Proxier] = {}
        self._configs: dict[str, ProxyConfig] = {}  # by node, one object as long as nothing changes
        self._with_zone: dict[str, tuple[ProxyConfig | None, ProxyConfig]] = {}  # by node: without, and with its zone

    def start(self, node: Node, own: NodeObject) -> NodeObject:
        base = self.config
        config = self._configs[node.name] = base._replace(
            node_name=node.name,
            node_ip=ip4_text(node.ip),
            pod_cidr=str(node.pod_cidr or ""),
            cluster_cidr=base.cluster_cidr or ("" if self.settings.pods_outside else str(self.settings.pod_subnet)),
            tcp_be_liberal=base.tcp_be_liberal or bool(node.root.conntrack.tcp_be_liberal),
        )
        proxier = self.proxiers[node.name] = Proxier(node.name, node.root, HealthCheck(node.root))
        proxier.start(config)
        return own

    def view(self, objects: Objects, before: View | None) -> View:
        services, slices = objects.changes(Service), objects.changes(EndpointSlice)
        nodes = objects.changes(NodeObject)
        if before is None or services is None or slices is None or nodes is None:
            after = None if before is None else before.snapshot
            zones: Mapping[str, str] = {each.name: each.zone for each in objects.list(NodeObject) if each.zone}
            if before is not None and before.zones == zones:
                zones = before.zones
            return View(Snapshot.of(objects.list(Service), objects.list(EndpointSlice), after=after), zones)
        return View(before.snapshot.followed(services, slices), _zones(before.zones, nodes))

    def facts(self, node: Node) -> ProxyConfig:
        """The configuration, with the addresses that the node has now, if NodePorts depend on them."""
        config = self._configs[node.name]
        if config.node_port_addresses:
            addresses = tuple(ip4_text(each.addr) for each in node.root.ipv4.addresses)
            if addresses != config.node_addresses:
                config = self._configs[node.name] = config._replace(node_addresses=addresses)
        return config

    def compile(self, view: View, facts: ProxyConfig) -> Wanted:
        zone = view.zones.get(facts.node_name)
        config = facts if zone is None else self._zoned(facts, zone)
        return Wanted(view.snapshot, config, self.mode.compile(view.snapshot, config))

    def _zoned(self, config: ProxyConfig, zone: str) -> ProxyConfig:
        """The configuration of a node in a zone: one object as long as neither changes."""
        before, made = self._with_zone.get(config.node_name, (None, config))
        if before is not config or made.zone != zone:
            made = config._replace(zone=zone)
            self._with_zone[config.node_name] = config, made
        return made

    def apply(self, node: Node, value: Wanted) -> bool:
        self._known = None
        team = Team()
        team.add(node, self.proxiers[node.name])
        return not self._syncs.sync(team, value)

    def run(self, view: View, nodes: Sequence[Node]) -> Sequence[Node]:
        """Nodes whose kube-proxies stand alike and want the same are synced as one. As long as that stays so, no node is
        looked at to find out."""
        known, self._known = self._known, None
        alike = self.mode.alike(view.snapshot) and not self.config.node_port_addresses
        if known is not None and alike and known.nodes is nodes and known.zones is view.zones:
            teams = [(team, self._wanted(view, team.nodes[0])) for team in known.teams]
        else:
            teams = self._teams(view, nodes)
        failed = [node for team, wanted in teams for node in self._syncs.sync(team, wanted)]
        if alike and all(team.together for team, _ in teams):
            self._known = _Known(nodes, view.zones, [team for team, _ in teams])
        return failed

    def _wanted(self, view: View, node: Node) -> Wanted:
        return self.compile(view, self.facts(node))

    def _teams(self, view: View, nodes: Sequence[Node]) -> list[tuple[Team, Wanted]]:
        found: dict[tuple[int, str, int], tuple[Team, Wanted]] = {}
        for node in nodes:
            wanted, proxier = self._wanted(view, node), self.proxiers[node.name]
            key = id(proxier.state), wanted.config.zone, id(wanted.rules)
            if key not in found:
                found[key] = Team(), wanted
            found[key][0].add(node, proxier)
        return [*found.values()]

    def damaged(self, nodes: Sequence[Node]) -> set[str]:
        known = self._known
        together = known is not None and known.nodes is nodes
        parts = [team.nets for team in known.teams] if known and together else [[node.root for node in nodes]]
        return set() if all(map(self.mode.all_intact, parts)) else super().damaged(nodes)

    def intact(self, node: Node) -> bool:
        if self.proxiers[node.name].intact(self.mode):
            return True
        self._known = None
        return False


def _zones(before: Mapping[str, str], nodes: Iterable[Change[NodeObject]]) -> Mapping[str, str]:
    """The zones after these changes of nodes; the same object where they are the same."""
    moved = dict[str, str]()
    for old, new in nodes:
        moved |= ({old.name: ""} if old else {}) | ({new.name: new.zone} if new else {})
    if all(before.get(name, "") == zone for name, zone in moved.items()):
        return before
    zones = dict(before) | moved
    return {name: zone for name, zone in zones.items() if zone}
