"""`-m iprange`: addresses between two, both included; none where the first is the higher (xt_iprange.c).

Must not know prefixes: `-s` and `-d` do.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, Match, Options, Where, matches
from emu.kernel.netfilter.matches.ip import octets
from emu.wire.addr import ip4_text
from emu.wire.frame import Frame

Span = tuple[int, int, bool]  # first, last, negated


def _span(given: Given | None) -> Span | None:
    if given is None:
        return None
    low, dash, high = given.words[0].partition("-")
    return octets(low), octets(high if dash else low), given.negated


@matches.add("iprange")
@dataclass(frozen=True, slots=True)
class Iprange(Match):
    options = {"--src-range": 1, "--dst-range": 1}
    src: Span | None
    dst: Span | None

    @classmethod
    def build(cls, given: Options, where: Where) -> Iprange:
        if not given:
            raise InputError("-m iprange has no option", expected="--src-range or --dst-range")
        return cls(_span(given.get("--src-range")), _span(given.get("--dst-range")))

    def matches(self, frame: Frame, state: HookState) -> bool:
        for span, addr in ((self.src, frame.src), (self.dst, frame.dst)):
            if span is not None and (span[0] <= addr <= span[1]) is span[2]:
                return False
        return True

    def spec(self) -> str:
        return " ".join(
            f"{'! ' if span[2] else ''}{option} {ip4_text(span[0])}-{ip4_text(span[1])}"
            for option, span in (("--src-range", self.src), ("--dst-range", self.dst))
            if span is not None
        )
