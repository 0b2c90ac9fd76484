"""ACCEPT, DROP and RETURN: the verdicts that need no module."""

from __future__ import annotations

from emu.kernel.netfilter.hooks import Drop, HookState
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
class DropTarget(Target):
    __slots__ = ()
    extension = False

    @classmethod
    def build(cls, given: Options, where: Where) -> DropTarget:
        return cls()

    def act(self, frame: Frame, state: HookState) -> Outcome:
        return Drop("NETFILTER_DROP")

    def spec(self) -> str:
        return "-j DROP"


@targets.add("RETURN")
class ReturnTarget(Target):
    __slots__ = ()
    extension = False

    @classmethod
    def build(cls, given: Options, where: Where) -> ReturnTarget:
        return cls()

    def act(self, frame: Frame, state: HookState) -> Outcome:
        return RETURN

    def spec(self) -> str:
        return "-j RETURN"
