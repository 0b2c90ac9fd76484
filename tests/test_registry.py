"""A shelf of named parts: what `[]`, `get` and `in` answer for names that it has and has not."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.registry import Shelf


def test_an_unknown_name_is_an_error_of_brackets_alone() -> None:
    shelf: Shelf[int] = Shelf("number")
    shelf.add("one")(1)
    assert (shelf["one"], shelf.get("one"), shelf.get("one", 7)) == (1, 1, 1)
    assert (shelf.get("two"), shelf.get("two", 7)) == (None, 7)
    assert "two" not in shelf and list(shelf) == ["one"]
    with pytest.raises(InputError, match="no number is called 'on'"):
        shelf["on"]
