"""A shelf of named parts: what `[]`, `get` and `in` answer for names that it has and has not."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

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


def test_a_part_has_a_name() -> None:
    shelf: Shelf[list[int]] = Shelf("list")
    one = shelf.add("one", "first")([1])
    assert (shelf.name_of(one), shelf.name_of([1])) == ("first", "")


FOLDER = {
    "__init__": "from emu.registry import Shelf\nshelf = Shelf('part', __name__)\nasked = []",
    "first": "from folder import shelf, asked\nasked.append('first')\nshelf.add('first')(1)",
    "two_words": "from folder import shelf, asked\nasked.append('two_words')\nshelf.add('two-words', 'other')(2)",
    "empty": "from folder import asked\nasked.append('empty')",
}


@pytest.mark.parametrize(
    ("name", "part", "imported"),
    [
        ("first", 1, ["first"]),
        ("two-words", 2, ["two_words"]),
        ("other", 2, ["empty", "first", "two_words"]),
        ("empty", None, ["empty", "first", "two_words"]),
        ("__init__", None, ["empty", "first", "two_words"]),
        ("no name", None, ["empty", "first", "two_words"]),
    ],
)
def test_a_part_is_looked_for_in_the_file_of_its_name(
    name: str, part: int | None, imported: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    for file, text in FOLDER.items():
        (tmp_path / "folder" / f"{file}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    folder = importlib.import_module("folder")
    try:
        assert folder.shelf.get(name) == part
        assert sorted(folder.asked) == imported
        assert sorted(folder.shelf) == ["first", "other", "two-words"]
    finally:
        for module in [each for each in sys.modules if each.partition(".")[0] == "folder"]:
            del sys.modules[module]
