"""Values that print as blanks: words made of them are a form that is filled in for other frames.

A blank is the value that it stands for in every comparison, so that words are chosen by it, and prints as one character of
Unicode's private use. Must not know which words there are.
"""

from __future__ import annotations

import re

from emu.capture.template import Form
from emu.wire import addr

FIRST = 0xE000
_BLANK = re.compile("[\ue000-\uf8ff]")


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


class Mac(bytes):
    """A MAC whose text is a blank."""

    text: Text


def address_text(address: int) -> str:
    """An address as text."""
    return address.text if isinstance(address, Address) else addr.ip4_text(address)


def mac_text(mac: bytes) -> str:
    """A MAC as text."""
    return mac.text if isinstance(mac, Mac) else addr.mac_text(mac)


class Blanks:
    """Gives blanks, one for each value; blank number n is for value number n of `Form.filled`."""

    def __init__(self) -> None:
        self._count = 0
        self._joined: list[tuple[str, str]] = []

    def _next(self) -> str:
        self._count += 1
        return chr(FIRST + self._count - 1)

    def number(self, value: int) -> Number:
        made = Number(value)
        made.blank = self._next()
        return made

    def text(self, value: str) -> Text:
        made = Text(value)
        made.blank = self._next()
        return made

    def address(self, value: int, name: str) -> Address:
        """Two blanks: its name, and its text."""
        made = Address(value)
        made.called, made.text = self.text(name), self.text(addr.ip4_text(value))
        return made

    def mac(self, value: bytes) -> Mac:
        made = Mac(value)
        made.text = self.text(addr.mac_text(value))
        return made

    def joined(self, printed: str) -> None:
        """One blank more for what is printed of several, so that they are filled in at once."""
        self._joined.append((printed, self._next()))

    def form(self, text: str) -> Form:
        """A text that these blanks are in, as a form."""
        for printed, blank in sorted(self._joined, key=lambda each: -len(each[0])):
            text = text.replace(printed, blank)
        places = [ord(each) - FIRST for each in _BLANK.findall(text)]
        return Form([each.encode() for each in _BLANK.split(text)], places)


def has_blanks(text: str) -> bool:
    """Are there characters in a text that blanks print as?"""
    return _BLANK.search(text) is not None
