"""A call of a script as typed values: `accept(3, ..., ...) = 4`. Must not know what a call does.

Values: whole numbers, names of constants (`SOCK_STREAM`), names joined by |, texts, `...` (given by the tool), lists and structs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from emu.errors import InputError

_TOKEN = re.compile(
    r"\s*(?:(?P<dots>\.\.\.)|(?P<number>-?(?:0x[0-9a-fA-F]+|\d+))(?![\w.])|(?P<name>[A-Za-z_]\w*)|(?P<text>\"(?:\\.|[^\"\\])*\")|"
    r"(?P<mark>[()\[\]{},=|:*?+.-]))"
)


class Given:
    """`...`: the tool chooses."""

    def __repr__(self) -> str:
        return "..."


GIVEN = Given()


@dataclass(frozen=True)
class Names:
    """One constant or several joined by |."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "|".join(self.names)


@dataclass(frozen=True)
class Call:
    """A call: its name and arguments, the result (None: any), and the errno that it must fail with."""

    name: str
    arguments: tuple[object, ...]
    result: int | None
    errno: str


def parse_call(text: str) -> Call:
    """Read `NAME(ARGUMENTS) = RESULT [ERRNO (words)]`. Raises InputError."""
    tokens = _Tokens(text)
    name = tokens.take("name", "the name of a call")
    tokens.mark("(")
    arguments: list[object] = []
    while not tokens.is_mark(")"):
        arguments.append(tokens.value())
        if not tokens.is_mark(")"):
            tokens.mark(",")
    tokens.mark(")")
    tokens.mark("=")
    result: int | None = None
    if tokens.is_mark("?"):
        tokens.mark("?")
    else:
        result = int(tokens.take("number", "a result"), 0)
    errno = tokens.take("name", "an errno") if tokens.kind == "name" else ""
    return Call(name, tuple(arguments), result, errno)


class _Tokens:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.kind, self.word = "", ""
        self._next()

    def _next(self) -> None:
        found = _TOKEN.match(self.text, self.at)
        if found is None or found.lastgroup is None:
            self.kind, self.word = "", self.text[self.at :].strip()
            return
        self.at, self.kind, self.word = found.end(), found.lastgroup, found[found.lastgroup]

    def _wrong(self, expected: str) -> InputError:
        return InputError(f"cannot read {(self.word or 'the end')!r} in {self.text!r}", expected=expected)

    def take(self, kind: str, expected: str) -> str:
        if self.kind != kind:
            raise self._wrong(expected)
        word = self.word
        self._next()
        return word

    def is_mark(self, mark: str) -> bool:
        return self.kind == "mark" and self.word == mark

    def mark(self, mark: str) -> None:
        if not self.is_mark(mark):
            raise self._wrong(mark)
        self._next()

    def value(self) -> object:
        if self.kind == "dots":
            self._next()
            return GIVEN
        if self.kind == "number":
            return int(self.take("number", "a number"), 0)
        if self.kind == "text":
            return self.take("text", "a text")[1:-1]
        if self.kind == "name":
            return self._names()
        if self.is_mark("["):
            return self._list()
        if self.is_mark("{"):
            return self._struct()
        raise self._wrong("a value")

    def _names(self) -> object:
        names = [self.take("name", "a name")]
        if self.is_mark("("):  # inet_addr("..."), htons(...)
            self.mark("(")
            inner = self.value()
            self.mark(")")
            return {names[0]: inner}
        while self.is_mark("|"):
            self.mark("|")
            names.append(self.take("name", "a name"))
        return Names(tuple(names))

    def _list(self) -> list[object]:
        self.mark("[")
        found: list[object] = []
        while not self.is_mark("]"):
            found.append(self.value())
            if not self.is_mark("]"):
                self.mark(",")
        self.mark("]")
        return found

    def _struct(self) -> dict[str, object]:
        self.mark("{")
        found: dict[str, object] = {}
        while not self.is_mark("}"):
            if self.is_mark("."):
                self.mark(".")
            if self.kind == "name":
                name = self.take("name", "a field")
                if self.is_mark("("):
                    self.mark("(")
                    self.value()
                    self.mark(")")
                self._next() if self.is_mark("=") or self.is_mark(":") else self.mark("=")
                found[name] = self.value()
            else:
                found[str(len(found))] = self.value()
            if not self.is_mark("}"):
                self.mark(",")
        self.mark("}")
        return found
