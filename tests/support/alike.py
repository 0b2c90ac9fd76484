"""Whether two states are alike: the same values in the same shape, whatever the objects' ids are.

Both are walked side by side, through attributes, slots, containers, bound methods, partials and closures; each pair of objects
once, so that what one shares, the other must share, too. Nothing of emu is asked: a table that no view shows is compared as well.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

from emu.clock import Draws

PLAIN = (int, str, bytes, float, bool, complex, type(None), range)
CONSTANT = (type, ModuleType, CodeType)
ADDRESS = 1 << 40  # an int key above it is an object's id
Skip = Callable[[str], bool]


def differences(one: object, other: object, skip: Skip = lambda path: False, most: int = 20) -> tuple[list[str], int]:
    """The places that differ, up to `most`, and how many pairs of objects were compared."""
    walk = _Walk(skip, most)
    walk.compare(one, other)
    return walk.found, len(walk.paired)


class _Walk:
    def __init__(self, skip: Skip, most: int) -> None:
        self.skip, self.most = skip, most
        self.found: list[str] = []
        self.paired: dict[int, int] = {}
        self._others: set[int] = set()
        self._alive: list[object] = []  # an id is an object's as long as that lives
        self._left: deque[tuple[str, Any, Any]] = deque()

    def compare(self, one: object, other: object) -> None:
        self._left.append(("", one, other))
        while self._left and len(self.found) < self.most:
            path, a, b = self._left.popleft()
            if not self.skip(path):
                self._pair(path, a, b)

    def _differ(self, path: str, a: object, b: object) -> None:
        self.found.append(f"{path}: {a!r:.100} / {b!r:.100}")

    def _pair(self, path: str, a: Any, b: Any) -> None:
        if type(a) is not type(b):
            self._differ(path, type(a), type(b))
        elif isinstance(a, (*PLAIN, *CONSTANT)):
            if a != b:
                self._differ(path, a, b)
        elif isinstance(a, (tuple, frozenset)):  # it never changes: who shares it makes no difference
            self._left.extend((f"{path}{step}", mine, theirs) for step, mine, theirs in self._parts(path, a, b))
        elif a is not b and self.paired.get(id(a)) != id(b):
            if id(a) in self.paired or id(b) in self._others:
                self.found.append(f"{path}: a {type(a).__name__} is shared otherwise")
                return
            self.paired[id(a)] = id(b)
            self._others.add(id(b))
            self._alive += (a, b)
            self._left.extend((f"{path}{step}", mine, theirs) for step, mine, theirs in self._parts(path, a, b))

    def _parts(self, path: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
        if isinstance(a, MethodType):
            yield from ((".__func__", a.__func__, b.__func__), (".__self__", a.__self__, b.__self__))
        elif isinstance(a, BuiltinFunctionType):
            yield from ((".__name__", a.__name__, b.__name__), (".__self__", a.__self__, b.__self__))
        elif isinstance(a, FunctionType):
            yield ".__code__", a.__code__, b.__code__
            for number, cells in enumerate(zip(a.__closure__ or (), b.__closure__ or (), strict=True)):
                yield f".cell{number}", cells[0].cell_contents, cells[1].cell_contents
        elif isinstance(a, partial):
            yield from ((".func", a.func, b.func), (".args", a.args, b.args), (".keywords", a.keywords, b.keywords))
        elif isinstance(a, random.Random):
            yield ".state", a.getstate(), b.getstate()
        elif isinstance(a, Draws):  # the next draws, whether its generator was made already
            yield from ((".next", a._own().getstate(), b._own().getstate()), (".script", a.script, b.script))
        elif isinstance(a, MappingProxyType):
            yield ".mapping", dict(a), dict(b)
        else:
            yield from self._contents(path, a, b)

    def _contents(self, path: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
        if isinstance(a, dict):
            if len(a) != len(b):
                self._differ(path, [key for key in a if key not in b][:4], [key for key in b if key not in a][:4])
                return
            for number, (mine, theirs) in enumerate(zip(a, b, strict=True)):
                if not _by_id(mine):
                    yield f".key{number}", mine, theirs
                yield f"[{mine!r:.60}]", a[mine], b[theirs]
        elif isinstance(a, (list, tuple, deque)):
            if len(a) != len(b):
                self._differ(path, a, b)
                return
            for number, (mine, theirs) in enumerate(zip(a, b, strict=True)):
                yield f"[{number}]", mine, theirs
        elif isinstance(a, (set, frozenset)):
            if len(a) != len(b) or Counter(map(_shown, a)) != Counter(map(_shown, b)):
                self._differ(path, a, b)
            return
        mine, theirs = attributes(a), attributes(b)
        if mine.keys() != theirs.keys():
            self._differ(path, sorted(mine), sorted(theirs))
            return
        for name, value in mine.items():
            yield f".{name}", value, theirs[name]


def _by_id(key: object) -> bool:
    each = key[0] if isinstance(key, tuple) and key else key
    return isinstance(each, int) and each > ADDRESS


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, (*PLAIN, tuple)) else type(value).__name__


def attributes(value: object) -> dict[str, Any]:
    """What an object holds by name."""
    kind = type(value)
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names = [slots] if isinstance(slots, str) else [*slots]
        names += [*base.__dict__.get("__mypyc_attrs__", ())]
        for name in names:
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{base.__name__.lstrip('_')}{name}"
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    found |= {name: getattr(value, name) for name in getattr(kind, "__struct_fields__", ())}
    return found | getattr(value, "__dict__", {})
