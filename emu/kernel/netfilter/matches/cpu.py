"""`-m cpu`: the processor that handles the packet (xt_cpu.c).

Which one that is depends on the network card and the scheduler, and is not modelled: the packet is undecided. Must not
guess.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError, Undecided
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number
from emu.wire.frame import Frame


@matches.add("cpu")
@dataclass(frozen=True, slots=True)
class Cpu(Match):
    options = {"--cpu": 1}
    pure = False
    undecided = "which processor handles a packet is not modelled"
    value: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Cpu:
        if "--cpu" not in given:
            raise InputError("-m cpu has no option", expected="--cpu NUMBER")
        return cls(number(given["--cpu"].words[0], "processor"), given["--cpu"].negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        raise Undecided(f"-m cpu: {self.undecided}")

    def spec(self) -> str:
        return f"{'! ' if self.negated else ''}--cpu {self.value}"
