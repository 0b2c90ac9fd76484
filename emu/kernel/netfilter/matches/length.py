"""`-m length`: the IP packet's total length, bytes (xt_length.c).

Must not know what fills it.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number
from emu.wire.frame import Frame


@matches.add("length")
@dataclass(frozen=True, slots=True)
class Length(Match):
    options = {"--length": 1}
    low: int
    high: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Length:
        if "--length" not in given:
            raise InputError("-m length has no option", expected="--length N[:M]")
        option = given["--length"]
        first, colon, last = option.words[0].partition(":")
        low = number(first or "0", "length", 0, 0xFFFF)
        high = (number(last, "length", low, 0xFFFF) if last else 0xFFFF) if colon else low
        return cls(low, high, option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return (self.low <= frame.tot_len <= self.high) is not self.negated

    def spec(self) -> str:
        text = str(self.low) if self.low == self.high else f"{self.low}:{self.high}"
        return f"{'! ' if self.negated else ''}--length {text}"
