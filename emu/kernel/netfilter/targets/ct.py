"""CT --notrack and NOTRACK: connection tracking leaves this packet alone (xt_CT.c).

Zones, helpers and templates are not modelled. It stands in raw, before conntrack. Must not know the connection table.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.conn import IP_CT_UNTRACKED
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.wire.frame import Frame


class _Untrack(Target):
    __slots__ = ()
    tables = ("raw",)

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if frame.ct is None:
            frame.ctinfo = IP_CT_UNTRACKED
        return CONTINUE


@targets.add("CT")
class Ct(_Untrack):
    __slots__ = ()
    options = {"--notrack": 0}

    @classmethod
    def build(cls, given: Options, where: Where) -> Ct:
        if "--notrack" not in given:
            raise InputError("CT does nothing that is modelled", expected="--notrack")
        return cls()

    def spec(self) -> str:
        return "-j CT --notrack"


@targets.add("NOTRACK")
class Notrack(_Untrack):
    __slots__ = ()

    @classmethod
    def build(cls, given: Options, where: Where) -> Notrack:
        return cls()

    def spec(self) -> str:
        return "-j NOTRACK"
