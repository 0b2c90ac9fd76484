"""The three requirements that Kubernetes makes of every network, as named invariants over captured flows.

They apply to flows from a pod or node to a pod's or node's address inside the cluster, not to a Service. Only frames
decide: what left the sender's namespace, what came into the receiver's. Must not know steps or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from emu.kube.flow.ends import Places
from emu.kube.flow.flow import Flow
from emu.trail import Encapsulated
from emu.wire.addr import ip4_text
from emu.wire.frame import ETH_P_IP, ICMP, Frame

POD, NODE = "pod", "node"
_ICMP_QUERIES = frozenset((0, 8, 13, 14, 15, 16, 17, 18))
Half = tuple[int, int]


class Packet(NamedTuple):
    """One captured IPv4 packet: where it was seen, and its two ends (for ICMP the id stands for both ports)."""

    namespace: str
    device: str
    sent: bool
    src: Half
    dst: Half
    proto: int


@dataclass(frozen=True)
class Talk:
    """A flow between two addresses of the cluster, as the sender's namespace first sent it."""

    flow: Flow
    first: Packet
    source_kind: str
    target: str
    target_kind: str
    packets: tuple[Packet, ...]

    def received(self) -> Iterator[Packet]:
        """The packets that came into the receiver's namespace from outside."""
        return (p for p in self.packets if p.namespace == self.target and not p.sent and p.device != "lo")

    def answered(self) -> Iterator[Packet]:
        """The packets that came back into the sender's namespace."""
        return (p for p in self.packets if p.namespace == self.first.namespace and not p.sent and p.device != "lo")


@dataclass(frozen=True)
class Verdict:
    """The result of one invariant: the number of flows that it applies to, and where it did not hold."""

    name: str
    flows: int
    failures: tuple[str, ...]

    @property
    def held(self) -> bool:
        return not self.failures


def packets_of(flow: Flow) -> Iterator[Packet]:
    """The flow's IPv4 packets on real interfaces: without its look-up, ICMP errors, later fragments and drops, and without the
    packets of tunnels that others travel in."""
    outer: set[tuple[Half, Half, int]] = set()
    for captured in flow.frames:
        if captured.direction == "drop" or captured.hop <= flow.look_up_frames:
            continue
        frame = Frame.parse(captured.data)
        if frame.ethertype != ETH_P_IP or frame.proto < 0 or frame.frag & 0x1FFF:
            continue
        if frame.proto == ICMP:
            if frame.dport >> 8 not in _ICMP_QUERIES:
                continue
            src, dst = (frame.src, frame.sport), (frame.dst, frame.sport)
        else:
            src, dst = (frame.src, frame.sport), (frame.dst, frame.dport)
        if any(entry.__class__ is Encapsulated for entry in captured.trail):
            outer.add((src, dst, frame.proto))
        if (src, dst, frame.proto) in outer:
            continue
        place = captured.place
        yield Packet(place.owner, place.device_name, captured.direction == "out", src, dst, frame.proto)


def talks(places: Places, flows: Iterable[Flow]) -> Iterator[Talk]:
    """The flows that the requirements apply to."""
    owners: dict[int, tuple[str, str]] = {node.ip: (name, NODE) for name, node in places.nodes.items()}
    kinds = dict.fromkeys(places.nodes, NODE)
    for name, pod in places.pods.items():
        if pod.ip not in owners:  # a pod on the host's network has the node's address
            owners[pod.ip] = (name, POD)
            kinds[name] = POD
    for flow in flows:
        if flow.target.addr not in owners:
            continue  # a Service, or the outside: a node's own frames show it translated
        packets = tuple(packets_of(flow))
        first = next((p for p in packets if p.sent and p.device != "lo"), None)
        if first is None or first.namespace not in kinds or first.dst[0] not in owners:
            continue
        target, target_kind = owners[first.dst[0]]
        if target != first.namespace:
            yield Talk(flow, first, kinds[first.namespace], target, target_kind, packets)


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


def pods_reach_pods(talk: Talk, places: Places) -> tuple[bool, str]:
    return _without_nat(talk) if (talk.source_kind, talk.target_kind) == (POD, POD) else (False, "")


def nodes_reach_pods(talk: Talk, places: Places) -> tuple[bool, str]:
    return _without_nat(talk) if (talk.source_kind, talk.target_kind) == (NODE, POD) else (False, "")


def own_address_is_seen(talk: Talk, places: Places) -> tuple[bool, str]:
    """The address on the pod's own eth0 is the source that others see, and the destination that it is reached by.

    Only packets that still go where they were sent count: to a NodePort, others of the flow pass the node translated. A
    source that is not the pod's own is the sender's wish, and nothing to be kept. A node may see the pod's node in its place:
    flannel and kindnet masquerade what is not for pods."""
    seen = False
    first = talk.first
    if talk.source_kind == POD and first.src[0] == places.pods[first.namespace].ip:
        own = first.src[0]
        also = places.pods[first.namespace].node.ip if talk.target_kind == NODE else own
        for packet in talk.received():
            if not _goes_to(packet, first.dst):
                continue
            seen = True
            if packet.src[0] not in (own, also):
                return True, f"{first.namespace} is {ip4_text(own)}, but {talk.target} sees {ip4_text(packet.src[0])}"
    if talk.target_kind == POD:
        own = places.pods[talk.target].ip
        for packet in talk.answered():
            if not _goes_to(packet, first.src):
                continue
            seen = True
            if packet.src[0] != own:
                return True, f"{talk.target} is {ip4_text(own)}, but {first.namespace} sees {ip4_text(packet.src[0])}"
    return seen, ""


def _goes_to(packet: Packet, end: Half) -> bool:
    """Is that its destination? The id of an echo is the sender's, which NAT may change."""
    return packet.dst[0] == end[0] if packet.proto == ICMP else packet.dst == end


INVARIANTS: dict[str, Callable[[Talk, Places], tuple[bool, str]]] = {
    "pods reach pods without NAT": pods_reach_pods,
    "nodes reach pods without NAT": nodes_reach_pods,
    "a pod's own address is what others see": own_address_is_seen,
}


def judge(places: Places, flows: Iterable[Flow]) -> tuple[Verdict, ...]:
    """Every invariant over a run's flows."""
    found = list(talks(places, flows))
    verdicts = []
    for name, holds in INVARIANTS.items():
        answers = [(talk, *holds(talk, places)) for talk in found]
        failures = tuple(f"{_name(talk.flow)}: {wrong}" for talk, _, wrong in answers if wrong)
        verdicts.append(Verdict(name, sum(applies for _, applies, _ in answers), failures))
    return tuple(verdicts)


def together(judged: Iterable[tuple[Verdict, ...]]) -> tuple[Verdict, ...]:
    """The verdicts of several judgements as one. A flow is judged while the pods that it knew still run."""
    rows = list(judged)
    return tuple(
        Verdict(
            name,
            sum(verdicts[number].flows for verdicts in rows),
            tuple(failure for verdicts in rows for failure in verdicts[number].failures),
        )
        for number, name in enumerate(INVARIANTS)
    )


def _name(flow: Flow) -> str:
    return flow.name or f"{flow.kind} {flow.source} -> {flow.target.name}"


def _ends(packet: Packet) -> str:
    (src, sport), (dst, dport) = packet.src, packet.dst
    if packet.proto == ICMP:
        return f"{ip4_text(src)} -> {ip4_text(dst)} id {sport}"
    return f"{ip4_text(src)}:{sport} -> {ip4_text(dst)}:{dport}"
