"""Values that print as blanks: words made of them are a form that is filled in for other frames.

A blank is the value that it stands for in every comparison, so that words are chosen by it, and prints as one character of
Unicode's private use. Must not know which words there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from emu.wire import addr

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
        made.called, made.text = self.text(name), self.text(addr.ip4_text(value))
        return made

    def mac(self, value: bytes) -> Mac:
        made = Mac(value)
        made.text = self.text(addr.mac_text(value))
        return made

    def form(self, text: str) -> Form:
        """A text that these blanks are in, as a form."""
        places = [ord(each) - FIRST for each in _BLANK.findall(text)]
        between = [each.encode().replace(b"%", b"%%") for each in _BLANK.split(text)]
        return Form(between, places, [self._kinds[place].encode() for place in places])


class Form:
    """A text with blanks, as UTF-8: what stands between them, and of each blank the number of its value and what `%` takes."""

    __slots__ = ("_between", "_kinds", "_pick", "_places", "_template")

    def __init__(self, between: Sequence[bytes], places: Sequence[int], kinds: Sequence[bytes]) -> None:
        self._between, self._places, self._kinds = between, places, kinds
        self._template = b"".join(chain(*zip(between, (*kinds, b""), strict=True)))
        self._pick = _picker(places)

    def filled(self, values: Values) -> bytes:
        """The text with these values: numbers, and texts as bytes."""
        text: bytes = self._template % self._pick(values)
        return text

    def bound(self, values: Values, open_: int) -> Bound:
        """The form with its values from number `open_` on filled in."""
        parts, places = [], []
        for between, place, kind in zip(self._between, self._places, self._kinds, strict=False):
            parts.append(between)
            if place < open_:
                places.append(place)
                parts.append(kind)
            else:
                parts.append(values[place].replace(b"%", b"%%"))
        parts.append(self._between[-1])
        return Bound(b"".join(parts), places)


class Bound:
    """A form in which some values are filled in for good."""

    __slots__ = ("_last", "_pick", "_template", "_wanted")

    def __init__(self, template: bytes, places: Sequence[int]) -> None:
        self._template, self._pick = template, _picker(places)
        self._wanted: Any = None
        self._last = b""

    def filled(self, values: Values) -> bytes:
        """The text with these values. The same object as the time before for the same ones."""
        wanted = self._pick(values)
        if wanted != self._wanted:
            self._wanted, self._last = wanted, self._template % wanted
        return self._last


def _picker(places: Sequence[int]) -> Callable[[Values], Any]:
    """What gives the values at these places, as `%` takes them."""
    return itemgetter(*places) if places else lambda values: ()


def has_blanks(text: str) -> bool:
    """Are there characters in a text that blanks print as?"""
    return _BLANK.search(text) is not None
