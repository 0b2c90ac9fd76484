"""`-m icmp`: type and code, by number or name (icmp_match in ip_tables.c).

Names are in names.py. Must not know what the messages mean.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number, ports
from emu.kernel.netfilter.matches.names import ICMP_TYPES
from emu.wire.frame import ICMP, Frame
from emu.wire.icmp import type_code

ANY = 0xFF


@matches.add("icmp")
@dataclass(frozen=True, slots=True)
class Icmp(Match):
    """`type` 255 is any type; codes from `low` to `high`."""

    options = {"--icmp-type": 1}
    type: int
    low: int
    high: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Icmp:
        ports.demand(ICMP, where)
        if "--icmp-type" not in given:
            raise InputError("-m icmp has no option", expected="--icmp-type TYPE[/CODE]")
        option = given["--icmp-type"]
        kind, slash, code = option.words[0].partition("/")
        if kind in ICMP_TYPES and not slash:
            return cls(*ICMP_TYPES[kind], option.negated)
        value = number(kind, "ICMP type", 0, 255)
        if slash:
            low = high = number(code, "ICMP code", 0, 255)
            return cls(value, low, high, option.negated)
        return cls(value, 0, 255, option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        found = type_code(frame)
        if found is None:
            return False
        kind, code = found
        fits = self.type == ANY or (kind == self.type and self.low <= code <= self.high)
        return fits is not self.negated

    def spec(self) -> str:
        text = "any" if self.type == ANY else str(self.type)
        if self.low == self.high:
            text += f"/{self.low}"
        return f"{'! ' if self.negated else ''}--icmp-type {text}"
