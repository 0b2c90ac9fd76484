"""Policy rules: which table a packet's route comes from (net/ipv4/fib_rules.c, net/core/fib_rules.c). Must not know the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emu.errors import InputError
from emu.wire.addr import Prefix

ANY = Prefix(0, 0)
LOCAL_TABLE, MAIN_TABLE, DEFAULT_TABLE = 255, 254, 253
TABLE_NAMES = {LOCAL_TABLE: "local", MAIN_TABLE: "main", DEFAULT_TABLE: "default"}
FULL_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class IpRule:
    """One `ip rule`: lower `priority` first. `mark`/`mask` compare the packet's mark; `iif` "" means any, "lo" a local
    packet; `invert` is `not`."""

    priority: int
    table: int
    src: Prefix = ANY
    dst: Prefix = ANY
    mark: int = 0
    mask: int = 0
    iif: str = ""
    invert: bool = False

    @property
    def always(self) -> bool:
        """Does the rule hold for every packet?"""
        return self.src.length == self.dst.length == self.mask == 0 and not self.iif and not self.invert

    def matches(self, dst: int, src: int, mark: int, iif: str) -> bool:
        """Does the rule hold? `iif` "" is a local packet."""
        held = dst in self.dst and src in self.src and mark & self.mask == self.mark
        return (held and (not self.iif or self.iif == (iif or "lo"))) is not self.invert

    def text(self) -> str:
        """As `ip rule show` prints it."""
        words = [f"{self.priority}:", *(["not"] if self.invert else [])]
        words += ["from", _prefix_text(self.src)]
        if self.dst.length:
            words += ["to", _prefix_text(self.dst)]
        if self.mask:
            words += ["fwmark", f"{self.mark:#x}" + ("" if self.mask == FULL_MASK else f"/{self.mask:#x}")]
        if self.iif:
            words += ["iif", self.iif]
        return " ".join([*words, "lookup", TABLE_NAMES.get(self.table, str(self.table))])


def _prefix_text(prefix: Prefix) -> str:
    return str(prefix).removesuffix("/32") if prefix.length else "all"


def parse_rule(text: str, others: Sequence[IpRule]) -> IpRule:
    """A rule from `ip rule add` text: `[not] [from PREFIX] [to PREFIX] [fwmark MARK[/MASK]] [iif NAME] [priority N]
    lookup TABLE`. The default priority is one less than that of the first rule after the local table's (fib_default_rule_pref).
    Raises InputError, also for a rule that exists already."""
    words = text.split()
    invert = words[:1] == ["not"]
    if invert:
        del words[0]
    src = dst = ANY
    mark = mask = table = 0
    iif = ""
    priority: int | None = None
    while words:
        key = words.pop(0)
        if key not in (
            "from",
            "to",
            "fwmark",
            "iif",
            "dev",
            "priority",
            "preference",
            "order",
            "pref",
            "lookup",
            "table",
        ):
            raise InputError(f"rule {text!r}: cannot read {key!r}", expected="from, to, fwmark, iif, priority, lookup")
        if not words:
            raise InputError(f"rule {text!r}: {key} of what?")
        value = words.pop(0)
        if key == "from":
            src = _prefix(value)
        elif key == "to":
            dst = _prefix(value)
        elif key == "fwmark":
            word, slash, mask_word = value.partition("/")
            mark, mask = _number(word, text), _number(mask_word, text) if slash else FULL_MASK
        elif key in ("iif", "dev"):
            iif = value
        elif key in ("lookup", "table"):
            named = {name: number for number, name in TABLE_NAMES.items()}
            table = named[value] if value in named else _number(value, text)
        else:
            priority = _number(value, text)
    if not table:
        raise InputError(f"rule {text!r} has no table", expected="lookup TABLE")
    if priority is None:
        later = [rule.priority for rule in others if rule.priority]
        priority = max(min(later) - 1, 0) if later else 0
    new = IpRule(priority, table, src, dst, mark, mask, iif, invert)
    if new in others:
        raise InputError(f"rule {text!r}: File exists", expected="a rule that is not there yet")
    return new


def _prefix(word: str) -> Prefix:
    return ANY if word in ("all", "any", "default") else Prefix.parse(word)


def _number(word: str, text: str) -> int:
    try:
        return int(word, 0)
    except ValueError:
        raise InputError(f"rule {text!r}: {word!r} is not a number", expected="such as 100 or 0x4000") from None
