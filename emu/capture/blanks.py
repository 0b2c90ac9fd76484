"""Values that print as blanks: words made of them are a form that is filled in for other frames.

A blank is the value that it stands for in every comparison, so that words are chosen by it, and prints as one character of
Unicode's private use. Must not know which words there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from emu.wire import addr

FIRST = 0xE000
OFTEN = 12  # uses of a form with the same last values, from which on they are filled in for good
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


class Form:
    """A text with blanks, as UTF-8: what stands between them, and of each blank the number of its value."""

    __slots__ = ("_between", "_places", "pick", "template")

    def __init__(self, between: Sequence[bytes], places: Sequence[int]) -> None:
        self._between, self._places = between, places
        self.template = b"%b".join([each.replace(b"%", b"%%") for each in between])
        self.pick = _picker(places)

    def filled(self, values: Values) -> bytes:
        """The text with these values."""
        text: bytes = self.template % self.pick(values)
        return text

    def bound(self, values: Values, open_: int) -> Form:
        """The form with its values from number `open_` on filled in."""
        parts, places = [self._between[0]], []
        for place, after in zip(self._places, self._between[1:], strict=True):
            if place < open_:
                places.append(place)
                parts.append(after)
            else:
                parts[-1] += values[place] + after
        return Form(parts, places)


class Filled:
    """A form whose last values are `tail`: they are filled in for good where it is used often."""

    __slots__ = ("_form", "_left", "_tail", "body", "pick", "template", "values")

    def __init__(self, form: Form, tail: tuple[bytes, ...]) -> None:
        self._form, self._tail, self._left = form, tail, OFTEN if tail else 0
        self.template, self.pick = form.template, form.pick
        self.values: Any = None
        self.body = b""

    def filled(self, values: Any) -> bytes:
        """The text with these values before the last ones. The same object as the time before for the same ones."""
        self.values = values
        if self._left:
            self._left -= 1
            filling = (*values, *self._tail)
            if not self._left:
                self._form = self._form.bound(filling, len(values))
                self.template, self.pick = self._form.template, self._form.pick
                self._tail = ()
            values = filling
        body: bytes = self.template % self.pick(values)
        self.body = body
        return body


def _picker(places: Sequence[int]) -> Callable[[Values], Any]:
    """What gives the values at these places, as `%` takes them."""
    return itemgetter(*places) if places else lambda values: ()


def has_blanks(text: str) -> bool:
    """Are there characters in a text that blanks print as?"""
    return _BLANK.search(text) is not None
