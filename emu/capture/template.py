"""A text with blanks, and the same with some of them filled in for good. Apart from the blanks' own types, since these cannot be compiled.

Must not know what a blank stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

OFTEN = 12  # uses of a form with the same last values, from which on they are filled in for good
Values = Sequence[Any]
Pick = Callable[[Values], Any]


class Form:
    """A text with blanks, as UTF-8: what stands between them, and of each blank the number of its value."""

    __slots__ = ("_between", "_open", "_places", "pick", "template")

    def __init__(self, between: Sequence[bytes], places: Sequence[int]) -> None:
        self._between, self._places = between, places
        self.template, self.pick = _template(between), _picker(places)
        self._open: Pick | None = None

    def filled(self, values: Values) -> bytes:
        """The text with these values."""
        text: bytes = self.template % self.pick(values)
        return text

    def bound(self, values: Values, open_: int) -> tuple[bytes, Pick]:
        """The template with the values from number `open_` on filled in, and what picks those before, the same for all."""
        parts = [self._between[0]]
        for place, after in zip(self._places, self._between[1:], strict=True):
            if place < open_:
                parts.append(after)
            else:
                parts[-1] += values[place] + after
        if self._open is None:
            self._open = _picker([place for place in self._places if place < open_])
        return _template(parts), self._open


class Filled:
    """A form whose last values are `tail`: they are filled in for good where it is used often."""

    __slots__ = ("_form", "_left", "_tail", "pick", "template")

    def __init__(self, form: Form, tail: tuple[bytes, ...]) -> None:
        self._form, self._tail, self._left = form, tail, OFTEN if tail else 0
        self.template, self.pick = form.template, form.pick

    def filled(self, values: Any) -> bytes:
        """The text with these values before the last ones."""
        if self._left:
            self._left -= 1
            filling = (*values, *self._tail)
            if not self._left:
                self.template, self.pick = self._form.bound(filling, len(values))
                self._tail = ()
            values = filling
        text: bytes = self.template % self.pick(values)
        return text


def _template(between: Sequence[bytes]) -> bytes:
    return b"%b".join([each.replace(b"%", b"%%") for each in between])


def _picker(places: Sequence[int]) -> Pick:
    """What gives the values at these places, as `%` takes them."""
    return itemgetter(*places) if places else _nothing


def _nothing(values: Values) -> tuple[()]:
    return ()
