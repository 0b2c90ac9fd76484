"""`-m set`: whether the packet is in an ipset of the namespace (xt_set.c).

The sets are the namespace's (`Tables.ipsets`); counters of elements are not modelled. Must not know set types.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError, Undecided
from emu.kernel.netfilter.hooks import HookState, Memory
from emu.kernel.netfilter.matches import Match, Options, Where, matches
from emu.wire.frame import Frame

MAX_FLAGS = 6


def flags_of(text: str) -> tuple[str, ...]:
    """`src,dst` as its words. Raises InputError."""
    words = tuple(text.split(","))
    if len(words) > MAX_FLAGS or any(word not in ("src", "dst") for word in words):
        raise InputError(f"{text!r} are not a set's flags", expected="src and dst, up to six, with commas between")
    return words


def demand(name: str, tables: Memory) -> None:
    """Raise InputError unless the namespace has the set."""
    if name not in tables.ipsets:
        raise InputError(f"there is no set {name!r}", expected=f"ipset create {name} before the rule")


@matches.add("set")
@dataclass(frozen=True, slots=True)
class Set(Match):
    """`name` of the set, `flags` src or dst for each part of its elements. `pure` is False: sets change."""

    options = {"--match-set": 2, "--return-nomatch": 0}
    not_negated = frozenset(("--return-nomatch",))
    pure = False
    name: str
    flags: tuple[str, ...]
    negated: bool
    return_nomatch: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Set:
        if "--match-set" not in given:
            raise InputError("-m set has no option", expected="--match-set NAME FLAGS")
        option = given["--match-set"]
        name, flags = option.words
        return cls(name, flags_of(flags), option.negated, "--return-nomatch" in given)

    def checkentry(self, tables: Memory) -> None:
        demand(self.name, tables)

    def matches(self, frame: Frame, state: HookState) -> bool:
        sets = state.family.tables.ipsets
        try:
            found, nomatch = sets.test(self.name, frame, self.flags, state.net.clock.now)
        except KeyError as error:
            raise Undecided(f"there is no set {error.args[0]!r}") from None
        return (nomatch if self.return_nomatch else found) is not self.negated

    def spec(self) -> str:
        bang = "! " if self.negated else ""
        return f"{bang}--match-set {self.name} {','.join(self.flags)}{' --return-nomatch' * self.return_nomatch}"
