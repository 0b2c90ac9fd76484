"""`KEY=V1,V2,A..B`: a place in a scenario file and the values that it takes, one after the other.

A key is written as messages show it: `cluster.nodes`, `steps[0].tcp.to`, `sysctls["net.ipv4.ip_forward"]`; an entry of a list that has a
name is `steps.NAME`. Must not know what a scenario may hold: the scenario's own checks do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from emu.errors import InputError
from emu.kube.api.documents import Document, Path, documents, path_text
from emu.scenario.typed import nearest

Scalar = str | int | float | bool | None
FORM = "KEY=VALUE,VALUE or KEY=FIRST..LAST"
MOST = 100_000  # runs of one sweep

_KEY = re.compile(r"""(?:[^="]|"(?:[^"\\]|\\.)*")+""")
_STEP = re.compile(r"""\.?([^.\[\]"]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]""")
_VALUE = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,]*)\s*(,|$)""")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


class Axis(NamedTuple):
    """`key` is as it was written, `path` the place that it means in the scenario's first document."""

    key: str
    path: Path
    values: Sequence[Scalar]


def axes_of(words: Sequence[str], document: Document) -> tuple[Axis, ...]:
    """What each `--over` means in this document. Raises InputError."""
    axes = tuple(axis_of(word, document) for word in words)
    count = 1
    for number, axis in enumerate(axes):
        count *= len(axis.values)
        if any(axis.path == earlier.path for earlier in axes[:number]):
            raise InputError("is there twice", path=axis.key, expected="one --over a key, with all of its values")
    if count > MOST:
        raise InputError(f"--over asks for {count:,} runs", expected=f"at most {MOST:,}")
    return axes


def axis_of(word: str, document: Document) -> Axis:
    """One `--over`. Raises InputError."""
    found = _KEY.match(word)
    if found is None or word[found.end() : found.end() + 1] != "=":
        raise InputError(f'"{word}" has no values', expected=FORM)
    key, text = found[0], word[found.end() + 1 :]
    values = _values(text, key)
    written = [shown(each) for each in values]
    if len({*written}) < len(written):
        twice = next(each for number, each in enumerate(written) if each in written[:number])
        raise InputError(f"the value {twice} is there twice", path=key, expected="each value once")
    return Axis(key, path_of(key, document), values)


def shown(value: Scalar) -> str:
    """A value as YAML and JSON have it, without quotes."""
    return {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | None) else str(value)


# -- values ----------------------------------------------------------------------------------------------


def _values(text: str, key: str) -> Sequence[Scalar]:
    words = [*_words(text, key)]
    found = [_value(each, key) for each in words]
    return found[0] if len(found) == 1 else [value for each in found for value in each]


def _words(text: str, key: str) -> Iterator[str]:
    at, more = 0, True
    while more:
        found = _VALUE.match(text, at)
        word = found[1].strip() if found is not None else ""
        if found is None or not word:
            raise InputError("a value is empty", path=key, expected=f'{FORM}; "" is the empty text')
        yield word
        at, more = found.end(), bool(found[2])


def _value(word: str, key: str) -> Sequence[Scalar]:
    numbers = _RANGE.fullmatch(word)
    if numbers is not None:
        first, last = int(numbers[1]), int(numbers[2])
        if last < first:
            raise InputError(f"{word} ends before it begins", path=key, expected=f"{last}..{first}")
        if last - first >= MOST:
            raise InputError(f"{word} has {last - first + 1:,} values", path=key, expected=f"at most {MOST:,}")
        return range(first, last + 1)
    try:
        found = [each.value for each in documents(word)]
    except InputError as error:
        raise InputError(f"{word}: {error.what}", path=key, expected=f'"{word}" for a text') from None
    if len(found) > 1 or any(isinstance(each, dict | list) for each in found):
        raise InputError(f"{word} is no single value", path=key, expected="a number, a text, true, false or null")
    return found or [None]  # null is a document without a value


# -- places ----------------------------------------------------------------------------------------------


def path_of(key: str, document: Document) -> Path:
    """The place that a key means: entries of lists that have names become numbers. Raises InputError where it means none."""
    path: Path = ()
    here, rest = document.value, key
    while rest:
        step, length = _step(here, rest, path, document, key)
        path, rest = (*path, step), rest[length:]
        if isinstance(here, dict):
            here = here.get(str(step))
            here = {} if here is None else here
        else:
            here = here[int(step)]
    return path


def _step(here: Any, rest: str, path: Path, document: Document, key: str) -> tuple[str | int, int]:
    """The first step of what is left of a key, and its letters."""
    if isinstance(here, list):
        named = _named(here, rest.removeprefix("."))
        if named is not None:
            return named[0], named[1] + rest.startswith(".")
    found = _STEP.match(rest)
    if found is None:
        raise InputError(f'"{key}" is no path', expected='KEY.KEY, KEY[NUMBER], LIST.NAME or KEY["A.B"]')
    if isinstance(here, dict):
        if found[2] is not None:
            raise document.error(f"{path_text(path)} is a mapping: {rest} is no key", path, expected=_keys(here))
        return found[1] or re.sub(r"\\(.)", r"\1", found[3]), found.end()
    if not isinstance(here, list):
        raise document.error(
            f"{path_text(path)} is {shown(here)}, a single value: it has no {rest.lstrip(chr(46))}", path
        )
    if found[2] is None:
        names = [str(each["name"]) for each in here if isinstance(each, dict) and each.get("name")]
        word = found[1] or found[3]
        raise document.error(f'no entry is called "{word}"', path, expected=nearest(word, names) or _numbers(here))
    if int(found[2]) >= len(here):
        raise document.error(f"there is no {path_text(path)}[{found[2]}]", path, expected=_numbers(here))
    return int(found[2]), found.end()


def _named(entries: list[Any], rest: str) -> tuple[int, int] | None:
    """The entry whose name a text begins with, and how long that is; of several the longest name."""
    fits = [
        (len(name), -number)
        for number, each in enumerate(entries)
        if isinstance(each, dict) and isinstance(name := each.get("name"), str) and name
        if rest == name or rest.startswith((f"{name}.", f"{name}["))
    ]
    return (-max(fits)[1], max(fits)[0]) if fits else None


def _numbers(here: list[Any]) -> str:
    """What an entry without a name is called by."""
    if len(here) < 2:
        return "[0]" if here else "a list with entries"
    return f"[0] to [{len(here) - 1}]"


def _keys(here: dict[str, Any]) -> str:
    return ", ".join([*here][:16]) or "a key"


def put(value: Any, path: Path, new: Scalar) -> Any:
    """A copy of a plain value with another part at a path; mappings on the way that are not there are made."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        return [put(each, rest, new) if number == step else each for number, each in enumerate(value)]
    here = value or {}
    return {**here, step: put(here.get(step), rest, new)}
