"""`-m connlabel`: bits that rules set on a connection (xt_connlabel.c). Labels are numbers: no file of names is read.

Must not know what a label means.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number
from emu.wire.frame import Frame

MAX_BIT = 127


@matches.add("connlabel")
@dataclass(frozen=True, slots=True)
class Connlabel(Match):
    """Bit `label` is set; `sets`: set it if it is not."""

    options = {"--label": 1, "--set": 0}
    not_negated = frozenset(("--set",))
    pure = False
    label: int
    negated: bool
    sets: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Connlabel:
        if "--label" not in given:
            raise InputError("-m connlabel needs a label", expected=f"--label and a number from 0 to {MAX_BIT}")
        option = given["--label"]
        return cls(number(option.words[0], "label", 0, MAX_BIT), option.negated, "--set" in given)

    def matches(self, frame: Frame, state: HookState) -> bool:
        conn = frame.ct
        if conn is None:
            return self.negated
        if self.sets:
            conn.labels |= 1 << self.label
        return bool(conn.labels >> self.label & 1) is not self.negated

    def spec(self) -> str:
        bang, ending = "! " if self.negated else "", " --set" if self.sets else ""
        return f'{bang}--label "{self.label}"{ending}'
