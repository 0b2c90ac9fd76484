"""A policy index that follows an agent's view of the objects, or a store: only what has changed is given to it.

Must not know an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from emu.kube.api.meta import Key, Object
from emu.kube.policy.index import KINDS, PolicyIndex


class Followed:
    """`index` has the objects that `update` was called with last."""

    def __init__(self) -> None:
        self.index = PolicyIndex()
        self._seen: dict[Key, Object] = {}

    def update(self, objects: Iterable[Object]) -> PolicyIndex:
        """Follow to these objects. Objects are frozen: one that is the same has not changed."""
        now = {obj.key: obj for obj in objects}
        for key in [key for key in self._seen if key not in now]:
            self.index.remove(key)
        for key, obj in now.items():
            if self._seen.get(key) is not obj:
                self.index.put(obj)
        self._seen = now
        return self.index


class Watched(Protocol):
    """What objects are there, and who is called when one changes: with the old one and the new one (None: there is none)."""

    def follow(self, callback: Callable[[Object | None, Object | None], None], /) -> Callable[[], None]: ...

    def list(self, kind: type[Object], /) -> list[Object]: ...


class Live:
    """The index of a running cluster. It is made when it is asked for, and follows from then on."""

    def __init__(self, objects: Watched) -> None:
        self._objects = objects
        self._index: PolicyIndex | None = None

    @property
    def index(self) -> PolicyIndex:
        if self._index is None:
            self._index = PolicyIndex(obj for kind in KINDS for obj in self._objects.list(kind))
            self._objects.follow(self._changed)
        return self._index

    def _changed(self, old: Object | None, new: Object | None) -> None:
        index = self.index
        if new is not None:
            index.put(new)
        elif old is not None and isinstance(old, KINDS):
            index.remove(old.key)
