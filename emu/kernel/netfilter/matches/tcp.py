"""`-m tcp`: ports and flags (xt_tcpudp.c).

Must not know connections.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, Match, Options, Test, Where, matches, number, ports
from emu.wire.frame import TCP, Frame
from emu.wire.tcp import ACK, FIN, PSH, RST, SYN, URG, flags_of, option_at

FLAGS = {"FIN": FIN, "SYN": SYN, "RST": RST, "PSH": PSH, "ACK": ACK, "URG": URG}
_SYN_MASK = 1 | 2 | 4 | 16


def _flags(text: str) -> int:
    if text in ("ALL", "NONE"):
        return 63 if text == "ALL" else 0
    value = 0
    for word in text.split(","):
        if word not in FLAGS:
            raise InputError(f"{word!r} is not a TCP flag", expected="ALL, NONE or some of " + ",".join(FLAGS))
        value |= FLAGS[word]
    return value


def _spell_flags(value: int) -> str:
    return ",".join(name for name, bit in FLAGS.items() if value & bit) or "NONE"


@matches.add("tcp")
@dataclass(frozen=True, slots=True)
class Tcp(Match):
    """`flags` is (mask, set, negated) or None, `option` (kind, negated) or None. `other`: see `ports.foreign`."""

    options = {**ports.OPTIONS, "--tcp-flags": 2, "--syn": 0, "--tcp-option": 1}
    aliases = ports.ALIASES
    sport: ports.Ports | None
    dport: ports.Ports | None
    flags: tuple[int, int, bool] | None
    option: tuple[int, bool] | None = None
    other: bool = False

    @classmethod
    def build(cls, given: Options, where: Where) -> Tcp:
        other = ports.foreign(TCP, where, native=bool(given) and "--tcp-option" not in given)
        flags, syn = given.get("--tcp-flags"), given.get("--syn")
        if flags and syn:
            raise InputError("--syn and --tcp-flags exclude each other", expected="one of them")
        asked = given.get("--tcp-option")
        option = None if asked is None else (number(asked.words[0], "TCP option", 1, 255), asked.negated)
        sport, dport = ports.parse(given.get("--sport")), ports.parse(given.get("--dport"))
        return cls(sport, dport, _wanted(flags, syn), option, other)

    def tests(self) -> tuple[Test, ...]:
        found = ports.tests(self.sport, self.dport, self.other)
        if self.option is not None:
            kind, absent = self.option
            found = (ports.whole, *found, lambda frame, state: (option_at(frame, kind) >= 0) is not absent)
        if self.flags is None:
            return found or (ports.whole,)
        mask, wanted, negated = self.flags

        def test(frame: Frame, state: HookState) -> bool:
            flags = flags_of(frame)
            return flags >= 0 and (flags & mask == wanted) is not negated

        return (*found, test)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return all(test(frame, state) for test in self.tests())

    def spec(self) -> str:
        words = [p.spell(o) for o, p in (("--sport", self.sport), ("--dport", self.dport)) if p is not None]
        if self.option is not None:
            words.append(f"{'! ' if self.option[1] else ''}--tcp-option {self.option[0]}")
        if self.flags is not None:
            mask, wanted, negated = self.flags
            words.append(f"{'! ' if negated else ''}--tcp-flags {_spell_flags(mask)} {_spell_flags(wanted)}")
        return " ".join(words)


def _wanted(flags: Given | None, syn: Given | None) -> tuple[int, int, bool] | None:
    if syn is not None:
        return _SYN_MASK, FLAGS["SYN"], syn.negated
    if flags is not None:
        return _flags(flags.words[0]), _flags(flags.words[1]), flags.negated
    return None
