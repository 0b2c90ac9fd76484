"""The matches of rules: one file per `-m` word, found by the registry.

A match is a frozen value. It lists the options that it reads (`options`), is built from them (`build`), answers
`matches(frame, state)` and spells itself as iptables-save does (`spec`). What a match remembers from packet to
packet (recent, limit, nth) is kept per namespace, see `memory`: rules are shared by all nodes.
Must not know chains, targets or who walks them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

from emu.errors import InputError
from emu.fork import itself
from emu.kernel.netfilter.hooks import HookState, Memory
from emu.registry import Shelf
from emu.wire.addr import decimal
from emu.wire.frame import Frame

Test = Callable[[Frame, HookState], bool]


class HotDrop(Exception):
    """The packet is too broken for the question (xt_action_param's hotdrop): the walk drops it, whatever the rule asks."""


class Given(NamedTuple):
    """One option as it was written: its name, whether `!` stood before it, and the words after it."""

    name: str
    negated: bool
    words: tuple[str, ...]

    def spell(self, text: str) -> str:
        return f"{'! ' if self.negated else ''}{self.name}{' ' + text if text else ''}"


class Where(NamedTuple):
    """What the rest of the rule has, as far as a match or a target may depend on it."""

    table: str
    chain: str
    proto: int = 0
    proto_negated: bool = False


Options = Mapping[str, Given]


class Match:
    """One match of a rule. `pure` is False where the answer draws chance or changes what is remembered."""

    __slots__ = ()
    __deepcopy__ = itself
    options: ClassVar[Mapping[str, int]] = {}  # option -> how many words follow it
    aliases: ClassVar[Mapping[str, str]] = {}
    not_negated: ClassVar[frozenset[str]] = frozenset()
    repeated: ClassVar[frozenset[str]] = frozenset()  # may stand several times; `build` gets them in their order
    pure: ClassVar[bool] = True
    # why a packet that comes here may have no decided fate (from a node's dumps, it has none)
    undecided: ClassVar[str] = ""
    sysctls: ClassVar[Mapping[str, int]] = {}  # what a rule with it sets when it is loaded

    @classmethod
    def build(cls, given: Options, where: Where) -> Match:
        """From the options that were given. Raises InputError."""
        raise NotImplementedError

    def matches(self, frame: Frame, state: HookState) -> bool:
        raise NotImplementedError

    def spec(self) -> str:
        """The options in iptables-save's order and spelling, without `-m NAME`."""
        raise NotImplementedError

    def checkentry(self, tables: Memory) -> None:
        """Refuse, as the kernel does, a rule that a namespace cannot have, such as one about a set that is not there. Raises
        InputError."""

    def late(self) -> bool:
        """Whether it may have no answer, so that it is asked after the pure ones, which may spare the question."""
        return bool(self.undecided)

    def by_state(self) -> bool:
        """Whether the answer depends on nothing but the state of the packet's connection (`ctinfo`) and its mark."""
        return False

    def tests(self) -> tuple[Test, ...]:
        """What a compiled rule calls, in order; all must hold."""
        return (self.matches,)


matches: Shelf[type[Match]] = Shelf("match", __name__)

T = TypeVar("T")


def memory(state: HookState, make: Callable[[], T], *key: Any) -> T:
    """What is stored in this namespace under `key`, made at the first call."""
    kept = state.family.tables.memory
    found = kept.get(key)
    if found is None:
        found = kept[key] = make()
    return cast(T, found)


FROM_DUMPS = "from dumps"  # the key in `Tables.memory` of a namespace that was read from a node's dumps


def from_dumps(state: HookState) -> bool:
    """Whether the namespace was read from a node's dumps: what they do not hold (a date, sockets, programs) is not known."""
    return FROM_DUMPS in state.family.tables.memory


_UNSIGNED = re.compile(r"\+?(?:0[xX](?P<hex>[0-9a-fA-F]{1,16})|(?P<octal>0[0-7]{0,22})|(?P<decimal>[1-9][0-9]{0,19}))")
_BASES = {"hex": 16, "octal": 8, "decimal": 10}


def unsigned(text: str) -> int | None:
    """A number as iptables and ipset read nearly all of theirs (strtoul with base 0): 0x16, octal 020, or 10; None for any
    other text."""
    if text.isdecimal() and text.isascii() and text[0] != "0" and len(text) <= 20:  # most are
        return int(text)
    found = _UNSIGNED.fullmatch(text)
    return None if found is None or found.lastgroup is None else int(found[found.lastgroup], _BASES[found.lastgroup])


def tens(text: str) -> int | None:
    """A number as the few read theirs that know no other base: 010 is ten, and 0x10 is none."""
    return decimal(text.removeprefix("+"))


def number(text: str, what: str, low: int = 0, high: int = 0xFFFFFFFF) -> int:
    """A number (`unsigned`) within bounds. Raises InputError."""
    value = unsigned(text)
    if value is None or not low <= value <= high:
        raise InputError(f"{text!r} is not a {what}", expected=f"a number from {low} to {high}")
    return value


def value_mask(text: str, what: str) -> tuple[int, int]:
    """`VALUE[/MASK]`, the mask all ones when it is missing. Raises InputError."""
    value, slash, mask = text.partition("/")
    return number(value, what), number(mask, what + " mask") if slash else 0xFFFFFFFF


def spell_mark(value: int, mask: int) -> str:
    return f"0x{value:x}" if mask == 0xFFFFFFFF else f"0x{value:x}/0x{mask:x}"


_PLAIN = frozenset("_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def quote(text: str) -> str:
    """As xtables_save_string does: bare if it is all letters, digits, `_` and `-`, else in double quotes."""
    if text and _PLAIN.issuperset(text):
        return text
    return '"' + "".join("\\" + c if c in "\"\\'" else c for c in text) + '"'
