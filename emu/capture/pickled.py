"""Values as bytes, for a file of this process alone: most are written as a place in a table of values that stay in memory.

Must not know which values these are, or where the bytes lie.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any

Reduce = Callable[[Any], tuple[Callable[..., Any], tuple[Any, ...]]]


def dumped(
    value: Any, written: frozenset[type], reduced: dict[type, Reduce], place: Callable[[Any], int]
) -> memoryview:
    """The bytes of a value; the arguments are those of `Shelved`, and `place` gives the place of a shared value."""
    out = io.BytesIO()
    _Pickler(out, written, reduced, place).dump(value)
    return out.getbuffer()


def loaded(data: bytes, at: Callable[[int], Any]) -> Any:
    """The value of these bytes; `at` gives the value of a place."""
    return _Unpickler(io.BytesIO(data), at).load()


class _Pickler(pickle.Pickler):
    def __init__(
        self,
        file: io.BytesIO,
        written: frozenset[type],
        reduced: dict[type, Reduce],
        place: Callable[[Any], int],
    ) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._written, self._reduced, self._place = written, reduced, place

    def reducer_override(self, obj: Any) -> Any:
        kind = obj.__class__
        reduce = self._reduced.get(kind)
        if reduce is not None:
            return reduce(obj)
        if kind in self._written or kind is type or kind is FunctionType:
            return NotImplemented  # as pickle does
        return shared, (self._place(obj),)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, at: Callable[[int], Any]) -> None:
        super().__init__(file)
        self._at = at

    def find_class(self, module: str, name: str) -> Any:
        if name == shared.__name__ and module == shared.__module__:
            return self._at
        return super().find_class(module, name)


def shared(number: int) -> Any:
    """The name under which a place is written; the unpickler puts the table of values there."""
    raise NotImplementedError(number)
