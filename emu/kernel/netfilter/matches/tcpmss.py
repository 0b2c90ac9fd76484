"""`-m tcpmss`: the maximum segment size that a TCP segment announces (xt_tcpmss.c).

A segment without the option fits a negated question alone. Must not change it: TCPMSS does.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number, ports
from emu.wire.frame import TCP, Frame
from emu.wire.tcp import mss_of


@matches.add("tcpmss")
@dataclass(frozen=True, slots=True)
class Tcpmss(Match):
    options = {"--mss": 1}
    low: int
    high: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Tcpmss:
        ports.demand(TCP, where)
        if "--mss" not in given:
            raise InputError("-m tcpmss has no option", expected="--mss N[:M]")
        option = given["--mss"]
        first, colon, last = option.words[0].partition(":")
        low = number(first or "0", "segment size", 0, 0xFFFF)
        high = (number(last, "segment size", low, 0xFFFF) if last else 0xFFFF) if colon else low
        return cls(low, high, option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        mss = mss_of(frame)
        if mss is None:
            return self.negated
        return (self.low <= mss <= self.high) is not self.negated

    def spec(self) -> str:
        text = str(self.low) if self.low == self.high else f"{self.low}:{self.high}"
        return f"{'! ' if self.negated else ''}--mss {text}"
