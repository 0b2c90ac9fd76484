"""`-m statistic`: by chance, or every nth packet (xt_statistic.c).

Chance is the namespace's source "statistic", in the kernel's 31 bits. Must not share counts between rules or namespaces.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, memory, number
from emu.wire.frame import Frame

BITS = 31
ONE = 1 << BITS


def probability(text: str) -> int:
    """A probability in units of 2**-31, as iptables rounds it (lround). Raises InputError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f"{text!r} is not a probability", expected="a number from 0 to 1")
    return int(value * ONE + 0.5)


def spell_probability(value: int) -> str:
    return f"{value / ONE:.11f}"


@matches.add("statistic")
@dataclass(frozen=True, slots=True, eq=False)
class Statistic(Match):
    """`mode` random: `value` in 2**-31. `mode` nth: every `value`-th packet, the first after `packet` others.

    Compared by identity: each rule counts for itself.
    """

    options = {"--mode": 1, "--probability": 1, "--every": 1, "--packet": 1}
    not_negated = frozenset(("--mode", "--packet"))
    pure = False
    mode: str
    value: int
    packet: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Statistic:
        mode = given["--mode"].words[0] if "--mode" in given else ""
        wanted = {"random": ("--mode", "--probability"), "nth": ("--mode", "--every", "--packet")}
        if mode not in wanted:
            raise InputError(f"unknown statistic mode {mode!r}", expected="--mode random or --mode nth")
        if sorted(given) != sorted(wanted[mode]):
            raise InputError(f"-m statistic --mode {mode} has other options", expected=" ".join(wanted[mode]))
        if mode == "random":
            option = given["--probability"]
            return cls(mode, probability(option.words[0]), 0, option.negated)
        option = given["--every"]
        every = number(option.words[0], "count", 1)
        return cls(mode, every, number(given["--packet"].words[0], "packet number", 0, every - 1), option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        if self.mode == "random":
            return state.net.random("statistic").below(self.value, BITS) is not self.negated
        counter = memory(state, self._start, "nth", self)
        hit = counter[0] == self.value - 1
        counter[0] = 0 if hit else counter[0] + 1
        return hit is not self.negated

    def _start(self) -> list[int]:
        return [self.value - 1 - self.packet]

    def spec(self) -> str:
        bang = "! " if self.negated else ""
        if self.mode == "random":
            return f"--mode random {bang}--probability {spell_probability(self.value)}"
        return f"--mode nth {bang}--every {self.value} --packet {self.packet}"
