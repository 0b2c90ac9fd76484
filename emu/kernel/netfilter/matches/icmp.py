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
        text = option.words[0]
        named = [name for name in ICMP_TYPES if name.lower().startswith(text.lower())]
        if len(named) > 1:
            raise InputError(f"{text!r} is not one ICMP type", expected=" or ".join(named))
        if named:
            return cls(*ICMP_TYPES[named[0]], option.negated)
        kind, slash, code = text.partition("/")
        value, _last = _span(kind, "ICMP type")
        return cls(value, *(_span(code, "ICMP code") if slash else (0, 255)), option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        found = type_code(frame)
        if found is None:
            return False
        kind, code = found
        fits = self.type == ANY or (kind == self.type and self.low <= code <= self.high)
        return fits is not self.negated

    def spec(self) -> str:
        every = (self.low, self.high) == (0, 255)
        text = "any" if self.type == ANY and every else str(self.type)
        if not every:
            text += f"/{self.low}"
        return f"{'! ' if self.negated else ''}--icmp-type {text}"


def _span(text: str, what: str) -> tuple[int, int]:
    """`N` or `N:M`. Raises InputError."""
    first, colon, last = text.partition(":")
    low = number(first, what, 0, 255)
    return low, number(last, what, 0, 255) if colon else low
