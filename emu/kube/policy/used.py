"""Which rules of policies the flows of a cluster used: counted as each flow ends, by the pure function, with the policies of that moment.

A rule is used by a flow whose first packet it decides. A policy without a rule that does is used too, where it is the one that forbids.
Must not know captures, or what enforces policies.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.rules import Policy, Rule, Way
from emu.kube.policy.verdict import Packet, Reason
from emu.trail import Forbidden

_NUMBER = re.compile(r"\[(\d+)\]")
Arrivals = Iterable[tuple[str, tuple[int, int, int, int]]]
PROTOCOLS = {"tcp": "TCP", "udp": "UDP", "ping": "ICMP"}


class Half(Protocol):
    """A translation by NAT."""

    @property
    def kind(self) -> str: ...
    @property
    def after(self) -> tuple[int, int]: ...


class Port(Protocol):
    """A device by its name."""

    @property
    def name(self) -> str: ...


class Own(Protocol):
    """An address of the client."""

    @property
    def addr(self) -> int: ...
    @property
    def device(self) -> Port: ...


class Sender(Protocol):
    """The client's namespace."""

    @property
    def addresses(self) -> Sequence[Own]: ...


class Target(Protocol):
    """A flow's target."""

    @property
    def addr(self) -> int: ...
    @property
    def port(self) -> int: ...


class Flowed(Protocol):
    """What is read of a flow that has ended."""

    @property
    def kind(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def client(self) -> Sender: ...
    @property
    def target(self) -> Target: ...
    @property
    def before(self) -> object | None: ...
    @property
    def arrivals(self) -> Arrivals: ...
    @property
    def looked_up_at(self) -> Arrivals: ...
    @property
    def translations(self) -> Iterable[Half]: ...
    @property
    def forbidden(self) -> Iterable[Forbidden]: ...


class Used(NamedTuple):
    """A rule with the number of flows that it decided; `rule` None: the policy itself, that no rule allows."""

    policy: Policy
    way: Way
    rule: Rule | None
    flows: int


class Usage:
    """`count` each flow. `rows` has every rule of every policy that decided, or that it was given to `know`, in order."""

    def __init__(self) -> None:
        self._flows: Counter[tuple[str, str, int | None]] = Counter()
        self._policies: dict[str, Policy] = {}

    def count(self, index: PolicyIndex, flow: Flowed) -> None:
        """A flow has ended."""
        for packet in _packets(index, flow):
            verdict = index.judge(packet)
            for reason in (verdict.egress, verdict.ingress) if verdict.egress.allowed else (verdict.egress,):
                self._reason(reason)
        if not flow.target.addr:  # its name could not be looked up
            for fact in dict.fromkeys(flow.forbidden):
                number = _NUMBER.search(fact.rule)
                for name in fact.policies:
                    self._flows[name, fact.way, int(number[1]) if number else None] += 1

    def know(self, policies: Sequence[Policy]) -> None:
        """These policies are there."""
        self._policies |= {str(each): each for each in policies}

    def _reason(self, reason: Reason) -> None:
        self.know(reason.policies)
        for policy in reason.policies:
            self._flows[str(policy), reason.way, reason.rule.number if reason.rule is not None else None] += 1

    def rows(self) -> Iterator[Used]:
        for name, policy in sorted(self._policies.items()):
            for way, rules in policy.rules.items():
                for rule in rules:
                    yield Used(policy, way, rule, self._flows[name, way, rule.number])
                if not policy.tier:
                    yield Used(policy, way, None, self._flows[name, way, None])


def _packets(index: PolicyIndex, flow: Flowed) -> Iterator[Packet]:
    """The first packets of a flow's connections as policies see them: one for each address and port that was reached, or else that behind
    DNAT; a look-up's question to DNS, too."""
    source = next((each.addr for each in flow.client.addresses if each.device.name != "lo"), 0)
    for name, (dst, dport, src, _) in dict.fromkeys(_without_port(flow.looked_up_at)):
        if name != flow.source:
            yield _packet(index, source, src, dst, "UDP", dport)
    protocol = PROTOCOLS.get(flow.kind)
    if protocol is None or flow.before is not None:  # a frame by hand; data of a connection that is open
        return
    reached = [each for each in dict.fromkeys(_without_port(flow.arrivals)) if each[0] != flow.source]
    for _, (dst, dport, src, _) in reached:
        yield _packet(index, source, src, dst, protocol, dport)
    if not reached and flow.target.addr:
        after = {half.kind: half.after for half in flow.translations}
        dst, dport = after.get("DNAT", (flow.target.addr, flow.target.port))
        yield _packet(index, source, after.get("SNAT", (source, 0))[0], dst, protocol, dport)


def _without_port(arrivals: Arrivals) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    return ((name, (dst, dport, src, 0)) for name, (dst, dport, src, _) in arrivals)


def _packet(index: PolicyIndex, source: int, seen: int, destination: int, protocol: str, port: int) -> Packet:
    """`seen` is the source at the receiver. Where another node than the receiver's own has put its address there, the rules see that."""
    packet = Packet(index.end(source), index.end(destination), protocol, 0 if protocol == "ICMP" else port)
    return masqueraded(index, packet, seen)


def masqueraded(index: PolicyIndex, packet: Packet, seen: int) -> Packet:
    """The packet as the rules on the receiver's node see it."""
    end, pod = index.end(seen), packet.destination.pod
    if end.node is not None and pod is not None and end.node.name != pod.node and packet.source.pod is None:
        return packet._replace(source=end)
    return packet
