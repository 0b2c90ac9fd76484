"""`-m quota`: so many bytes, and no more (xt_quota.c). Each rule has its own in each namespace.

Must not count packets that it does not let pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, memory, number
from emu.wire.frame import Frame

MOST = 2**64 - 1


@matches.add("quota")
@dataclass(frozen=True, slots=True, eq=False)
class Quota(Match):
    """`quota` is in bytes of IP packets. Compared by identity: each rule counts for itself."""

    options = {"--quota": 1}
    pure = False
    quota: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Quota:
        if "--quota" not in given:
            raise InputError("-m quota needs a number of bytes", expected="--quota BYTES")
        option = given["--quota"]
        return cls(number(option.words[0], "number of bytes", 0, MOST), option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        left = memory(state, lambda: [self.quota], "quota", self)
        enough = left[0] >= frame.tot_len
        # a packet that is too long ends it: shorter ones do not pass afterwards
        left[0] = left[0] - frame.tot_len if enough else 0
        return enough is not self.negated

    def spec(self) -> str:
        return f"{'! ' if self.negated else ''}--quota {self.quota}"
