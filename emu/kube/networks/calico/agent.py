"""calico-node, the node agent: felix's rules, sets, tunnel and sysctls, and the routes to blocks (felix's or BIRD's).

With VXLAN felix programs the routes (proto 80), else BIRD does (proto bird) with what it receives from the other nodes' BIRDs. What
programs on a real node do beside is not here: BIRD's own packets, and the connections of a deleted pod, which felix deletes. Must not know
how the plugin wires a pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from emu.clock import SECOND
from emu.kernel.netfilter.ruleset import RuleSet
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
from emu.kube.networks.calico.dataplane import IpSetMembers, State, Tunnel, Vtep
from emu.kube.networks.calico.policed import POLICED, Policies
from emu.kube.networks.calico.policies import Written
from emu.kube.networks.calico.rules import Workload
from emu.wire.addr import Prefix, ip4, ip4_text

NAME = "calico-node"
PERIOD_NS = 90 * SECOND  # RouteRefreshInterval; IptablesRefreshInterval is twice that


class Peer(NamedTuple):
    """A node: its InternalIP, the address of its tunnel (0: none), and the blocks that it has claimed."""

    name: str
    ip: int
    tunnel: int
    blocks: tuple[Prefix, ...]


class View(NamedTuple):
    """The cluster as calico-node sees it: `workloads` by node, `policies` by the names of their chains, and the chains of `groups` of them."""

    pool: IPPoolSpec
    peers: tuple[Peer, ...]
    workloads: Mapping[str, tuple[Workload, ...]]
    policies: Mapping[str, Written]
    groups: Mapping[str, Lines]


class Link(NamedTuple):
    """How a node is attached: the device with its InternalIP, its subnet and MTU, and the default gateway (0: none)."""

    node: str
    ip: int
    device: str
    subnet: Prefix
    mtu: int
    gateway: int


@agents.add(NAME)
class CalicoNode(Agent[View, Link, State]):
    watches = (NodeObject, Pod, IPPool, IPAMBlock, Namespace, NetworkPolicy, ClusterNetworkPolicy)
    resync_period_ns = PERIOD_NS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._applied: dict[str, tuple[State, RuleSet]] = {}  # by node, with the rules that were in force then
        self._compiled: dict[str, tuple[IPPoolSpec, tuple[Workload, ...], Mapping[str, Lines], Tables]] = {}  # by node
        self._policies = Policies()

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
        for pod in objects.list(Pod):
            if pod.status.pod_ip and not pod.spec.host_network and not pod.finished:
                workloads.setdefault(pod.spec.node_name, []).append(self._workload(pod))
        placed = {node: tuple(sorted(each)) for node, each in workloads.items()}
        return View(spec, tuple(peers), placed, self._policies.written, self._policies.groups)

    def _workload(self, pod: Pod) -> Workload:
        """Its profiles are those of its namespace and of its service account."""
        account = pod.spec.service_account_name or "default"
        profiles = (f"kns.{pod.namespace}", f"ksa.{pod.namespace}.{account}")
        return Workload(host_name(pod.namespace, pod.name), profiles, *self._policies.calls(pod.namespace, pod.name))

    def facts(self, node: Node) -> Link:
        own = next(each for each in node.net.ipv4.addresses if each.addr == node.ip)
        default = next((route for route in node.net.ipv4.fib.main if not route.prefix.length), None)
        gateway = default.gateway if default is not None else 0
        return Link(node.name, node.ip, own.device.name, own.prefix, own.device.mtu, gateway)

    def compile(self, view: View, facts: Link) -> State:
        spec, kind, node = view.pool, pool.tunnel(view.pool), facts.node
        own = next((each for each in view.peers if each.name == node), Peer(node, facts.ip, 0, ()))
        others = [each for each in view.peers if each.name != node]
        workloads = view.workloads.get(node, ())
        chains, sets = _policed(view, workloads)
        return State(
            tables=self._tables(node, workloads, chains, spec),
            sets=(*_sets(spec, kind, view.peers, others), *sets),
            tunnel=_tunnel(kind, own, facts),
            vteps=tuple(_vtep(each) for each in others if each.tunnel) if kind == pool.VXLAN else (),
            routes=tuple(_routes(spec, kind, own, others, facts)),
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
        before, left = self._applied.get(node.name, (None, None))
        tables = node.net.ipv4.tables
        if before != value or not dataplane.in_place(node.net, value, left):
            rules_too = left is not tables.ruleset or before is None or before.tables is not value.tables
            dataplane.apply(node.net, value, rules_too=rules_too)
        self._applied[node.name] = (value, tables.ruleset)
        return True

    def intact(self, node: Node) -> bool:
        value, left = self._applied.get(node.name, (None, None))
        rules_too = node.net.clock.now // PERIOD_NS % 2 == 0
        return value is not None and dataplane.in_place(node.net, value, left, rules_too=rules_too)


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


def _sets(spec: IPPoolSpec, kind: str, nodes: tuple[Peer, ...], others: list[Peer]) -> tuple[IpSetMembers, ...]:
    pools = (spec.cidr,)
    found = [
        IpSetMembers(rules.MASQ_POOLS, pools if spec.nat_outgoing else ()),
        IpSetMembers(rules.ALL_POOLS, pools),
        IpSetMembers(rules.ALL_HOSTS, tuple(ip4_text(each.ip) for each in nodes)),
    ]
    if kind == pool.VXLAN:
        found.append(IpSetMembers(rules.VXLAN_HOSTS, tuple(ip4_text(each.ip) for each in others if each.tunnel)))
    return tuple(found)


def _tunnel(kind: str, own: Peer, link: Link) -> Tunnel | None:
    if not own.tunnel:
        return None
    mac = pool.tunnel_mac(own.name) if kind == pool.VXLAN else b""
    return Tunnel(kind, own.tunnel, mac, own.ip, link.device, link.mtu - pool.OVERHEAD[kind])


def _vtep(peer: Peer) -> Vtep:
    return Vtep(peer.tunnel, pool.tunnel_mac(peer.name), peer.ip)


def _routes(spec: IPPoolSpec, kind: str, own: Peer, others: list[Peer], link: Link) -> list[str]:
    """As `ip route add` takes them: to the blocks of the others, and to nowhere for what has no pod in the node's own."""
    proto = "80" if kind == pool.VXLAN else "bird"
    found = [f"blackhole {block} proto {proto}" for block in own.blocks]
    for peer in others:
        on_link = peer.ip in link.subnet
        via, device, flag = peer.ip, link.device, " onlink" if kind == pool.VXLAN else ""
        if pool.mode(spec) == "Always" or (pool.mode(spec) == "CrossSubnet" and not on_link):
            via, device, flag = (peer.tunnel if kind == pool.VXLAN else peer.ip), pool.DEVICE[kind], " onlink"
            if not peer.tunnel or not own.tunnel:
                continue
        elif not on_link:  # BIRD: `gateway recursive`, by the default route
            via = link.gateway
            if not via:
                continue
        found += [f"{block} via {ip4_text(via)} dev {device} proto {proto}{flag}" for block in peer.blocks]
    return found
