"""`-m ttl`: the time to live (xt_hl.c).

In FORWARD and later the TTL is already the one that leaves. Must not change it.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number
from emu.wire.frame import Frame


@matches.add("ttl")
@dataclass(frozen=True, slots=True)
class Ttl(Match):
    """`how` is eq, lt or gt."""

    options = {"--ttl-eq": 1, "--ttl-lt": 1, "--ttl-gt": 1}
    aliases = {"--ttl": "--ttl-eq"}
    not_negated = frozenset(("--ttl-lt", "--ttl-gt"))
    how: str
    value: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Ttl:
        if len(given) != 1:
            raise InputError("-m ttl needs one comparison", expected="--ttl-eq, --ttl-lt or --ttl-gt")
        option = next(iter(given.values()))
        return cls(option.name[-2:], number(option.words[0], "TTL", 0, 255), option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        ttl = frame.ttl
        if self.how == "eq":
            return (ttl == self.value) is not self.negated
        return ttl < self.value if self.how == "lt" else ttl > self.value

    def spec(self) -> str:
        return f"{'! ' if self.negated else ''}--ttl-{self.how} {self.value}"
