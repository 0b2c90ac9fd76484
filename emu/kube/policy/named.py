"""Which policy a dropped packet died of: a fact for its trail, made where a policy's chain drops it.

It is worked out for dropped packets only. Must not know captures, or words.
"""

from __future__ import annotations

from collections.abc import Callable

from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.verdict import Packet
from emu.trail import AnyRule, Dropped, Forbidden, Probed
from emu.wire.frame import AF_INET, ICMP, SCTP, TCP, UDP, Frame

NAMES = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP", ICMP: "ICMP"}


class Named:
    """A listener of drops. `chains` begin the names of the chains in which policies drop: none, as long as nothing enforces any."""

    def __init__(self, index: Callable[[], PolicyIndex]) -> None:
        self._index = index
        self.chains: tuple[str, ...] = ()

    def __call__(self, frame: Frame, fact: Dropped) -> None:
        by = fact.by
        if frame.trail is None:
            return
        if isinstance(by, Probed):
            frame.trail.append(self.of(frame) or self._by_program(by, frame))
        elif isinstance(by, AnyRule) and by.chain.startswith(self.chains):
            found = self.of(frame)
            if found is not None:
                frame.trail.append(found)

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
        return Forbidden(reason.way, str(pod), str(reason))
