"""Values on disk, in a file without a name: nothing is left of it, whatever ends the process.

What many values share stays in memory once, and is written as its place in a table. Must not know what a value means.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from typing import Any, BinaryIO
from weakref import finalize

from emu.capture.atomic import cannot_write
from emu.errors import InputError

Folder = str | os.PathLike[str] | None
Reduced = tuple[Callable[..., Any], tuple[Any, ...]]  # a class, and its arguments


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
        import tempfile  # a run that holds all imports no part of this

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
        from emu.capture.pickled import dumped

        self._scratch.write(dumped(value, self._written, self._reduced, self._place))
        self._ends.append(self._scratch.size)
        return len(self) - 1

    def read(self, number: int) -> Any:
        data = self._scratch.read(self._ends[number], self._ends[number + 1])
        from emu.capture.pickled import loaded

        return loaded(data, self._shared.__getitem__)

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
