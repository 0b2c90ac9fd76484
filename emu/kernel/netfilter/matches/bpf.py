"""`-m bpf`: a program looks at the packet (xt_bpf.c).

Programs are not run, neither bytecode nor pinned objects: the packet is undecided. Must not read a program's words.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError, Undecided
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches
from emu.wire.frame import Frame

_OPTIONS = ("--bytecode", "--object-pinned")


@matches.add("bpf")
@dataclass(frozen=True, slots=True)
class Bpf(Match):
    """`option` is --bytecode or --object-pinned, `text` the program or the path."""

    options = dict.fromkeys(_OPTIONS, 1)
    not_negated = frozenset(_OPTIONS)
    pure = False
    undecided = "BPF programs are not run"
    option: str
    text: str

    @classmethod
    def build(cls, given: Options, where: Where) -> Bpf:
        if len(given) != 1:
            raise InputError("-m bpf needs one program", expected="--bytecode or --object-pinned")
        [option] = given.values()
        return cls(option.name, option.words[0])

    def matches(self, frame: Frame, state: HookState) -> bool:
        raise Undecided(f"-m bpf: {self.undecided}")

    def spec(self) -> str:
        return f'{self.option} "{self.text}"' if self.option == "--bytecode" else f"{self.option} {self.text}"
