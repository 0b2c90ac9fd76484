"""`-m u32`: numbers taken out of the packet's bytes, and what they must be (xt_u32.c).

`START & MASK >> SHIFT @ NEXT = RANGE,...`, several joined by `&&`. Places are counted from the IP header; `@` moves on by
the value so far. Must not know headers: a place that the packet does not have fits nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, unsigned
from emu.wire.frame import Frame
from emu.wire.transport import packet_bytes

MAX_PARTS = 10  # operators in a test, ranges in a test, tests in a match
_M32 = 0xFFFFFFFF
_WORD = re.compile(r"\s*(&&|<<|>>|[&@=:,]|[0-9a-zA-Z]+)")


class Check(NamedTuple):
    """The place of the first word, operators with their numbers, and ranges of which one must hold the value."""

    start: int
    steps: tuple[tuple[str, int], ...]
    ranges: tuple[tuple[int, int], ...]

    def holds(self, data: bytes) -> bool:
        value = _word(data, self.start)
        at = 0
        for operator, operand in self.steps:
            if value is None:
                return False
            match operator:
                case "&":
                    value &= operand
                case "<<":
                    value = value << operand & _M32
                case ">>":
                    value >>= operand
                case _:
                    at += value
                    value = _word(data, at + operand) if at <= _M32 else None
        return value is not None and any(low <= value <= high for low, high in self.ranges)

    def spell(self) -> str:
        spans = [f"{low:#x}" if low == high else f"{low:#x}:{high:#x}" for low, high in self.ranges]
        return f"{self.start:#x}{''.join(f'{o}{n:#x}' for o, n in self.steps)}={','.join(spans)}"


def _word(data: bytes, at: int) -> int | None:
    return int.from_bytes(data[at : at + 4], "big") if at + 4 <= len(data) else None


@matches.add("u32")
@dataclass(frozen=True, slots=True)
class U32(Match):
    """All tests must hold."""

    options = {"--u32": 1}
    checks: tuple[Check, ...]
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> U32:
        if "--u32" not in given:
            raise InputError("-m u32 has no option", expected='--u32 "START & MASK = RANGE"')
        option = given["--u32"]
        return cls(_Reader(option.words[0]).tests(), option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        data = packet_bytes(frame)
        return all(check.holds(data) for check in self.checks) is not self.negated

    def spec(self) -> str:
        return f'{"! " if self.negated else ""}--u32 "{"&&".join(check.spell() for check in self.checks)}"'


class _Reader:
    """The words of a match's text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words: list[str] = []
        at = 0
        while text[at:].strip():
            found = _WORD.match(text, at)
            if found is None:
                raise InputError(f"cannot read {text[at:]!r}", expected="numbers, & << >> @ = : , and &&")
            self.words.append(found[1])
            at = found.end()
        self.words.reverse()

    def tests(self) -> tuple[Check, ...]:
        found = [self._test()]
        while self.words:
            self._take("&&")
            found.append(self._test())
        self._few(found, "tests")
        return tuple(found)

    def _test(self) -> Check:
        start, steps = self._number(), []
        while self.words and self.words[-1] in ("&", "<<", ">>", "@"):
            operator = self.words.pop()
            operand = self._number()
            if operator in ("<<", ">>") and operand > 31:
                raise InputError(f"a shift by {operand} bits", expected="0 to 31")
            steps.append((operator, operand))
        self._take("=")
        ranges = [self._range()]
        while self.words and self.words[-1] == ",":
            self.words.pop()
            ranges.append(self._range())
        self._few(steps, "operators")
        self._few(ranges, "ranges")
        return Check(start, tuple(steps), tuple(ranges))

    def _range(self) -> tuple[int, int]:
        low = self._number()
        if self.words and self.words[-1] == ":":
            self.words.pop()
            return low, self._number()
        return low, low

    def _number(self) -> int:
        word = self.words.pop() if self.words else ""
        value = unsigned(word)
        if value is None or value > _M32:
            raise InputError(f"{word or 'the end'!r} in {self.text!r} is not a number", expected="32 bits")
        return value

    def _take(self, wanted: str) -> None:
        word = self.words.pop() if self.words else ""
        if word != wanted:
            raise InputError(f"{word or 'the end'!r} in {self.text!r}", expected=wanted)

    def _few(self, parts: list[tuple[str, int]] | list[tuple[int, int]] | list[Check], what: str) -> None:
        if len(parts) > MAX_PARTS:
            raise InputError(f"too many {what} in {self.text!r}", expected=f"at most {MAX_PARTS}")
