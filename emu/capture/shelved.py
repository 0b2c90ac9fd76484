"""Values on disk, in a file without a name: nothing is left of it, whatever ends the process.

What many values share stays in memory once, and is written as its place in a table. Must not know what a value means.
"""

from __future__ import annotations

import io
import os
import pickle
import tempfile
from array import array
from collections.abc import Callable
from types import FunctionType
from typing import Any, BinaryIO
from weakref import finalize

from emu.capture.atomic import cannot_write
from emu.errors import InputError

Folder = str | os.PathLike[str] | None
Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


class Scratch:
    """A file without a name in `folder` (None: the system's for temporary files), made when the first byte is written. Raises InputError
    where it cannot be made or written."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.size = 0
        self._file: BinaryIO | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Scratch:
        if self._file is not None:
            raise InputError("a state that streams to disk cannot be copied", expected="a copy before it streams")
        return Scratch(self.folder)

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes at the end."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix=".emu-", suffix=".part", dir=self.folder)  # noqa: SIM115
                finalize(self, self._file.close)
            self._file.seek(self.size)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise cannot_write(error, os.fspath(self.folder or tempfile.gettempdir())) from None
        self.size += len(data)

    def read(self, begin: int, end: int) -> bytes:
        assert self._file is not None
        self._file.seek(begin)
        return self._file.read(end - begin)


class Shelved:
    """Values, each by its number. In them plain values and those of the classes `written` are written; those of the classes in `reduced` as what
    that gives, a class and its arguments; all others are shared, equal ones once."""

    def __init__(
        self,
        folder: Folder,
        written: frozenset[type] = frozenset(),
        reduced: dict[type, Callable[[Any], Reduced]] | None = None,
    ) -> None:
        self._scratch = Scratch(folder)
        self._ends = array("q", [0])
        self._written, self._reduced = written, reduced or {}
        self._shared: list[Any] = []
        self._places: dict[Any, int] = {}

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def shared(self) -> int:
        """How many values are shared in memory."""
        return len(self._shared)

    def append(self, value: Any) -> int:
        """Write a value; gives its number."""
        out = io.BytesIO()
        _Pickler(out, self._written, self._reduced, self._place).dump(value)
        self._scratch.write(out.getbuffer())
        self._ends.append(self._scratch.size)
        return len(self) - 1

    def read(self, number: int) -> Any:
        data = self._scratch.read(self._ends[number], self._ends[number + 1])
        return _Unpickler(io.BytesIO(data), self._shared.__getitem__).load()

    def _place(self, value: Any) -> int:
        key: Any = (value.__class__, value)  # True is equal to 1
        try:
            found = self._places.get(key)
        except TypeError:  # it, or something in it, has no hash
            key = id(value)
            found = self._places.get(key)
        if found is None:
            found = self._places[key] = len(self._shared)
            self._shared.append(value)
        return found


class _Pickler(pickle.Pickler):
    def __init__(
        self,
        file: io.BytesIO,
        written: frozenset[type],
        reduced: dict[type, Callable[[Any], Reduced]],
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
