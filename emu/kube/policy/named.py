"""Which policy a dropped packet died of: a fact for its trail, made where a policy's chain drops it.

It is worked out for dropped packets only. Must not know captures, or words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.verdict import Packet
from emu.rule import AnyRule
from emu.trail import Dropped, Forbidden, Probed
from emu.wire.frame import AF_INET, ICMP, SCTP, TCP, UDP, Frame

NAMES = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP", ICMP: "ICMP"}


class Dies(Protocol):
    """A flow, which gets what forbids a packet of it."""

    def forbade(self, fact: Forbidden, /) -> None: ...


class Named:
    """A listener of drops. `chains` begin the names of the chains in which policies drop: none, as long as nothing enforces any. What it
    finds is in the frame's trail, and given to the flow of the frame's number."""

    def __init__(self, index: Callable[[], PolicyIndex], flows: Mapping[int, Dies]) -> None:
        self._index, self._flows = index, flows
        self.chains: tuple[str, ...] = ()

    def __call__(self, frame: Frame, fact: Dropped) -> None:
        by = fact.by
        program = by if isinstance(by, Probed) else None
        if program is None and not (isinstance(by, AnyRule) and by.chain.startswith(self.chains)):
            return
        flow = self._flows.get(frame.flow)
        if flow is None and frame.trail is None:
            return
        found = self.of(frame)
        if found is None and program is not None:
            found = self._by_program(program, frame)
        if found is None:
            return
        if frame.trail is not None:
            frame.trail.append(found)
        if flow is not None:
            flow.forbade(found)

    def _by_program(self, by: Probed, frame: Frame) -> Forbidden:
        """Where the policies allow it, but not what a program at the pod's device knows of them."""
        pod = self._index().end(frame.src if by.way == "egress" else frame.dst)
        return Forbidden(by.way, str(pod), str(by.by))

    def of(self, frame: Frame) -> Forbidden | None:
        """What forbids a frame as it is now; None where the policies do not."""
        protocol = NAMES.get(frame.proto)
        if frame.family != AF_INET or protocol is None:
            return None
        index = self._index()
        packet = Packet(index.end(frame.src), index.end(frame.dst), protocol, frame.dport if protocol != "ICMP" else 0)
        reason = index.judge(packet).deciding
        if reason.allowed:  # a dataplane that knows no pod's own node, or itself
            reason = index.sides(packet).deciding
        if reason.allowed:
            return None
        pod = packet.source if reason.way == "egress" else packet.destination
        return Forbidden(reason.way, str(pod), str(reason), tuple(map(str, reason.policies)), reason.place)
