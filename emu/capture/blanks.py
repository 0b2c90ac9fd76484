"""Values that print as blanks: words made of them are a form that is filled in for other frames.

A blank is the value that it stands for in every comparison, so that words are chosen by it, and prints as one character of
Unicode's private use. Must not know which words there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from emu.wire.addr import ip4_text

FIRST = 0xE000
_BLANK = re.compile("[\ue000-\uf8ff]")

Values = Sequence[Any]


class Number(int):
    """A number that prints as a blank."""

    blank: str

    def __str__(self) -> str:
        return self.blank

    def __format__(self, how: str) -> str:
        return self.blank


class Text(str):
    """A text that prints as a blank where it is put into another text."""

    blank: str
    __slots__ = ("blank",)

    def __str__(self) -> str:
        return self.blank

    def __format__(self, how: str) -> str:
        return self.blank


class Address(int):
    """An address whose name (`called`) and text are blanks."""

    called: Text
    text: Text


def address_text(addr: int) -> str:
    """An address as text."""
    return addr.text if isinstance(addr, Address) else ip4_text(addr)


class Blanks:
    """Gives blanks, one for each value; blank number n is for value number n of `Form.filled`."""

    def __init__(self) -> None:
        self._kinds: list[str] = []

    def _next(self, kind: str) -> str:
        self._kinds.append(kind)
        return chr(FIRST + len(self._kinds) - 1)

    def number(self, value: int) -> Number:
        made = Number(value)
        made.blank = self._next("%d")
        return made

    def text(self, value: str) -> Text:
        made = Text(value)
        made.blank = self._next("%b")
        return made

    def address(self, value: int, name: str) -> Address:
        """Two blanks: its name, and its text."""
        made = Address(value)
        made.called, made.text = self.text(name), self.text(ip4_text(value))
        return made

    def form(self, text: str) -> Form:
        """A text that these blanks are in, as a form."""
        places = [ord(each) - FIRST for each in _BLANK.findall(text)]
        return Form(
            _BLANK.sub(lambda found: self._kinds[ord(found[0]) - FIRST], text.replace("%", "%%")).encode(), places
        )


class Form:
    """A text with blanks, as UTF-8: what `%` takes, and the numbers of the values in its order."""

    __slots__ = ("_last", "_pick", "_template", "_wanted")

    def __init__(self, template: bytes, places: Sequence[int]) -> None:
        self._template = template
        self._pick: Callable[[Values], Any] | None = itemgetter(*places) if places else None
        self._wanted: Any = None
        self._last = template % () if not places else b""

    def filled(self, values: Values) -> bytes:
        """The text with these values: numbers, and texts as bytes. The same object as the time before for the same values."""
        if self._pick is None:
            return self._last
        wanted = self._pick(values)
        if wanted != self._wanted:
            self._wanted, self._last = wanted, self._template % wanted
        return self._last


def has_blanks(text: str) -> bool:
    """Are there characters in a text that blanks print as?"""
    return _BLANK.search(text) is not None
