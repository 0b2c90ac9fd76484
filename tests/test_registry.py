"""A shelf of named parts: what `[]`, `get` and `in` answer for names that it has and has not."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from emu.errors import InputError
from emu.kube.networks.network import network_options, network_underlays, networks
from emu.kube.proxy.mode import modes
from emu.registry import Shelf
from emu.scenario.steps import actions

ROOT = Path(__file__).parent.parent
NAMED = (actions, modes, network_options, network_underlays, networks)


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


def test_a_named_shelf_looks_into_the_file_of_the_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        (tmp_path / "rooms" / name).mkdir(parents=True)
        (tmp_path / "rooms" / name / "__init__.py").write_text("", encoding="utf-8")
        text = f"from rooms import shelf, asked\nasked.append({name!r})\nshelf.add({name!r})({name!r})"
        (tmp_path / "rooms" / name / "part.py").write_text(text, encoding="utf-8")
    heading = "from emu.registry import Shelf\nshelf = Shelf('part', __name__, file='part', named=True)\nasked = []"
    (tmp_path / "rooms" / "__init__.py").write_text(heading, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    rooms = importlib.import_module("rooms")
    try:
        assert "third" not in rooms.shelf and rooms.shelf.get("fourth", "none") == "none"
        assert rooms.asked == [] and rooms.shelf["second"] == "second" and rooms.asked == ["second"]
        with pytest.raises(InputError, match="no part is called 'fist'") as wrong:
            rooms.shelf["fist"]
        assert wrong.value.expected == "'first'?" and sorted(rooms.shelf) == ["first", "second"]
    finally:
        for module in [each for each in sys.modules if each.partition(".")[0] == "rooms"]:
            del sys.modules[module]


@pytest.mark.parametrize("shelf", NAMED, ids=lambda shelf: shelf.kind)
def test_each_part_of_a_named_shelf_is_in_the_file_of_its_name(shelf: Shelf[Any]) -> None:
    folder = shelf.folders[0].replace(".", "/")
    for name in shelf:
        file = f"{folder}/{name.replace('-', '_')}"
        found = [ROOT / f"{file}.py", *(ROOT / file).glob("*.py")]
        assert any(f'"{name}"' in path.read_text(encoding="utf-8") for path in found if path.is_file()), name
