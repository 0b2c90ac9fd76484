"""What distinguishes two ends: ends of one kind send and answer alike, so that one flow stands for all of them.

A kind is made of all that an object, a policy, a route or a node's state can know of an end: the policies that bind it and the rules that have it
among their peers, its node's LAN, devices and sysctls, its own sockets and settings. Names and addresses are not in it, but where a rule
has them. Must not know flows.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from emu.kernel.link.device import Device
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.matches import FROM_DUMPS
from emu.kernel.transport.listening import listening
from emu.kube.api.core import Node, Service
from emu.kube.node.node import Sandbox
from emu.kube.plan import ZONE
from emu.kube.policy.ends import End
from emu.kube.policy.rules import WAYS, Way
from emu.kube.policy.verdict import Hits, Selecting, hits_of
from emu.matrix.ends import Whole
from emu.why.case import Backend
from emu.wire.addr import Prefix, ip4

Kind = Hashable
PER_POD = ("cni.projectcalico.org/", "kubernetes.io/config.", "vpc.amazonaws.com/")
"""How annotations begin that state what a pod has anyway: its addresses, its manifest's hash."""


class Kinds:
    """The kinds of a cluster's ends. Without `shared` each end is a kind of its own."""

    def __init__(self, places: Whole, *, shared: bool = True) -> None:
        self.places, self.shared = places, shared
        self.policies = places.policies.index.policies
        self._blocks = [
            Prefix.parse(cidr)
            for service in places.store.list(Service)
            for cidr in service.spec.load_balancer_source_ranges
            if ":" not in cidr
        ]
        self._nodes: dict[str, Kind] = {}
        self._senders: dict[str, Kind] = {}
        self._policed: dict[str, Kind] = {}
        self._bound: dict[tuple[Any, ...], Kind] = {}
        self._numbers: dict[Kind, int] = {}

    def _number(self, kind: Kind) -> int:
        """A small number for a kind: quick to compare."""
        return self._numbers.setdefault(kind, len(self._numbers))

    # -- nodes and senders -----------------------------------------------------------------------

    def node(self, name: str) -> Kind:
        found = self._nodes.get(name)
        if found is None:
            found = self._nodes[name] = self._number(self._of_node(name) if self.shared else ("node", name))
        return found

    def _of_node(self, name: str) -> Kind:
        running = self.places.nodes[name]
        if self.dumped(name):
            return "dumped", name
        lans = tuple((nic.name, nic.lan, nic.length, nic.mtu, bool(nic.gateway)) for nic in running.machine.nics)
        length = running.pod_cidr.length if running.pod_cidr is not None else 0
        return lans, length, _state(running.net)

    def dumped(self, name: str) -> bool:
        """Whether a node is as its own dump has it, which no object states: it is like no other."""
        return name in self.places.nodes and FROM_DUMPS in self.places.nodes[name].net.ipv4.tables.memory

    def zone(self, name: str) -> str:
        """A node's zone, which counts where a Service keeps its traffic in it."""
        obj = self.places.store.get(Node, "", name)
        return obj.metadata.labels.get(ZONE, "") if obj is not None else ""

    def sender(self, display: str) -> Kind:
        """The kind of a source, but for what a policy of the receiver knows of it."""
        found = self._senders.get(display)
        if found is None:
            found = self._senders[display] = self._number(self._of_sender(display) if self.shared else display)
        return found

    def _of_sender(self, display: str) -> Kind:
        places = self.places
        sandbox = places.pods.get(display)
        if sandbox is None:
            return ("node", self.node(display)) if display in places.nodes else ("outside", display)
        if sandbox.host_network:
            return "node", self.node(sandbox.node.name)
        cidr = sandbox.node.pod_cidr
        at_home = cidr is not None and sandbox.ip in cidr
        ranges = tuple(sandbox.ip in each for each in self._blocks)
        return "pod", self.node(sandbox.node.name), at_home, ranges, _of_pod(sandbox)

    def policed(self, display: str) -> Kind:
        """What all policies together know of a source: those that bind it, and every rule that has it as a peer."""
        if not self.policies or not self.shared:
            return ()
        found = self._policed.get(display)
        if found is None:
            found = self._policed[display] = self._number(self._of_policies(self.end(display)))
        return found

    def _of_policies(self, end: End) -> Kind:
        index = self.places.policies.index
        bound = tuple(_names(index.selecting(end.pod, way)) for way in WAYS) if end.pod is not None else ()
        return (
            "policies",
            bound,
            tuple(
                (policy.kind, str(policy), way, rule.number, number)
                for policy in self.policies
                for way, rules in policy.rules.items()
                for rule in rules
                for number, peer in enumerate(rule.peers or ())
                if peer.has(end)
            ),
        )

    # -- endpoints -------------------------------------------------------------------------------

    def backend(self, found: Backend) -> Kind:
        """The kind of an endpoint, but for its policies."""
        pod = found.pod
        if pod is None or not self.shared:
            return found.address, found.port
        sandbox = self.places.pods.get(f"{pod.namespace}/{pod.name}")
        if sandbox is None:
            return found.address, found.port
        kept = {key: value for key, value in pod.metadata.annotations.items() if not key.startswith(PER_POD)}
        at_home = sandbox.node.pod_cidr is not None and sandbox.ip in sandbox.node.pod_cidr
        return (
            found.port, found.ready, found.serving, found.terminating, found.node == sandbox.node.name, pod.ready, pod.metadata.deletion_timestamp,
            tuple(sorted(kept.items())), tuple(pod.spec.ports), at_home, self.node(sandbox.node.name),
            ("node", sandbox.net.name) if sandbox.host_network else (_of_pod(sandbox), _sockets(sandbox)),
            sandbox.ended, sandbox.restarts,
        )  # fmt: skip

    def bound(self, sender: str, found: Backend | None) -> Kind:
        """What policies know of a sender and an endpoint: those that bind either, and their rules that have the other as a peer. Without an
        endpoint: the policies that bind the sender."""
        if not self.policies or not self.shared:
            return ()
        index = self.places.policies.index
        target = index.end(ip4(found.address)) if found is not None else None
        key = self.policed(sender), target
        there = self._bound.get(key)
        if there is None:
            there = self._bound[key] = self._number(("bound", self._between(self.end(sender), target)))
        return there

    def _between(self, source: End, target: End | None) -> Kind:
        index = self.places.policies.index
        if target is None:
            return _names(index.selecting(source.pod, "egress")) if source.pod is not None else ()
        both: tuple[tuple[End, End, Way], ...] = ((source, target, "egress"), (target, source, "ingress"))
        parts: list[Kind] = []
        for own, other, way in both:
            if own.pod is not None:
                selecting = index.selecting(own.pod, way)
                parts.append((_names(selecting), _rules(hits_of(selecting, other, way))))
        return tuple(parts)

    def end(self, display: str) -> End:
        """A source as policies know it."""
        places = self.places
        index = places.policies.index
        if display in places.pods:
            return index.end(places.pods[display].ip)
        if display in places.nodes:
            return index.node(display) or index.end(places.nodes[display].ip)
        return index.end(places.layout.hosts[display].ip)


