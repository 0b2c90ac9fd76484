"""The three requirements that Kubernetes makes of every network: no NAT between pods, none from nodes to pods, one address for all.

They apply to flows from a pod or node to a pod's or node's address inside the cluster, not to a Service. Only frames
decide: what left the sender's namespace, what came into the receiver's. Must not know steps or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from emu.invariants import Answer, Evidence, Violation, invariant
from emu.invariants.evidence import ClusterBench, is_error
from emu.kube.flow.flow import Flow
from emu.trail import Encapsulated, Natted
from emu.wire.addr import ip4_text
from emu.wire.frame import ETH_P_IP, ICMP, IP_OFFSET, Frame

POD, NODE = "pod", "node"
Half = tuple[int, int]
SCOPE = (
    "Flows between addresses of {}, as the sender's namespace first sent them. Passed over: flows to Services (also by a node's port, "
    "where conntrack's entry has a DNAT), sources that are neither the sender's own nor a pod's, packets that answer on another flow's connection, ICMP "
    "errors, and packets of tunnels that others travel in."
)


class Sighting(NamedTuple):
    """One captured IPv4 packet: where it was seen, and its two ends (for ICMP the id stands for both ports)."""

    namespace: str
    device: str
    sent: bool
    src: Half
    dst: Half
    proto: int


class Talk(NamedTuple):
    """A flow between two addresses of the cluster, as the sender's namespace first sent it."""

    flow: Flow
    first: Sighting
    source_kind: str
    target: str
    target_kind: str
    packets: tuple[Sighting, ...]

    def received(self) -> Iterator[Sighting]:
        """The packets that came into the receiver's namespace from outside."""
        return (p for p in self.packets if p.namespace == self.target and not p.sent and p.device != "lo")

    def answered(self) -> Iterator[Sighting]:
        """The packets that came back into the sender's namespace."""
        return (p for p in self.packets if p.namespace == self.first.namespace and not p.sent and p.device != "lo")


def _sightings(flow: Flow) -> tuple[list[Sighting], bool]:
    """The flow's IPv4 packets on real interfaces, and whether its first one answers on a connection that was there before."""
    outer: set[tuple[Half, Half, int]] = set()
    found: list[Sighting] = []
    answers = False
    first: tuple[Half, Half] | None = None
    for captured in flow.frames:
        if captured.direction == "drop" or captured.hop <= flow.look_up_frames:
            continue
        frame = Frame.parse(captured.data)
        if frame.ethertype != ETH_P_IP or frame.proto < 0 or frame.frag & IP_OFFSET or is_error(frame):
            continue
        src, dst = (frame.src, frame.sport), (frame.dst, frame.sport if frame.proto == ICMP else frame.dport)
        if any(entry.__class__ is Encapsulated for entry in captured.trail):
            outer.add((src, dst, frame.proto))
        if (src, dst, frame.proto) in outer:
            continue
        first = first or (src, dst)
        for fact in captured.trail:
            if isinstance(fact, Natted) and fact.kind.startswith("un-") and fact.before in first:
                answers = True
        place = captured.place
        found.append(Sighting(place.owner, place.device_name, captured.direction == "out", src, dst, frame.proto))
    return found, answers


def talks(evidence: Evidence) -> Iterator[Talk]:
    """The flows that the requirements apply to."""
    cluster = evidence.cluster
    if cluster is None:
        return
    owners: dict[int, tuple[str, str]] = {node.ip: (name, NODE) for name, node in cluster.nodes.items()}
    kinds = dict.fromkeys(cluster.nodes, NODE)
    for name, pod in cluster.pods.items():
        if pod.ip not in owners:  # a pod on the host's network has the node's address
            owners[pod.ip] = (name, POD)
            kinds[name] = POD
    for flow in evidence.flows:
        if flow.target.addr not in owners:
            continue  # a Service, or the outside: a node's own frames show it translated
        packets, answers = _sightings(flow)
        first = next((p for p in packets if p.sent and p.device != "lo"), None)
        if answers or first is None or first.namespace not in kinds or first.dst[0] not in owners:
            continue
        target, target_kind = owners[first.dst[0]]
        if target != first.namespace:
            yield Talk(flow, first, kinds[first.namespace], target, target_kind, tuple(packets))


