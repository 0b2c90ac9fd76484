"""Matches and targets of a real node's dump that are not modelled: kept as text, never passed over.

A packet that fits the rest of such a rule has no decided fate: asking the part raises Undecided, and the walk turns
that into the verdict Drop("UNDECIDED") of the rule. Must not know what the words mean.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import Undecided
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, quote
from emu.kernel.netfilter.targets import Outcome, Target
from emu.wire.frame import Frame

REASON = "UNDECIDED"  # the drop reason of a packet where a rule that is not modelled decides


@dataclass(frozen=True, slots=True)
class UnknownMatch(Match):
    """`words` are the options as the dump has them; `why` names what is not modelled."""

    pure = False
    undecided = "is not modelled"
    name: str
    words: tuple[str, ...]
    why: str

    def matches(self, frame: Frame, state: HookState) -> bool:
        raise Undecided(f"-m {self.name}: {self.why}")

    def spec(self) -> str:
        return " ".join(["-m", self.name, *map(_word, self.words)])


@dataclass(frozen=True, slots=True)
class UnknownTarget(Target):
    name: str
    words: tuple[str, ...]
    why: str

    def act(self, frame: Frame, state: HookState) -> Outcome:
        raise Undecided(f"-j {self.name}: {self.why}")

    def spec(self) -> str:
        return " ".join(["-j", self.name, *map(_word, self.words)])


def _word(text: str) -> str:
    """Options stay bare; what a shell would split is quoted."""
    return text if text and not set(text) & set(" \t\"'\\") else quote(text)
