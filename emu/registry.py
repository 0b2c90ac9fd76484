"""Names to parts: `@add` puts a class or function on a shelf, `load` imports every file of a folder.

The only code that walks folders, so that a new match, plugin, app or report is one file dropped
into its folder. Must not know what the parts do.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Generic, TypeVar

from emu.errors import InputError

T = TypeVar("T")


class Shelf(Generic[T], Mapping[str, T]):
    """The parts of one kind, by name. The folder is imported at the first look."""

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._parts: dict[str, T] = {}

    def add(self, *names: str) -> Callable[[T], T]:
        """Decorator: put the part on the shelf under each of `names`."""

        def put(part: T) -> T:
            for name in names:
                if self._parts.setdefault(name, part) is not part:
                    raise ValueError(f"two {self.kind}s are called {name!r}")
            return part

        return put

    def load(self) -> None:
        """Import every module of the shelf's folder once."""
        package, self._package = self._package, None
        if package is not None:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                importlib.import_module(f"{package}.{module.name}")

    def __getitem__(self, name: str) -> T:
        self.load()
        try:
            return self._parts[name]
        except KeyError:
            near = get_close_matches(name, self._parts, n=1)
            raise InputError(
                f"no {self.kind} is called {name!r}",
                expected=f"{near[0]!r}?" if near else ", ".join(sorted(self._parts)),
            ) from None

    def __contains__(self, name: object) -> bool:
        self.load()
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(self._parts)

    def __len__(self) -> int:
        self.load()
        return len(self._parts)
