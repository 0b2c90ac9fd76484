"""`-m nfacct`: count into a named counter of the namespace; every packet fits (xt_nfacct.c).

The kernel wants the counter made beforehand; here the first packet makes it. Must not decide anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, memory, quote
from emu.wire.frame import Frame


@matches.add("nfacct")
@dataclass(frozen=True, slots=True)
class Nfacct(Match):
    """The counter is `[packets, bytes]` in the namespace's memory under ("nfacct", name)."""

    options = {"--nfacct-name": 1}
    not_negated = frozenset(("--nfacct-name",))
    pure = False
    name: str

    @classmethod
    def build(cls, given: Options, where: Where) -> Nfacct:
        if "--nfacct-name" not in given:
            raise InputError("-m nfacct has no option", expected="--nfacct-name NAME")
        return cls(given["--nfacct-name"].words[0])

    def matches(self, frame: Frame, state: HookState) -> bool:
        counter: list[int] = memory(state, _new, "nfacct", self.name)
        counter[0] += 1
        counter[1] += frame.tot_len
        return True

    def spec(self) -> str:
        return f"--nfacct-name {quote(self.name)}"


def _new() -> list[int]:
    return [0, 0]
