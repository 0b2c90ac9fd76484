"""`-m cgroup`: the control group of the process that sent or receives the packet (xt_cgroup.c).

Processes and their groups are not modelled: the packet is undecided. Must not look at sockets.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError, Undecided
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number
from emu.wire.frame import Frame


@matches.add("cgroup")
@dataclass(frozen=True, slots=True)
class Cgroup(Match):
    """`group` is the number of a network class, or a path in the hierarchy."""

    options = {"--cgroup": 1, "--path": 1}
    pure = False
    undecided = "processes and their control groups are not modelled"
    group: int | str
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Cgroup:
        if len(given) != 1:
            raise InputError("-m cgroup needs one group", expected="--cgroup NUMBER or --path PATH")
        if where.chain in ("PREROUTING", "FORWARD"):
            raise InputError(f"-m cgroup cannot be used in {where.chain}", expected="INPUT, OUTPUT or POSTROUTING")
        [option] = given.values()
        word = option.words[0]
        return cls(number(word, "control group") if option.name == "--cgroup" else word, option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        raise Undecided(f"-m cgroup: {self.undecided}")

    def spec(self) -> str:
        text = f"--cgroup {self.group}" if isinstance(self.group, int) else f'--path "{self.group}"'
        return f"! {text}" if self.negated else text
