"""The registry of parts by name: `@add` puts a class or function on a shelf, `load` imports every file of a folder.

The only code that walks folders, so that a new match, plugin, app or report is one file dropped
into its folder. Must not know what the parts do.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Generic, TypeVar, overload

from emu.errors import InputError

T = TypeVar("T")
D = TypeVar("D")


class Shelf(Generic[T], Mapping[str, T]):
    """The parts of one kind, by name. A part is looked for in the file that is called as it is; the folders, and folders in them, are
    imported at the first look-up of any other, and where all parts are listed; with `file` of the folders in them that module alone.
    `named`: each part that a folder has is in the file, or in `file` of the folder, of its name, so that no other is looked into for one."""

    def __init__(self, kind: str, *packages: str, file: str = "", named: bool = False) -> None:
        self.kind = kind
        self.folders = self._packages = packages
        self._file = file
        self._named = named
        self._parts: dict[str, T] = {}
        self._names: dict[int, str] = {}  # by the identity of a part

    def add(self, *names: str) -> Callable[[T], T]:
        """Decorator: register the part under each of `names`."""

        def put(part: T) -> T:
            for name in names:
                if self._parts.setdefault(name, part) is not part:
                    raise ValueError(f"two {self.kind}s are called {name!r}")
                self._names[id(part)] = name
            return part

        return put

    def load(self) -> None:
        """Import every module of the shelf's folders once."""
        packages, self._packages = self._packages, ()
        for package in packages:
            _import_all(package, self._file)

    def _find(self, name: object) -> bool:
        """Import what may have a part. Gives whether there is one."""
        if name in self._parts:
            return True
        if self._packages and isinstance(name, str):
            file = name.lower().replace("-", "_")
            for package in self._packages if file.isidentifier() and file[0] != "_" else ():
                self._import(f"{package}.{file}")
        if name not in self._parts and not self._named:
            self.load()
        return name in self._parts

    def _import(self, name: str) -> None:
        """Import a module, if there is one; of a package `file`, too."""
        spec = find_spec(name)
        if spec is None:
            return
        importlib.import_module(name)
        if self._file and spec.submodule_search_locations is not None and find_spec(f"{name}.{self._file}") is not None:
            importlib.import_module(f"{name}.{self._file}")

    def name_of(self, part: object) -> str:
        """The last name of a part; "" for one that is on no shelf of its kind. What registers itself when it is made needs no import."""
        return self._names.get(id(part), "")

    def __getitem__(self, name: str) -> T:
        if self._find(name):
            return self._parts[name]
        self.load()
        from difflib import get_close_matches

        near = get_close_matches(name, self._parts, n=1)
        raise InputError(
            f"no {self.kind} is called {name!r}",
            expected=f"{near[0]!r}?" if near else ", ".join(sorted(self._parts)),
        )

    @overload
    def get(self, name: str, /) -> T | None: ...
    @overload
    def get(self, name: str, default: T | D, /) -> T | D: ...
    def get(self, name: str, default: object = None, /) -> object:
        """The part, or the default: an unknown name is an error of `[]` alone, and no KeyError there."""
        return self._parts[name] if self._find(name) else default

    def __contains__(self, name: object) -> bool:
        return self._find(name)

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(self._parts)

    def __len__(self) -> int:
        self.load()
        return len(self._parts)


def _import_all(package: str, file: str) -> None:
    """Import a package, its modules, and those of the packages in it, or there only `file`."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        name = f"{package}.{module.name}"
        if not module.ispkg:
            importlib.import_module(name)
        elif not file:
            _import_all(name, file)
        elif find_spec(f"{name}.{file}") is not None:
            importlib.import_module(f"{name}.{file}")
