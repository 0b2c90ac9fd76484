"""`-m tos`: the type of service byte of the IP header under a mask (xt_dscp.c).

Values by name are in dscp.py. Must not change it: the target TOS does.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches
from emu.kernel.netfilter.matches.dscp import tos_value
from emu.wire.frame import Frame


@matches.add("tos")
@dataclass(frozen=True, slots=True)
class Tos(Match):
    options = {"--tos": 1}
    value: int
    mask: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Tos:
        if "--tos" not in given:
            raise InputError("-m tos has no option", expected="--tos VALUE[/MASK]")
        return cls(*tos_value(given["--tos"].words[0]), given["--tos"].negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return (frame.tos & self.mask == self.value) is not self.negated

    def spec(self) -> str:
        return f"{'! ' if self.negated else ''}--tos 0x{self.value:02x}/0x{self.mask:02x}"
