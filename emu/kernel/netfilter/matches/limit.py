"""`-m limit`: a token bucket (nft_limit.c, which iptables-nft uses for it).

Each rule has its own in each namespace, filled by the virtual clock. Must not draw chance.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, memory, number, tens
from emu.wire.frame import Frame

UNITS_S = {"day": 86400, "hour": 3600, "min": 60, "sec": 1}
_SPELLINGS = {"day": "day", "hour": "hour", "minute": "min", "second": "sec"}
_SCALE = 10000
_BURST = 5


@matches.add("limit")
@dataclass(frozen=True, slots=True, eq=False)
class Limit(Match):
    """`rate` packets per `unit`, `burst` at once. Compared by identity: each rule has its own bucket."""

    options = {"--limit": 1, "--limit-burst": 1}
    not_negated = frozenset(("--limit", "--limit-burst"))
    pure = False
    rate: int
    unit: str
    burst: int

    @classmethod
    def build(cls, given: Options, where: Where) -> Limit:
        text = given["--limit"].words[0] if "--limit" in given else "3/hour"
        rate, slash, unit = text.partition("/")
        units = [name for word, name in _SPELLINGS.items() if unit and word.startswith(unit.lower())]
        if slash and not units:
            raise InputError(f"bad rate {text!r}", expected="N/sec, N/min, N/hour or N/day")
        name = units[0] if slash else "sec"
        count = tens(rate) or 0
        most = UNITS_S[name] * _SCALE
        if not 1 <= count <= most:
            raise InputError(f"{rate!r} is not a rate", expected=f"a number from 1 to {most}")
        burst = number(given["--limit-burst"].words[0], "burst", 1, 10000) if "--limit-burst" in given else _BURST
        return cls(*_canonical(count, name), burst)

    def matches(self, frame: Frame, state: HookState) -> bool:
        now = state.net.clock.now
        cost = UNITS_S[self.unit] * SECOND // self.rate
        full = cost * self.burst
        bucket = memory(state, lambda: [full, now], "limit", self)
        tokens = min(full, bucket[0] + now - bucket[1])
        enough = tokens >= cost
        bucket[:] = [tokens - cost if enough else tokens, now]
        return enough

    def spec(self) -> str:
        burst = f" --limit-burst {self.burst}" if self.burst != _BURST else ""
        return f"--limit {self.rate}/{self.unit}{burst}"


def _canonical(rate: int, unit: str) -> tuple[int, str]:
    """The rate as iptables prints it (print_rate in libxt_limit.c): the largest unit that loses least."""
    period = _SCALE * UNITS_S[unit] // rate
    best = "day"
    for name, seconds in list(UNITS_S.items())[1:]:
        span = _SCALE * seconds
        if period > span or span // period < span % period:
            break
        best = name
    return _SCALE * UNITS_S[best] // period, best
