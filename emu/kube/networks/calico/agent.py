"""calico-node, the node agent: felix's rules, sets, tunnel and sysctls, and the routes to blocks (felix's or BIRD's).

With VXLAN felix programs the routes (proto 80), else BIRD does (proto bird) with what it receives from the other nodes' BIRDs. What
programs on a real node do beside is not here: BIRD's own packets, and the connections of a deleted pod, which felix deletes. Must not know
how the plugin wires a pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from emu.clock import SECOND
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api.calico import IPAMBlock, IPPool, IPPoolSpec
from emu.kube.api.cluster_policy import ClusterNetworkPolicy
from emu.kube.api.core import Namespace, Pod
from emu.kube.api.core import Node as NodeObject
from emu.kube.api.networking import NetworkPolicy
from emu.kube.cni import calico_blocks
from emu.kube.cni.plugins.calico import host_name
from emu.kube.networks.calico import dataplane, pool, rules
from emu.kube.networks.calico.chains import Lines, Tables
from emu.kube.networks.calico.dataplane import IpSetMembers, Left, State
from emu.kube.networks.calico.peers import Link, Peer, Peers
from emu.kube.networks.calico.policed import POLICED, Policies
from emu.kube.networks.calico.policies import Written
from emu.kube.networks.calico.rules import Workload
from emu.kube.networks.within import Within
from emu.wire.addr import Prefix, ip4

NAME = "calico-node"
PERIOD_NS = 90 * SECOND  # RouteRefreshInterval; IptablesRefreshInterval is twice that


class View(NamedTuple):
    """The cluster as calico-node sees it: `workloads` by node, `policies` by the names of their chains, and the chains of `groups` of them."""

    peers: Peers
    workloads: Mapping[str, tuple[Workload, ...]]
    policies: Mapping[str, Written]
    groups: Mapping[str, Lines]


class _Known(NamedTuple):
    """A pod's object, and the workload that it is."""

    pod: Pod
    workload: Workload