def _names(selecting: Selecting) -> Kind:
    return tuple((each.kind, str(each)) for tier in selecting for each in tier)


def _rules(hits: Hits) -> Kind:
    tiers = (hits.admin, hits.own, hits.baseline)
    return tuple((each.policy.kind, str(each.policy), each.rule.number, each.peer) for tier in tiers for each in tier)


# -- state ---------------------------------------------------------------------------------------------------


def _of_pod(sandbox: Sandbox) -> Kind:
    """What a pod's namespace and its node's end of the cable are like, and by which rules its node routes it."""
    address = str(sandbox.ip)
    rules = tuple(
        text.replace(address, "POD")
        for each in sandbox.node.net.ipv4.fib.rules
        if address in (text := each.text()).replace("/", " ").split()
    )
    ends = [
        device for each in sandbox.net.devices.values() if isinstance(device := getattr(each, "peer", None), Device)
    ]
    cables = tuple((_device(each), _written(sandbox.node.net, each.name)) for each in ends)
    return _state(sandbox.net), cables, rules


def _sockets(sandbox: Sandbox) -> Kind:
    """What listens in a pod."""
    found = (each for _, each in listening(sandbox.net))
    return tuple((each["netid"], each["port"], each["local"] != str(sandbox.ip) and each["local"]) for each in found)


def _state(net: Netns) -> Kind:
    """The devices of a namespace and the sysctls that were written to it; but for those that are a pod's on a node."""
    devices = [each for each in net.devices.values() if each.kind != "veth" or each.name.startswith("eth")]
    names = {each.name for each in devices}
    ours = {each.name for each in net.devices.values()} - names
    written = tuple((name, value) for name, value in sorted(net.sysctl.written()) if ours.isdisjoint(name.split(".")))
    return tuple(map(_device, devices)), written


def _device(device: Device) -> Kind:
    """What a device is like. One that draws which packets are lost, or has a rate, is like no other."""
    own = (device.net.name, device.name) if device.netem is not None or device.qdisc is not None else ""
    return device.kind, device.mtu, device.up, device.carrier, device.noarp, device.offload, own


def _written(net: Netns, device: str) -> Kind:
    parts = ((name.split("."), value) for name, value in net.sysctl.written())
    return tuple(sorted((tuple(p for p in name if p != device), str(value)) for name, value in parts if device in name))
