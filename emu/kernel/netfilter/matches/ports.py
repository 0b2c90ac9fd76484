"""Port ranges, for the matches tcp, udp and sctp (xt_tcpudp.c, xt_sctp.c).

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
from emu.wire.transport import transport_word

OPTIONS: dict[str, int] = {"--sport": 1, "--dport": 1}
ALIASES: dict[str, str] = {"--source-port": "--sport", "--destination-port": "--dport"}


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


def parse(given: Given | None, native: bool = True) -> Ports | None:
    """`P`, `P:Q`, `:Q` or `P:`. `native`: rewritten as nf_tables' own expressions are, which leave out what every port fits
    (None). Raises InputError."""
    if given is None:
        return None
    text = given.words[0]
    first, colon, last = text.partition(":")
    low = port(first) if first or not colon else 0
    high = (port(last) if last else 0xFFFF) if colon else low
    if low > high:
        raise InputError(f"{text!r} is not a range of ports", expected="the lower port first")
    if native and (low, high) == (0, 0xFFFF) and not given.negated:
        return None
    if native and given.negated and low == 0 and 0 < high < 0xFFFF:  # iptables-nft turns this one round
        return Ports(high + 1, 0xFFFF, False)
    return Ports(low, high, given.negated)


def demand(proto: int, where: Where) -> None:
    """Raise InputError unless the rule has `-p PROTO`."""
    if where.proto != proto or where.proto_negated:
        name = PROTOCOL_NAMES[proto]
        raise InputError(f"-m {name} needs the protocol", expected=f"-p {name}")


def foreign(proto: int, where: Where, native: bool) -> bool:
    """Whether the rule is `! -p PROTO`: nf_tables' own expressions (`native`) then read the bytes at the place of the ports
    or flags in whatever other protocol comes. Raises InputError where they are not the protocol's and not `native`."""
    if native and where.proto == proto and where.proto_negated:
        return True
    demand(proto, where)
    return False


def tests(sport: Ports | None, dport: Ports | None, other: bool) -> tuple[Test, ...]:
    """The ports that were asked. `other`: see `foreign`. nf_tables reads the bytes at their place in a later fragment too,
    which has no header (nft_payload_fast_eval)."""
    given = [(ports, at) for ports, at in ((dport, 2), (sport, 0)) if ports is not None]
    return tuple(_bytes_test(ports, at) if other else _test(ports, at) for ports, at in given)


def whole(frame: Frame, state: HookState) -> bool:
    """Not a fragment after the first: what the matches ask that are no expressions of nf_tables."""
    return not frame.frag & IP_OFFSET


def _test(ports: Ports, at: int) -> Test:
    low, high, negated = ports
    late = _bytes_test(ports, at)
    if at and low == high and not negated:
        return lambda frame, state: late(frame, state) if frame.frag & IP_OFFSET else frame.dport == low
    if at:
        return lambda frame, state: (
            late(frame, state) if frame.frag & IP_OFFSET else (low <= frame.dport <= high) is not negated
        )
    return lambda frame, state: (
        late(frame, state) if frame.frag & IP_OFFSET else (low <= frame.sport <= high) is not negated
    )


def _bytes_test(ports: Ports, offset: int) -> Test:
    """Two bytes at the place of a port, whatever the protocol has there, in a later fragment too; a packet that ends before
    them does not fit."""
    low, high, negated = ports

    def test(frame: Frame, state: HookState) -> bool:
        value = transport_word(frame, offset)
        return value is not None and (low <= value <= high) is not negated

    return test


@dataclass(frozen=True, slots=True)
class PortMatch(Match):
    """A match on the two ports of one protocol, and nothing else. `other`: see `foreign`."""

    protocol: ClassVar[int]
    options = OPTIONS
    aliases = ALIASES
    sport: Ports | None
    dport: Ports | None
    other: bool = False

    @classmethod
    def build(cls, given: Options, where: Where) -> Self:
        other = foreign(cls.protocol, where, native=bool(given))
        return cls(parse(given.get("--sport")), parse(given.get("--dport")), other)

    def tests(self) -> tuple[Test, ...]:
        return tests(self.sport, self.dport, self.other) or (whole,)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return all(test(frame, state) for test in self.tests())

    def spec(self) -> str:
        return " ".join(p.spell(o) for o, p in (("--sport", self.sport), ("--dport", self.dport)) if p is not None)
