"""What policies promise: the packets' verdict is that of the pure function. Must not know how a dataplane writes its rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from emu.invariants import Answer, Evidence, Violation, invariant
from emu.invariants.evidence import STACKED, ClusterBench, Seen
from emu.kernel.net.netns import Netns
from emu.kube.policy.dataplane import Dataplane
from emu.kube.policy.follow import Live
from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.rules import WAYS, Way
from emu.kube.policy.verdict import Packet, Verdict
from emu.rule import AnyRule
from emu.trail import Dropped, Probed, Tracked
from emu.wire.addr import ip4_text
from emu.wire.frame import SCTP, TCP, UDP, Frame

NAMES = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP"}


@runtime_checkable
class PolicyBench(ClusterBench, Protocol):
    """A cluster with policies: what enforces them, and the objects that they are about."""

    @property
    def policy(self) -> Dataplane | None: ...
    @property
    def policies(self) -> Live: ...


@invariant(
    "a packet passes a node where policies allow it, and is dropped by them only where they do not",
    "First packets of TCP, UDP and SCTP connections that a node with a policy dataplane forwarded out of it, and what its policy chains dropped. "
    "Passed over: policies that name ports, packets from before the last change of objects, a pod's way back to itself, and what a dataplane decides otherwise by the way its rules read.",
)
def policies_decide(evidence: Evidence) -> Iterator[Answer]:
    bench = evidence.bench
    if not isinstance(bench, PolicyBench) or bench.policy is None or not bench.policy.kinds:
        return
    index, since = bench.policies.index, bench.policies.changed_ns + bench.policy.settled_ns
    if not index.policies or _by_name(index):
        return
    judge = _Judge(bench, index, bench.policy)
    for packet, way in evidence.passes:
        captured, frame = way.left
        if captured.place.kind in STACKED:
            continue  # what a bridge sends has FORWARD before it yet
        first = any(each.new for each in way.facts(Tracked))
        if first and captured.time_ns >= since and way.owner in bench.nodes and frame.proto in NAMES:
            yield judge.passed(way.owner, way.entry[1] if way.entry is not None else frame, way.left, packet.frames)
    for seen in evidence.read:
        captured, frame = seen
        name = captured.place.owner
        if captured.time_ns >= since and name in bench.nodes and frame.proto in NAMES:
            if _by_policy(captured.trail, bench.policy.chains):
                yield judge.dropped(name, seen)


def _by_name(index: PolicyIndex) -> bool:
    rules = (rule for policy in index.policies for rules in policy.rules.values() for rule in rules)
    return any(ports.name for rule in rules for ports in rule.ports or ())


def _by_policy(trail: tuple[Any, ...], chains: tuple[str, ...]) -> bool:
    """Whether a rule of the dataplane dropped the frame, for another reason than that it is INVALID, or a program at a pod's interface,
    for another one than that the pod has no policies yet."""
    fact = next((each for each in trail if isinstance(each, Dropped)), None)
    by = fact.by if fact is not None else None
    if isinstance(by, AnyRule):
        return by.chain.startswith(chains) and "INVALID" not in by.spec
    return isinstance(by, Probed) and not by.default


class _Judge:
    def __init__(self, bench: PolicyBench, index: PolicyIndex, dataplane: Dataplane) -> None:
        self.bench, self.index, self.dataplane = bench, index, dataplane

    def passed(self, node: str, came: Frame, left: Seen, frames: tuple[Any, ...]) -> Answer:
        """The packet left the node, as which it had come: both sides that are pods of the node allow it."""
        captured, frame = left
        for way in WAYS:
            source, destination = came.src, frame.dst
            if self.dataplane.at_interface:
                source, destination = (came.src, came.dst) if way == "egress" else (frame.src, frame.dst)
                if way == "egress" and came.dst != frame.dst:
                    continue  # a Service, whose address no policy names
            packet = self._packet(source, destination, frame)
            allowed = self._allowed(node, packet, way) or self.dataplane.allows(self.index, packet, way)
            if way in self._sides(node, packet) and not allowed:
                text = f"{_text(packet, source, destination)} leaves {captured.interface} of {node}, though its {way} is {self._reason(packet, way)}"
                return Violation(text, frames)
        return None

    def _packet(self, source: int, destination: int, frame: Frame) -> Packet:
        return Packet(self.index.end(source), self.index.end(destination), NAMES[frame.proto], frame.dport)

    def dropped(self, node: str, seen: Seen) -> Answer:
        """The packet was dropped in a chain of policies: one side that is a pod of the node forbids it."""
        captured, frame = seen
        packet = self._packet(frame.src, frame.dst, frame)
        sides = self._sides(node, packet, both=self.dataplane.both_sides)
        if packet.source is packet.destination:
            return None  # a pod that comes back to itself by a Service: the API leaves that open
        if any(self.dataplane.forbids(self.index, packet, way) for way in sides):
            return None
        if all(self._allowed(node, packet, way) for way in sides):
            reasons = ", ".join(f"{way}: {self._reason(packet, way)}" for way in sides)
            return Violation(
                f"{_text(packet, frame.src, frame.dst)} is dropped on {node} by policy, though {reasons}", (captured,)
            )
        return None

    def _sides(self, node: str, packet: Packet, *, both: bool = False) -> list[Way]:
        ends: list[tuple[Way, Any]] = [("egress", packet.source.pod), ("ingress", packet.destination.pod)]
        return [way for way, pod in ends if pod is not None and (both or pod.node == node)]

    def _allowed(self, node: str, packet: Packet, way: Way) -> bool:
        if way == "ingress" and _has(self.bench.nodes[node].net, packet.source.addr):
            return True  # the pod's own node, by whichever of its addresses
        return self._verdict(packet, way)

    def _judged(self, packet: Packet) -> Verdict:
        return self.index.judge(packet)

    def _verdict(self, packet: Packet, way: Way) -> bool:
        found = self._judged(packet)
        return found.egress.allowed if way == "egress" else found.ingress.allowed

    def _reason(self, packet: Packet, way: Way) -> str:
        found = self._judged(packet)
        return str(found.egress if way == "egress" else found.ingress)


def _has(net: Netns, addr: int) -> bool:
    return any(each.addr == addr for each in net.ipv4.addresses)


def _text(packet: Packet, source: int, destination: int) -> str:
    return f"a packet from {ip4_text(source)} to {ip4_text(destination)}:{packet.port}/{packet.protocol}"
