"""ACCEPT, DROP and RETURN: the verdicts that need no module.

The walk knows them by their type and never calls them (see lookup.py).
"""

from __future__ import annotations

from emu.kernel.netfilter.hooks import Drop as DropVerdict
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.targets import RETURN, Options, Outcome, Target, Where, targets
from emu.wire.frame import Frame


@targets.add("ACCEPT")
class Accept(Target):
    __slots__ = ()
    extension = False

    @classmethod
    def build(cls, given: Options, where: Where) -> Accept:
        return cls()

    def act(self, frame: Frame, state: HookState) -> Outcome:
        return None

    def spec(self) -> str:
        return "-j ACCEPT"


@targets.add("DROP")
class Drop(Target):
    __slots__ = ()
    extension = False

    @classmethod
    def build(cls, given: Options, where: Where) -> Drop:
        return cls()

    def act(self, frame: Frame, state: HookState) -> Outcome:
        return DropVerdict("NETFILTER_DROP")

    def spec(self) -> str:
        return "-j DROP"


@targets.add("RETURN")
class Return(Target):
    __slots__ = ()
    extension = False

    @classmethod
    def build(cls, given: Options, where: Where) -> Return:
        return cls()

    def act(self, frame: Frame, state: HookState) -> Outcome:
        return RETURN

    def spec(self) -> str:
        return "-j RETURN"
