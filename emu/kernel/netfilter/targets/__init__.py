"""What a rule may do with a packet: one file per `-j` word, found by the registry.

A target is a frozen value. `act(frame, state)` answers with data: CONTINUE (with the next rule), None
(accept), or a verdict of hooks.py; it sends nothing. ACCEPT, DROP, RETURN, REJECT and jumps carry no code: the walk
knows them by their type. `spec` spells the target as iptables-save does. Must not know who walks the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from emu.fork import itself
from emu.kernel.netfilter.hooks import HookState, Memory, Verdict
from emu.kernel.netfilter.matches import Given, Options, Where
from emu.registry import Shelf
from emu.wire.frame import Frame

__all__ = ["CONTINUE", "Continue", "Given", "Goto", "Jump", "Options", "Outcome", "Target", "Where", "targets"]


class Continue:
    """The target is done and the next rule is matched (XT_CONTINUE)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "CONTINUE"


CONTINUE: Final = Continue()
Outcome = Verdict | Continue


class Target:
    """One target of a rule. `tables` and `chains`: where it may stand (empty: anywhere)."""

    __slots__ = ()
    __deepcopy__ = itself
    options: ClassVar[Mapping[str, int]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}
    tables: ClassVar[tuple[str, ...]] = ()
    chains: ClassVar[tuple[str, ...]] = ()
    undecided: ClassVar[str] = (
        ""  # why a packet that comes here may have no decided fate (from a node's dumps, it has none)
    )

    @classmethod
    def build(cls, given: Options, where: Where) -> Target:
        """From the options that were given. Raises InputError."""
        raise NotImplementedError

    def checkentry(self, tables: Memory) -> None:
        """Refuse, as the kernel does, a rule that a namespace cannot have, such as one about a set that is not there. Raises
        InputError."""

    def act(self, frame: Frame, state: HookState) -> Outcome:
        """What the target does with a packet, and how the walk continues."""
        raise NotImplementedError

    def spec(self) -> str:
        """`-j NAME OPTIONS`, in iptables-save's order and spelling."""
        raise NotImplementedError


class Jump(Target):
    """`-j CHAIN`: walk another chain, then come back."""

    __slots__ = ("chain",)

    def __init__(self, chain: str) -> None:
        self.chain = chain

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Jump) and other.chain == self.chain

    def __hash__(self) -> int:
        return hash(("-j", self.chain))

    def spec(self) -> str:
        return f"-j {self.chain}"

    def __repr__(self) -> str:
        return f"Jump({self.chain!r})"


class Goto(Target):
    """`-g CHAIN`: walk another chain; what it leaves open goes back to the caller of this one."""

    __slots__ = ("chain",)

    def __init__(self, chain: str) -> None:
        self.chain = chain

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Goto) and other.chain == self.chain

    def __hash__(self) -> int:
        return hash(("-g", self.chain))

    def spec(self) -> str:
        return f"-g {self.chain}"

    def __repr__(self) -> str:
        return f"Goto({self.chain!r})"


targets: Shelf[type[Target]] = Shelf("target", __name__)
DASH = "-"  # no target has it in its name
