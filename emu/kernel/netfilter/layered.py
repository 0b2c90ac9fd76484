"""A mapping over that of an earlier moment: a change costs what it changes, not what is there.

Reads as the dict would that was copied and changed, in its order. What holds one never changes it, as with all rules.
Must not know what is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, filterfalse
from typing import Any, TypeVar

from emu.fork import itself

K = TypeVar("K")
V = TypeVar("V")
PART = 16  # a copy is made when more than one of so many values has changed


class Layered(Mapping[K, V]):
    """`own` has the values that changed, in the order of a dict; None: the key is gone. No value is None."""

    __slots__ = ("_base", "_count", "_own")
    __deepcopy__ = itself

    def __init__(self, base: dict[K, V], own: dict[K, V | None], count: int) -> None:
        self._base, self._own, self._count = base, own, count

    def __getitem__(self, key: K) -> V:
        value = self._own[key] if key in self._own else self._base[key]
        if value is None:
            raise KeyError(key)
        return value

    def get(self, key: K, default: Any = None) -> Any:
        value = self._own[key] if key in self._own else self._base.get(key)
        return default if value is None else value

    def __contains__(self, key: object) -> bool:
        return self._own[key] is not None if key in self._own else key in self._base

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Layered) and other._base is self._base and other._own == self._own:
            return True
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]  # compared by value, as dicts are

    def __iter__(self) -> Iterator[K]:
        own, base = self._own, self._base
        gone = {key for key, value in own.items() if value is None}
        further = (key for key, value in own.items() if value is not None and key not in base)
        return chain(filterfalse(gone.__contains__, base) if gone else base, further)

    def __len__(self) -> int:
        return self._count

    def copied(self) -> dict[K, V]:
        """The dict that it reads as."""
        return _copied(self._base, self._own)

    def changed(self, values: Mapping[K, V | None]) -> Mapping[K, V]:
        """The same with these values; None: that key goes."""
        own, base, count = dict(self._own), self._base, self._count
        for key, value in values.items():
            if value is not None and key in own and own[key] is None:
                return _copied(self, values)  # what comes again stands at the end
            count += (value is not None) - (key in self if key not in own else own[key] is not None)
            if value is None and key not in base:
                own.pop(key, None)
            else:
                own[key] = value
        return Layered(base, own, count) if len(own) * PART <= len(base) else _copied(self, values)


def changed(values: Mapping[K, V], other: Mapping[K, V | None]) -> Mapping[K, V]:
    """`values` with others in place of these, further ones at the end, and without those that are None."""
    if not other:
        return values
    if isinstance(values, Layered):
        return values.changed(other)
    if isinstance(values, dict) and len(other) * PART <= len(values):
        return Layered(values, {}, len(values)).changed(other)
    return _copied(values, other)


def copied(values: Mapping[K, V]) -> dict[K, V]:
    """The dict that it reads as, a new one."""
    return _copied(values, {})


def differing(values: Mapping[K, V], before: Mapping[K, V]) -> Iterator[V]:
    """The values that `before` does not have, the same objects, at their keys. Where both stand on one dict, what was changed on either is
    looked at alone."""
    (base, own), (other, earlier) = _layers(values), _layers(before)
    keys = dict.fromkeys((*own, *earlier)) if base is other else values
    for key in keys:
        value = values.get(key)
        if value is not None and value is not before.get(key):
            yield value


def has(values: Mapping[K, V], part: Mapping[K, V]) -> bool:
    """Whether all entries of `part`, a dict, are entries of `values`."""
    base, own = _layers(values)
    common = [key for key in own if key in part]
    if any(own[key] != part[key] for key in common):
        return False
    if common:
        part = dict(part)
        for key in common:
            del part[key]
    return part.items() <= base.items()


def _layers(values: Mapping[K, V]) -> tuple[Mapping[K, V], Mapping[K, V | None]]:
    return (values._base, values._own) if isinstance(values, Layered) else (values, {})


def _copied(values: Mapping[K, V], other: Mapping[K, V | None]) -> dict[K, V]:
    both = values.copied() if isinstance(values, Layered) else dict(values)
    for key, value in other.items():
        if value is None:
            both.pop(key, None)
        else:
            both[key] = value
    return both
