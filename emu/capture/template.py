"""A text with blanks, and the same with some of them filled in for good. Apart from the blanks' own types, since these cannot be compiled.

Must not know what a blank stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

OFTEN = 12  # uses of a form with the same last values, from which on they are filled in for good
Values = Sequence[Any]


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
                self._form = self._form.bound(filling, len(values))
                self.template, self.pick = self._form.template, self._form.pick
                self._tail = ()
            values = filling
        text: bytes = self.template % self.pick(values)
        return text


def _picker(places: Sequence[int]) -> Callable[[Values], Any]:
    """What gives the values at these places, as `%` takes them."""
    return itemgetter(*places) if places else _nothing


def _nothing(values: Values) -> tuple[()]:
    return ()
