"""What `ip -j` prints (or `ip` as text, see `pasted`), read value by value: one that is not as `ip` prints it is an InputError with file and path.

A null value is a value, not a missing one. Must not know what is made of the values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emu.errors import InputError
from emu.pasted.ip_text import objects
from emu.pasted.lines import blocks
from emu.wire.addr import Prefix, ip4

HIGHEST = 0xFFFFFFFF
_WORDS = ((bool, "true or false"), (int, "a number"), (float, "a number"), (str, "a text"), (list, "a list"))


@dataclass(frozen=True)
class Item:
    """One object of the list. `file` and `path` (`[3].nexthops[0]`) are for messages."""

    values: Mapping[str, Any]
    file: str | None = None
    path: str = ""

    def error(self, key: str, what: str, expected: str) -> InputError:
        """An InputError about the value of a key."""
        return InputError(what, file=self.file, path=f"{self.path}.{key}".lstrip("."), expected=expected)

    def has(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str, default: str | None = None) -> str:
        """A text; without a default it must be there."""
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"{_kind(value)} is no text" if self.has(key) else "is missing", "a text")
        return value

    def number(self, key: str, default: int = 0, highest: int = HIGHEST) -> int:
        """A number from 0, or a text of one (`0x4000`). A default of -1: it must be there."""
        value = self.values.get(key, default)
        if isinstance(value, str):
            try:
                value = int(value, 0) if value.isascii() else None
            except ValueError:
                value = None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
            what = f"{self.values[key]!r} is no number" if self.has(key) else "is missing"
            raise self.error(key, what, f"a number from 0 to {highest}")
        return value

    def address(self, key: str) -> int:
        try:
            return ip4(self.text(key))
        except InputError as error:
            raise self._placed(key, error) from None

    def prefix(self, key: str, length: str = "") -> Prefix:
        """A prefix, its length in the text or under a key of its own."""
        text = self.text(key)
        if length and self.has(length):
            text = f"{text}/{self.number(length, highest=32)}"
        try:
            return Prefix.parse(text)
        except InputError as error:
            raise self._placed(key, error) from None

    def items(self, key: str) -> list[Item]:
        """A list of objects; a key that is not there has none."""
        return _items(self.values.get(key, []), self.file, f"{self.path}.{key}")

    def words(self, key: str) -> list[str]:
        """A list of texts; a key that is not there has none."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.error(key, f"{_kind(value)} is no list of texts", "a list of texts")
        return value

    def _placed(self, key: str, error: InputError) -> InputError:
        return self.error(key, error.what, error.expected or "")


def read(text: str, file: str, kind: str) -> list[Item]:
    """The objects of what `ip -j` printed, or of what `ip` printed as text; empty ones (those of other families) are left
    out. `kind`: route, rule, addr, link or neigh. Raises InputError."""
    if not text.strip():
        return []
    if not text.lstrip().startswith(("[", "{", '"')):
        shown = json_of(text)
        if shown is None:
            return _items(objects(kind, text, file), file, "")
        text = shown
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise InputError("not JSON", file=file, line=line, expected="what `ip -j` prints") from None
    return [each for each in _items(found, file, "") if each.values]


def json_of(text: str) -> str | None:
    """The JSON behind a shell's prompt, or None."""
    for block in blocks(text):
        if block.lines and block.lines[0].text.lstrip().startswith(("[", "{")):
            return "\n".join(line.text for line in block.lines)
    return None


def _items(value: Any, file: str | None, path: str) -> list[Item]:
    if not isinstance(value, list):
        what = f"{_kind(value)} is not what `ip -j` prints"
        raise InputError(what, file=file, path=path or None, expected="a list of objects")
    for number, each in enumerate(value):
        if not isinstance(each, dict):
            what = f"{_kind(each)} is not what `ip -j` prints"
            raise InputError(what, file=file, path=f"{path}[{number}]", expected="an object")
    return [Item(each, file, f"{path}[{number}]") for number, each in enumerate(value)]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return next((word for kind, word in _WORDS if isinstance(value, kind)), "an object")
