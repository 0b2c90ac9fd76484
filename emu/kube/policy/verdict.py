"""The semantics: what the policies that select a pod decide about a packet of one direction. Pure.

Admin tier, then NetworkPolicies, then Baseline, then allowed. What is asked are first packets of connections: replies of what was
allowed are allowed. Must not know how policies are found (`index.py`) or enforced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from emu.kube.policy.ends import End
from emu.kube.policy.rules import DENY, PASS, Policy, Rule, Way


class Packet(NamedTuple):
    """The first packet of a connection after DNAT: `protocol` is TCP, UDP, SCTP, or another name (ICMP), `port` the destination's."""

    source: End
    destination: End
    protocol: str
    port: int = 0


class Reason(NamedTuple):
    """Why one side lets a packet pass or not. `word` is one of `no pod here`, `itself`, `own node`, `not isolated`, `isolated` or
    `rule`. Of `isolated`, `policies` are those that select the pod; of `rule`, the one whose `rule` and peer decided."""

    way: Way
    allowed: bool
    word: str
    policies: tuple[Policy, ...] = ()
    rule: Rule | None = None
    peer: int | None = None

    @property
    def place(self) -> str:
        """`ingress[1].from[0]`, `egress[0]` for a rule without peers; "" where no rule decided."""
        if self.rule is None:
            return ""
        side = f".{'from' if self.way == 'ingress' else 'to'}[{self.peer}]" if self.peer is not None else ""
        return f"{self.way}[{self.rule.number}]{side}"

    def __str__(self) -> str:
        if self.word == "isolated":
            return f"isolated by {', '.join(_short(each) for each in self.policies)}, no rule allows"
        if self.rule is None:
            return self.word
        policy = self.policies[0]
        return f"{policy} {self.place}{f' {self.rule.action}' if policy.tier else ''}"


def _short(policy: Policy) -> str:
    return f"{policy.namespace}/{policy.name}"


class Verdict(NamedTuple):
    """Both sides' reasons; a connection needs both."""

    egress: Reason
    ingress: Reason

    @property
    def allowed(self) -> bool:
        return self.egress.allowed and self.ingress.allowed

    @property
    def deciding(self) -> Reason:
        """The reason that a packet dies of: the caller's side is asked first. Where it lives, the called side's, if a policy
        decided there."""
        if not self.egress.allowed:
            return self.egress
        return self.ingress if not self.ingress.allowed or self.ingress.policies else self.egress


class Selecting(NamedTuple):
    """The policies that select a pod and have the direction, each tier in its order."""

    admin: tuple[Policy, ...] = ()
    own: tuple[Policy, ...] = ()
    baseline: tuple[Policy, ...] = ()


class Hit(NamedTuple):
    """A rule that has the other end among its peers: the number of the first such peer, None for a rule of everyone."""

    policy: Policy
    rule: Rule
    peer: int | None


class Hits(NamedTuple):
    """The rules that have one other end among their peers, in the order in which they are asked; `isolating` are the
    NetworkPolicies that select the pod."""

    admin: tuple[Hit, ...]
    own: tuple[Hit, ...]
    baseline: tuple[Hit, ...]
    isolating: tuple[Policy, ...]


def hits_of(selecting: Selecting, other: End, way: Way) -> Hits:
    """The rules of a pod's policies that concern packets from (`ingress`) or to (`egress`) another end."""
    admin, own, baseline = (tuple(_hits(policies, other, way)) for policies in selecting)
    return Hits(admin, own, baseline, selecting.own)


def _hits(policies: Sequence[Policy], other: End, way: Way) -> Iterator[Hit]:
    for policy in policies:
        for rule in policy.rules[way]:
            if rule.peers is None:
                yield Hit(policy, rule, None)
                continue
            for number, peer in enumerate(rule.peers):
                if peer.has(other):
                    yield Hit(policy, rule, number)
                    break


def side(hits: Hits, packet: Packet, way: Way) -> Reason:
    """What a pod's policies decide about a packet: the Admin tier, then its NetworkPolicies, then the Baseline tier."""
    found = _tier(hits.admin, packet, way)
    if found is not None:
        return found
    if hits.isolating:
        for hit in hits.own:
            if has_port(hit.rule, packet):
                return Reason(way, True, "rule", (hit.policy,), hit.rule, hit.peer)
        return Reason(way, False, "isolated", hits.isolating)
    return _tier(hits.baseline, packet, way) or Reason(way, True, "not isolated")


def _tier(hits: Sequence[Hit], packet: Packet, way: Way) -> Reason | None:
    """The first rule that matches; None for none, and for one that passes."""
    for hit in hits:
        if has_port(hit.rule, packet):
            if hit.rule.action == PASS:
                return None
            return Reason(way, hit.rule.action != DENY, "rule", (hit.policy,), hit.rule, hit.peer)
    return None


def has_port(rule: Rule, packet: Packet) -> bool:
    """Whether the rule has the packet's protocol and port, by number or by the destination pod's name for it."""
    if rule.ports is None:
        return True
    return any(ports.has(packet.protocol, packet.port, packet.destination) for ports in rule.ports)
