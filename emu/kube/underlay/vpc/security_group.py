"""Security groups: what an interface may receive and send. They are stateful: an answer to what was allowed is allowed.

A connection that a rule allows to everyone, both ways, needs no memory. Source: Amazon VPC User Guide, "Security groups",
and EC2 User Guide, "Security group connection tracking" (timeouts). An ICMP error is no answer: it needs a rule of its own.
Must not know interfaces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from emu.clock import SECOND
from emu.errors import InputError
from emu.kube.underlay.vpc.traffic import Traffic, parse_traffic
from emu.wire.addr import Prefix
from emu.wire.frame import ICMP, TCP, Frame
from emu.wire.icmp import ERRORS

TCP_NS, UDP_STREAM_NS, UDP_NS = 432000 * SECOND, 180 * SECOND, 30 * SECOND
OTHER_NS = 30 * SECOND
EVERYONE = Prefix(0, 0)
Key = tuple[str, int, int, int, int, int]
"""An interface, the protocol, and both ends as that interface's own first."""


@dataclass(frozen=True, slots=True)
class GroupRule:
    """Allows `traffic` from (or to) `peer`: a prefix, or the interfaces of the group that is called so."""

    traffic: Traffic
    peer: Prefix | str

    def holds(self, frame: Frame, addr: int, groups: Iterable[str]) -> bool:
        """`addr` is the other end's, `groups` are its groups."""
        there = self.peer in groups if isinstance(self.peer, str) else addr in self.peer
        return there and frame in self.traffic

    def __str__(self) -> str:
        return f"{self.traffic} {'group ' if isinstance(self.peer, str) else ''}{self.peer}"


ALL = GroupRule(Traffic(), EVERYONE)


@dataclass(eq=False)
class SecurityGroup:
    """`ingress` and `egress` only allow; what no rule of any group of the interface allows is dropped."""

    name: str
    ingress: list[GroupRule] = field(default_factory=lambda: [ALL])
    egress: list[GroupRule] = field(default_factory=lambda: [ALL])


def parse_group_rule(text: str) -> GroupRule:
    """`tcp 80 0.0.0.0/0`, `all group nodes`. Raises InputError."""
    words = text.split()
    traffic = parse_traffic(words)
    if len(words) == 2 and words[0] == "group":
        return GroupRule(traffic, words[1])
    if len(words) != 1:
        raise InputError(f"{text!r} is no rule of a security group", expected="tcp 80 0.0.0.0/0, or all group NAME")
    return GroupRule(traffic, Prefix.parse(words[0], strict=True))


class Tracked:
    """The connections that security groups remember, for one VPC; each with the time at which it is forgotten."""

    def __init__(self) -> None:
        self._until: dict[Key, int] = {}

    def answers(self, key: Key, now_ns: int) -> bool:
        """Does a packet belong to a connection that was allowed in the other direction, or before?"""
        known = now_ns < self._until.get(key, 0)
        if known:
            self._until[key] = now_ns + _lasting(key[1], stream=True)
        return known

    def remember(self, key: Key, now_ns: int) -> None:
        self._until[key] = now_ns + _lasting(key[1], stream=False)


def _lasting(proto: int, *, stream: bool) -> int:
    if proto == TCP:
        return TCP_NS
    return UDP_STREAM_NS if stream else UDP_NS


def key_of(eni: str, frame: Frame, *, sent: bool) -> Key | None:
    """A packet's connection, as the interface sees it; None for an ICMP error, which belongs to none."""
    if frame.proto == ICMP:
        if frame.dport >> 8 in ERRORS:
            return None
        ports = frame.sport, frame.sport
    else:
        ports = (frame.sport, frame.dport) if sent else (frame.dport, frame.sport)
    ends = (frame.src, frame.dst) if sent else (frame.dst, frame.src)
    return eni, frame.proto, ends[0], ports[0], ends[1], ports[1]


def untracked(groups: Iterable[SecurityGroup]) -> bool:
    """Do the groups allow everything both ways, so that nothing need be remembered?"""
    found = list(groups)
    return any(ALL in group.ingress for group in found) and any(ALL in group.egress for group in found)
