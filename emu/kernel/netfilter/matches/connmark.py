"""`-m connmark`: the connection's mark under a mask (xt_connmark.c).

Nothing fits without a connection, negated or not. Must not change the mark: the target does.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, spell_mark, value_mask
from emu.wire.frame import Frame


@matches.add("connmark")
@dataclass(frozen=True, slots=True)
class Connmark(Match):
    options = {"--mark": 1}
    value: int
    mask: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Connmark:
        if "--mark" not in given:
            raise InputError("-m connmark has no option", expected="--mark VALUE[/MASK]")
        return cls(*value_mask(given["--mark"].words[0], "mark"), given["--mark"].negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        conn = frame.ct
        return conn is not None and (conn.mark & self.mask == self.value) is not self.negated

    def spec(self) -> str:
        return f"{'! ' if self.negated else ''}--mark {spell_mark(self.value, self.mask)}"
