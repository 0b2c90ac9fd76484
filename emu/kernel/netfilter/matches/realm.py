"""`-m realm`: the realm of the packet's route (xt_realm.c).

No route here has one, so it is 0. What is read from a node's dumps comes without the realms of its routes: there the packet
is undecided. Must not look routes up.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError, Undecided
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, from_dumps, matches, spell_mark, value_mask
from emu.wire.frame import Frame


@matches.add("realm")
@dataclass(frozen=True, slots=True)
class Realm(Match):
    options = {"--realm": 1}
    pure = False
    undecided = "the realms of the node's routes are not known"
    value: int
    mask: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Realm:
        if "--realm" not in given:
            raise InputError("-m realm has no option", expected="--realm VALUE[/MASK]")
        if where.chain == "PREROUTING":
            raise InputError("-m realm cannot be used in PREROUTING", expected="a chain after the routing decision")
        return cls(*value_mask(given["--realm"].words[0], "realm"), given["--realm"].negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        if from_dumps(state):
            raise Undecided(f"-m realm: {self.undecided}")
        return (self.value == 0) is not self.negated

    def spec(self) -> str:
        return f"{'! ' if self.negated else ''}--realm {spell_mark(self.value, self.mask)}"
