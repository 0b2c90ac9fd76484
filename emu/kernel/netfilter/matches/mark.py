"""`-m mark`: the packet's mark under a mask (xt_mark.c).

Must not change the mark: the target of the same name does.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Test, Where, matches, spell_mark, value_mask
from emu.wire.frame import Frame


@matches.add("mark")
@dataclass(frozen=True, slots=True)
class Mark(Match):
    options = {"--mark": 1}
    value: int
    mask: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Mark:
        if "--mark" not in given:
            raise InputError("-m mark has no option", expected="--mark VALUE[/MASK]")
        return cls(*value_mask(given["--mark"].words[0], "mark"), given["--mark"].negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return (frame.mark & self.mask == self.value) is not self.negated

    def by_state(self) -> bool:
        return True

    def tests(self) -> tuple[Test, ...]:
        value, mask = self.value, self.mask
        if self.negated:
            return (lambda frame, state: frame.mark & mask != value,)
        return (lambda frame, state: frame.mark & mask == value,)

    def spec(self) -> str:
        return f"{'! ' if self.negated else ''}--mark {spell_mark(self.value, self.mask)}"
