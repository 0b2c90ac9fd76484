"""A document's plain value as one of our own typed parts; a mistake is reported with file, line, key and the nearest key.

Unlike Kubernetes objects, our kinds refuse keys that they do not know. Must not know which parts there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from emu.errors import InputError
from emu.kube.api.documents import Document, Path

T = TypeVar("T")

_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|(\[\.\.\.\])")
_ABSENT = re.compile(r"`(\w+)` is none of (.*)")  # what a part itself finds wrong with one of its fields
_WORDS = {"array": "a list", "object": "a mapping", "str": "a text", "int": "a whole number", "bool": "true or false"}
_WORDS |= {"float": "a number", "null": "null"}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, as an `expected`; else all of them."""
    words = sorted(known)
    near = get_close_matches(word, words, n=1, cutoff=0.55)
    if near:
        return f'"{near[0]}"?'
    return "one of " + ", ".join(words[:16]) + (" ..." if len(words) > 16 else "") if words else None


def typed(value: Any, type_: type[T], document: Document, at: Path = ()) -> T:
    """`value`, which stands at path `at` of `document`, as `type_`. Raises InputError."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise _explain(str(error), type_, value, document, at) from None


def _explain(message: str, type_: type, value: Any, document: Document, at: Path) -> InputError:
    what, _, place = message.partition(" - at ")
    path: list[str | int] = []
    here = value
    for name, index, any_key in _STEP.findall(place.strip("`").removeprefix("$")):
        if any_key:  # msgspec does not name the entry of a mapping
            step: str | int | None = _entry(message, type_, value, path, here)
        else:
            step = int(index) if index else name
        if step is None:
            break
        here = here[int(step)] if isinstance(here, list) else here.get(step) if isinstance(here, dict) else None
        path.append(step)
    whole = (*at, *path)
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    if unknown:
        key = unknown[1]
        known = {field.encode_name for part in _structs(type_, tuple(path)) for field in part.fields}
        return document.error(f'unknown key "{key}"', (*whole, key), expected=nearest(key, known))
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing:
        return document.error(f'"{missing[1]}" is missing', whole)
    if what.startswith("Invalid enum value"):
        return document.error(f"{shown(here)} is not allowed here", whole, expected=_choices(type_, tuple(path), here))
    absent = _ABSENT.fullmatch(what)
    if absent:
        name = here[absent[1]]
        return document.error(
            f"{shown(name)} is not allowed here", (*whole, absent[1]), expected=_closest(absent[2].split(), name)
        )
    wrong = re.fullmatch(r"Expected `(.*?)`(.*)", what)
    if wrong is None:
        return document.error(what, whole)
    kinds = " or ".join(dict.fromkeys(_WORDS.get(k, k) for k in wrong[1].split(" | ") if k != "null"))
    if wrong[2] and not wrong[2].startswith(", got"):
        return document.error(f"{shown(here)} is out of range", whole, expected=f"{kinds}{wrong[2]}")
    return document.error(f"{shown(here)} is not {kinds}", whole)


def _entry(message: str, type_: type, value: Any, path: list[str | int], mapping: dict[str, Any]) -> str | None:
    """The entry of the mapping at `path` that msgspec's message is about: alone there, it gives the same message."""
    for key, each in mapping.items():
        try:
            msgspec.convert(_replaced(value, path, {key: each}), type_)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return key
    return None


def _replaced(value: Any, path: list[str | int], part: Any) -> Any:
    """A copy of a plain value with another part at `path`."""
    if not path:
        return part
    step, *rest = path
    copy = value.copy()
    copy[step] = _replaced(copy[step], rest, part)
    return copy


def _parts(at: inspect.Type, path: Path) -> Iterator[inspect.Type]:
    """Every type that the part at `path` may have."""
    if isinstance(at, inspect.UnionType):
        for option in at.types:
            yield from _parts(option, path)
    elif not path:
        yield at
    elif isinstance(at, inspect.StructType):
        for field in at.fields:
            if field.encode_name == path[0]:
                yield from _parts(field.type, path[1:])
    elif isinstance(at, inspect.VarTupleType | inspect.ListType):
        yield from _parts(at.item_type, path[1:])
    elif isinstance(at, inspect.DictType):
        yield from _parts(at.value_type, path[1:])


def _structs(type_: type, path: Path) -> Iterator[inspect.StructType]:
    for part in _parts(inspect.type_info(type_), path):
        if isinstance(part, inspect.StructType):
            yield part


def _choices(type_: type, path: Path, here: Any) -> str | None:
    words = [
        str(value)
        for part in _parts(inspect.type_info(type_), path)
        if isinstance(part, inspect.LiteralType)
        for value in part.values
    ]
    return _closest(words, here)


def _closest(words: list[str], here: Any) -> str | None:
    """The allowed words as an `expected`, the nearest one first."""
    near = get_close_matches(str(here), words, n=1)
    *most, last = words or [""]
    every = f"{', '.join(most)} or {last}" if most else last
    return f'"{near[0]}"? ({every})' if near and most else every or None


def shown_type(value: Any) -> str:
    """What kind of value this is, in words."""
    if value is None:
        return "null"
    for kind, word in ((bool, "bool"), (int, "int"), (float, "float"), (str, "str"), (list, "array"), (dict, "object")):
        if isinstance(value, kind):
            return _WORDS[word]
    return type(value).__name__


def shown(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, dict | list):
        return shown_type(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + '..."'
