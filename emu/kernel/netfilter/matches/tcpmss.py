"""`-m tcpmss`: the maximum segment size that a TCP segment announces (xt_tcpmss.c).

A segment without the option fits a negated question alone. Must not change it: TCPMSS does.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number, ports
from emu.wire.frame import IP_OFFSET, TCP, Frame

MSS, MSS_LENGTH = 2, 4


def option_at(frame: Frame, kind: int) -> int:
    """Where an option of the TCP header begins in the buffer; -1 if it is not there."""
    buf, l4 = frame.buf, frame.l4
    if frame.proto != TCP or frame.frag & IP_OFFSET or len(buf) < l4 + 20:
        return -1
    at, end = l4 + 20, min(l4 + (buf[l4 + 12] >> 4) * 4, len(buf))
    while at < end:
        if buf[at] == kind:
            return at
        if buf[at] < 2:
            at += 1
        elif at + 1 < end:
            at += max(buf[at + 1], 1)
        else:
            break
    return -1


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
        at = option_at(frame, MSS)
        if at < 0 or at + MSS_LENGTH > len(frame.buf) or frame.buf[at + 1] != MSS_LENGTH:
            return self.negated
        mss = frame.buf[at + 2] << 8 | frame.buf[at + 3]
        return (self.low <= mss <= self.high) is not self.negated

    def spec(self) -> str:
        text = str(self.low) if self.low == self.high else f"{self.low}:{self.high}"
        return f"{'! ' if self.negated else ''}--mss {text}"