def _own(talk: Talk, cluster: ClusterBench) -> bool:
    """Is the source an address of the sender, or at least one of a pod? Many networks masquerade any other one."""
    net, source = cluster.namespaces.get(talk.first.namespace), talk.first.src[0]
    pods = (node.pod_cidr for node in cluster.nodes.values())
    return net is None or net.ipv4.is_local(source) or any(cidr is not None and source in cidr for cidr in pods)


def _answers(judge: Callable[[Talk, ClusterBench], tuple[bool, str]], evidence: Evidence) -> Iterator[Answer]:
    for talk in talks(evidence):
        assert evidence.cluster is not None
        applies, wrong = judge(talk, evidence.cluster)
        if applies:
            yield Violation(wrong, tuple(talk.flow.frames), talk.flow) if wrong else None


def _without_nat(talk: Talk) -> tuple[bool, str]:
    first = talk.first
    seen = False
    for packet in talk.received():
        seen = True
        if (packet.src, packet.dst) != (first.src, first.dst):
            return True, f"{talk.target} got {_ends(packet)}, {first.namespace} had sent {_ends(first)}"
    for packet in talk.answered():
        seen = True
        if (packet.src, packet.dst) != (first.dst, first.src):
            return True, f"{first.namespace} got {_ends(packet)} as the answer to {_ends(first)}"
    return seen, ""


def _between(kinds: tuple[str, str]) -> Callable[[Talk, ClusterBench], tuple[bool, str]]:
    def judge(talk: Talk, cluster: ClusterBench) -> tuple[bool, str]:
        applies = (talk.source_kind, talk.target_kind) == kinds and _own(talk, cluster)
        return _without_nat(talk) if applies else (False, "")

    return judge


@invariant("pods reach pods without NAT", SCOPE.format("two pods"))
def pods_reach_pods(evidence: Evidence) -> Iterator[Answer]:
    return _answers(_between((POD, POD)), evidence)


@invariant("nodes reach pods without NAT", SCOPE.format("a node and a pod"))
def nodes_reach_pods(evidence: Evidence) -> Iterator[Answer]:
    return _answers(_between((NODE, POD)), evidence)


@invariant(
    "a pod's own address is what others see",
    SCOPE.format("pods and nodes")
    + " A node may see the pod's node instead: flannel and kindnet masquerade what is not for pods.",
)
def own_address_is_seen(evidence: Evidence) -> Iterator[Answer]:
    return _answers(_own_address, evidence)


def _own_address(talk: Talk, cluster: ClusterBench) -> tuple[bool, str]:
    """The address on the pod's own eth0 is the source that others see, and the destination that it is reached by.

    Only packets that still go where they were sent count: to a NodePort, others of the flow pass the node translated. A
    source that is not the pod's own is the sender's wish, and nothing to be kept."""
    seen = False
    first = talk.first
    if talk.source_kind == POD and first.src[0] == cluster.pods[first.namespace].ip:
        own = first.src[0]
        also = cluster.pods[first.namespace].node.ip if talk.target_kind == NODE else own
        for packet in talk.received():
            if not _goes_to(packet, first.dst):
                continue
            seen = True
            if packet.src[0] not in (own, also):
                return True, f"{first.namespace} is {ip4_text(own)}, but {talk.target} sees {ip4_text(packet.src[0])}"
    if talk.target_kind == POD:
        own = cluster.pods[talk.target].ip
        for packet in talk.answered():
            if not _goes_to(packet, first.src):
                continue
            seen = True
            if packet.src[0] != own:
                return True, f"{talk.target} is {ip4_text(own)}, but {first.namespace} sees {ip4_text(packet.src[0])}"
    return seen, ""


def _goes_to(packet: Sighting, end: Half) -> bool:
    """Is that its destination? The id of an echo is the sender's, which NAT may change."""
    return packet.dst[0] == end[0] if packet.proto == ICMP else packet.dst == end


def _ends(packet: Sighting) -> str:
    (src, sport), (dst, dport) = packet.src, packet.dst
    if packet.proto == ICMP:
        return f"{ip4_text(src)} -> {ip4_text(dst)} id {sport}"
    return f"{ip4_text(src)}:{sport} -> {ip4_text(dst)}:{dport}"