@agents.add(NAME)
class CalicoNode(Agent[View, Link, State]):
    watches = (NodeObject, Pod, IPPool, IPAMBlock, Namespace, NetworkPolicy, ClusterNetworkPolicy)
    resync_period_ns = PERIOD_NS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._applied: dict[str, State] = {}  # by node
        self._looked: dict[str, Left] = {}  # by node, where it is still as it was left then
        self._compiled: dict[str, tuple[IPPoolSpec, tuple[Workload, ...], Mapping[str, Lines], Tables]] = {}  # by node
        self._policies = Policies()
        self._within = Within()
        self._pods: dict[str, _Known] = {}  # by uid

    def view(self, objects: Objects, before: View | None) -> View:
        pools = objects.list(IPPool)
        spec = pools[0].spec if pools else IPPoolSpec(cidr=str(self.settings.pod_subnet))
        blocks: dict[str, list[IPAMBlock]] = {}
        for block in objects.list(IPAMBlock):
            blocks.setdefault(block.node, []).append(block)
        kind, peers = pool.tunnel(spec), []
        for node in objects.list(NodeObject):
            if node.internal_ip:
                own, handle = blocks.get(node.name, []), pool.tunnel_handle(kind, node.name)
                address = calico_blocks.address_of(own, handle)
                peers.append(
                    Peer(node.name, ip4(node.internal_ip), address, tuple(sorted(map(calico_blocks.prefix_of, own))))
                )
        self._policies.follow([obj for kind in POLICED for obj in objects.list(kind)])
        workloads: dict[str, list[Workload]] = {}
        before_pods, self._pods = self._pods, {}
        for pod in objects.list(Pod):
            if pod.status.pod_ip and not pod.spec.host_network and not pod.finished:
                uid = pod.metadata.uid
                known = self._pods[uid] = self._followed(pod, before_pods.get(uid))
                workloads.setdefault(pod.spec.node_name, []).append(known.workload)
        placed = {node: tuple(sorted(each)) for node, each in workloads.items()}
        same = before is not None and before.peers.same(spec, peers)
        all_peers = before.peers if before is not None and same else Peers(spec, peers, self._within)
        return View(all_peers, placed, self._policies.written, self._policies.groups)

    def _followed(self, pod: Pod, known: _Known | None) -> _Known:
        """A pod whose object and policies are the same is the same workload. Its profiles are those of its namespace and of its
        service account."""
        ingress, egress = self._policies.calls(pod.namespace, pod.name)
        if known is not None and known.pod is pod and known.workload[2:] == (ingress, egress):
            return known
        account = pod.spec.service_account_name or "default"
        profiles = (f"kns.{pod.namespace}", f"ksa.{pod.namespace}.{account}")
        return _Known(pod, Workload(host_name(pod.namespace, pod.name), profiles, ingress, egress))

    def facts(self, node: Node) -> Link:
        own = next(each for each in node.root.ipv4.addresses if each.addr == node.ip)
        default = next(iter(node.root.ipv4.fib.main.of(Prefix(0, 0))), None)
        gateway = default.gateway if default is not None else 0
        return Link(node.name, node.ip, own.device.name, own.prefix, own.device.mtu, gateway)

    def compile(self, view: View, facts: Link) -> State:
        node, paths = facts.node, view.peers.of(facts)
        workloads = view.workloads.get(node, ())
        chains, sets = _policed(view, workloads)
        return State(
            tables=self._tables(node, workloads, chains, view.peers.spec),
            sets=(*paths.sets, *sets) if sets else paths.sets,
            tunnel=paths.tunnel,
            ways=paths.ways,
            devices=tuple(each.device for each in workloads),
        )

    def _tables(
        self, node: str, workloads: tuple[Workload, ...], chains: Mapping[str, Lines], spec: IPPoolSpec
    ) -> Tables:
        """The node's rules: the same object as long as the pool, the node's workloads and their policies are the same."""
        known = self._compiled.get(node)
        if known is None or known[:3] != (spec, workloads, chains):
            before = None if known is None else known[3]
            made = rules.compiled(
                workloads, pool.tunnel(spec), masquerades=spec.nat_outgoing, policies=chains, before=before
            )
            known = self._compiled[node] = (spec, workloads, chains, made)
        return known[3]

    def apply(self, node: Node, value: State) -> bool:
        net, before, left = node.root, self._applied.get(node.name), self._looked.get(node.name)
        if before != value or not self._in_place(node, value):
            as_left = left is not None and left.rules is net.ipv4.tables.ruleset
            rules_too = not as_left or before is None or before.tables is not value.tables
            self._looked[node.name] = dataplane.apply(net, value, rules_too=rules_too)
        self._applied[node.name] = value
        return True

    def intact(self, node: Node) -> bool:
        value = self._applied.get(node.name)
        rules_too = node.root.clock.now // PERIOD_NS % 2 == 0
        return value is not None and self._in_place(node, value, rules_too=rules_too)

    def _in_place(self, node: Node, value: State, *, rules_too: bool = True) -> bool:
        now = dataplane.look(node.root, value, self._looked.get(node.name), rules_too=rules_too)
        if now is not None:
            self._looked[node.name] = now
        return now is not None


def _policed(view: View, workloads: tuple[Workload, ...]) -> tuple[dict[str, Lines], list[IpSetMembers]]:
    """The chains that a node's workloads call, and the sets that these ask."""
    chains: dict[str, Lines] = {}
    sets: dict[str, IpSetMembers] = {}
    waiting = [target for each in workloads for target in _targets((*each.ingress, *each.egress))]
    while waiting:
        name = waiting.pop()
        if name in view.groups and name not in chains:
            chains[name] = view.groups[name]
            waiting += _targets(chains[name])
        elif name in view.policies and name not in chains:
            written = view.policies[name]
            chains[name] = written.chains[name]
            sets |= {each.name: IpSetMembers(each.name, each.members, each.kind) for each in written.sets}
    return dict(sorted(chains.items())), [sets[name] for name in sorted(sets)]


def _targets(lines: Lines) -> list[str]:
    """The chains that lines jump to."""
    found = (line.rpartition("--jump ")[2] for line in lines)
    return [name for name in found if name.startswith("cali-")]
