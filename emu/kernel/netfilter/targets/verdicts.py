"""ACCEPT, DROP and RETURN: the verdicts that need no module.

The walk knows them by their type (see lookup.py). Must not know packets.
"""

from __future__ import annotations

from emu.kernel.netfilter.targets import Options, Target, Where, targets


@targets.add("ACCEPT")
class Accept(Target):
    __slots__ = ()

    @classmethod
    def build(cls, given: Options, where: Where) -> Accept:
        return cls()

    def spec(self) -> str:
        return "-j ACCEPT"


@targets.add("DROP")
class Drop(Target):
    __slots__ = ()

    @classmethod
    def build(cls, given: Options, where: Where) -> Drop:
        return cls()

    def spec(self) -> str:
        return "-j DROP"


@targets.add("RETURN")
class Return(Target):
    __slots__ = ()

    @classmethod
    def build(cls, given: Options, where: Where) -> Return:
        return cls()

    def spec(self) -> str:
        return "-j RETURN"
