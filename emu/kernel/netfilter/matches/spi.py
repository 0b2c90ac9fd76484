"""What the matches ah and esp share: a security parameter index in a range (RFC 4302, RFC 4303; ipt_ah.c, xt_esp.c).

No match by itself. Must not know what an index stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, HotDrop, Match, Options, Where, number, ports
from emu.wire.frame import IP_OFFSET, Frame
from emu.wire.transport import transport_bytes

_LAST = 0xFFFFFFFF


def span(given: Given) -> tuple[int, int]:
    """`N` or `N:M`, either of which may be left out of the second. Raises InputError."""
    text = given.words[0]
    first, colon, last = text.partition(":")
    low = number(first, "SPI") if first or not colon else 0
    high = (number(last, "SPI") if last else _LAST) if colon else low
    if low > high:
        raise InputError(f"{text!r} is not a range of SPIs", expected="the lower one first")
    return low, high


@dataclass(frozen=True, slots=True)
class SpiMatch(Match):
    """`protocol`, the option's name, and where the index stands in the header and how long the header is at least."""

    protocol: ClassVar[int]
    option: ClassVar[str]
    place: ClassVar[int]
    header: ClassVar[int]
    low: int
    high: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Self:
        ports.demand(cls.protocol, where)
        if cls.option not in given:
            return cls(0, _LAST, False)
        return cls(*span(given[cls.option]), given[cls.option].negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        if frame.frag & IP_OFFSET:
            return False
        data = transport_bytes(frame)
        if len(data) < self.header:
            raise HotDrop
        spi = int.from_bytes(data[self.place : self.place + 4], "big")
        return (self.low <= spi <= self.high) is not self.negated

    def spec(self) -> str:
        if (self.low, self.high) == (0, _LAST) and not self.negated:
            return ""
        text = str(self.low) if self.low == self.high else f"{self.low}:{self.high}"
        return f"{'! ' if self.negated else ''}{self.option} {text}"
