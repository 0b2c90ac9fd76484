"""Port ranges, as tcp, udp and sctp ask for them (xt_tcpudp.c, xt_sctp.c).

No match by itself. Must not know protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, Match, Options, Test, Where, unsigned
from emu.kernel.netfilter.matches.names import SERVICES
from emu.wire.frame import IP_OFFSET, Frame
from emu.wire.proto import PROTOCOL_NAMES

OPTIONS = {"--sport": 1, "--dport": 1}
ALIASES = {"--source-port": "--sport", "--destination-port": "--dport"}


class Ports(NamedTuple):
    """`low` to `high`, both included."""

    low: int
    high: int
    negated: bool

    def holds(self, port: int) -> bool:
        return (self.low <= port <= self.high) is not self.negated

    def spell(self, option: str) -> str:
        text = str(self.low) if self.low == self.high else f"{self.low}:{self.high}"
        return f"{'! ' if self.negated else ''}{option} {text}"


def port(text: str, read: Callable[[str], int | None] = unsigned) -> int:
    """A port by number or by name; `read` reads the number. Raises InputError."""
    if text in SERVICES:
        return SERVICES[text]
    number = read(text)
    if number is not None and number <= 0xFFFF:
        return number
    raise InputError(f"{text!r} is not a port", expected="a number from 0 to 65535, or a well-known name")


def parse(given: Given | None) -> Ports | None:
    """`P`, `P:Q`, `:Q` or `P:`; None where every port fits, as iptables-save would leave it out. Raises InputError."""
    if given is None:
        return None
    text = given.words[0]
    first, colon, last = text.partition(":")
    low = port(first) if first or not colon else 0
    high = (port(last) if last else 0xFFFF) if colon else low
    if low > high:
        raise InputError(f"{text!r} is not a range of ports", expected="the lower port first")
    if (low, high) == (0, 0xFFFF):
        if given.negated:
            raise InputError(f"the rule would never match: ! {given.name} {text}", expected="fewer ports")
        return None
    if given.negated and low == 0 and high:  # iptables-nft turns this one round
        return Ports(high + 1, 0xFFFF, False)
    return Ports(low, high, given.negated)


def demand(proto: int, where: Where) -> None:
    """Raise InputError unless the rule has `-p PROTO`."""
    if where.proto != proto or where.proto_negated:
        name = PROTOCOL_NAMES[proto]
        raise InputError(f"-m {name} needs the protocol", expected=f"-p {name}")


def tests(sport: Ports | None, dport: Ports | None) -> tuple[Test, ...]:
    """Ports of a packet that has them: never of a fragment after the first."""
    found: list[Test] = []
    if dport is not None:
        found.append(_test(dport, "dport"))
    if sport is not None:
        found.append(_test(sport, "sport"))
    return tuple(found) or (_whole,)


def _whole(frame: Frame, state: HookState) -> bool:
    return not frame.frag & IP_OFFSET


def _test(ports: Ports, field: str) -> Test:
    low, high, negated = ports
    if field == "dport" and low == high and not negated:
        return lambda frame, state: frame.dport == low and not frame.frag & IP_OFFSET
    if field == "dport":
        return lambda frame, state: (low <= frame.dport <= high) is not negated and not frame.frag & IP_OFFSET
    return lambda frame, state: (low <= frame.sport <= high) is not negated and not frame.frag & IP_OFFSET


@dataclass(frozen=True, slots=True)
class PortMatch(Match):
    """A match on the two ports of one protocol, and nothing else."""

    protocol: ClassVar[int]
    options = OPTIONS
    aliases = ALIASES
    sport: Ports | None
    dport: Ports | None

    @classmethod
    def build(cls, given: Options, where: Where) -> Self:
        demand(cls.protocol, where)
        return cls(parse(given.get("--sport")), parse(given.get("--dport")))

    def tests(self) -> tuple[Test, ...]:
        return tests(self.sport, self.dport)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return all(test(frame, state) for test in self.tests())

    def spec(self) -> str:
        return " ".join(p.spell(o) for o, p in (("--sport", self.sport), ("--dport", self.dport)) if p is not None)
