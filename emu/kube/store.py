"""The objects by key, and who watches them: the API server's part that matters here.

Objects are immutable; the store replaces them, stamps uid and resourceVersion, and tells the watchers
at once and in a fixed order. Must not know what any kind means.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Literal, TypeVar, overload
from uuid import UUID

from emu.errors import InputError
from emu.kube.api.meta import Key, LabelSelector, Object, replace, selects

O = TypeVar("O", bound=Object)
Event = Literal["ADDED", "MODIFIED", "DELETED"]
Watcher = Callable[[Event, Object, Object | None], None]


class Store:
    """`version` grows by one with every change. Lists keep the order in which objects were first added.

    `graceful(obj, grace_s)` says what an object to be deleted becomes instead, for now; None: nothing, it goes.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.version = 0
        self.graceful: Callable[[Object, int | None], Object | None] = lambda obj, grace_s: None
        self._objects: dict[str, dict[Key, Object]] = {}
        self._watchers: dict[str, list[Watcher]] = {}
        self._births: Counter[Key] = Counter()
        self._draws: Counter[str] = Counter()
        self._news: deque[tuple[Event, Object, Object | None]] = deque()
        self._telling = False

    def apply(self, obj: O) -> O:
        """What a user applies: as `put`, but what the server had filled in (status, clusterIP ...) stays."""
        obj = _placed(obj)
        old = self.find(obj.key)
        return self.put(obj if old is None or type(old) is not type(obj) else obj.inherit(old))

    def put(self, obj: O) -> O:
        """Add or replace an object as given (namespace `default` if none); returns it as stored. No change, no event."""
        obj = _placed(obj)
        key = obj.key
        if not key.name:
            raise InputError("metadata.name is missing", path=str(key))
        kind = self._objects.setdefault(key.kind, {})
        old = kind.get(key)
        if old is None:
            self._births[key] += 1
            uid = obj.metadata.uid or self._uid(key)
        else:
            uid = obj.metadata.uid or old.metadata.uid
            gone = old.metadata.deletion_timestamp
            if gone is not None and obj.metadata.deletion_timestamp is None:  # nobody takes a deletion back
                grace_s = old.metadata.deletion_grace_period_seconds
                meta = replace(obj.metadata, deletion_timestamp=gone, deletion_grace_period_seconds=grace_s)
                obj = replace(obj, metadata=meta)
            meta = replace(obj.metadata, uid=uid, resource_version=old.metadata.resource_version)
            if replace(obj, metadata=meta) == old:
                return old
        self.version += 1
        stored = replace(obj, metadata=replace(obj.metadata, uid=uid, resource_version=str(self.version)))
        kind[key] = stored
        self._tell("ADDED" if old is None else "MODIFIED", stored, old)
        return stored

    def delete(self, key: Key, grace_s: int | None = None) -> Object:
        """Take an object away; at once, unless `graceful` keeps it (never with a `grace_s` of 0). Raises InputError
        when it is not there."""
        obj = self.find(key)
        if obj is None:
            raise InputError(f"there is no {key}", expected=self._nearby(key))
        kept = None if grace_s == 0 else self.graceful(obj, grace_s)
        if kept is not None:
            return self.put(kept)
        del self._objects[key.kind][key]
        self.version += 1
        self._tell("DELETED", obj, obj)
        return obj

    def find(self, key: Key) -> Object | None:
        """The object of a key, or None."""
        return self._objects.get(key.kind, {}).get(key)

    @overload
    def get(self, kind: type[O], namespace: str, name: str) -> O | None: ...
    @overload
    def get(self, kind: str, namespace: str, name: str) -> Object | None: ...
    def get(self, kind: type[Object] | str, namespace: str, name: str) -> Object | None:
        """One object by kind (its type, or its name in any case), or None."""
        return self.find(Key(_word(kind), namespace, name))

    @overload
    def list(
        self, kind: type[O], namespace: str | None = None, selector: LabelSelector | Mapping[str, str] | None = None
    ) -> list[O]: ...
    @overload
    def list(
        self, kind: str, namespace: str | None = None, selector: LabelSelector | Mapping[str, str] | None = None
    ) -> list[Object]: ...
    def list(
        self,
        kind: type[Object] | str,
        namespace: str | None = None,
        selector: LabelSelector | Mapping[str, str] | None = None,
    ) -> Any:
        """The objects of a kind in the order of their birth, of one namespace and with certain labels if asked for."""
        found: Iterator[Object] = iter(self._objects.get(_word(kind), {}).values())
        if namespace is not None:
            found = (o for o in found if o.metadata.namespace == namespace)
        if isinstance(selector, LabelSelector):
            found = (o for o in found if selector.matches(o.metadata.labels))
        elif selector is not None:
            found = (o for o in found if selects(selector, o.metadata.labels))
        return [*found]

    def __iter__(self) -> Iterator[Object]:
        """All objects, kind by kind."""
        for kind in self._objects.values():
            yield from kind.values()

    def __len__(self) -> int:
        return sum(map(len, self._objects.values()))

    def watch(self, kind: type[Object] | str, callback: Watcher, *, existing: bool = False) -> Callable[[], None]:
        """Call `callback(event, obj, old)` on every change of a kind ("*": of all); returns what ends the watch.

        `old` is None for ADDED and the last state for DELETED. Changes made by a callback are told after
        the present one, so all watchers see the same order. `existing` tells what is there already as ADDED.
        """
        watchers = self._watchers.setdefault("*" if kind == "*" else _word(kind), [])
        watchers.append(callback)
        if existing:
            for obj in [*self] if kind == "*" else self.list(kind):
                callback("ADDED", obj, None)
        return lambda: watchers.remove(callback) if callback in watchers else None

    def gone(self, key: Key) -> bool:
        """Whether an object was here once and is no longer."""
        return key in self._births and self.find(key) is None

    def draw(self, purpose: str) -> int:
        """0, 1, 2 ... a counter of its own for each purpose (names that are never used twice)."""
        self._draws[purpose] += 1
        return self._draws[purpose] - 1

    def _tell(self, event: Event, obj: Object, old: Object | None) -> None:
        self._news.append((event, obj, old))
        if self._telling:
            return
        self._telling = True
        try:
            while self._news:
                event, obj, old = self._news.popleft()
                for callback in (*self._watchers.get(obj.kind.lower(), ()), *self._watchers.get("*", ())):
                    callback(event, obj, old)
        finally:
            self._telling = False
            self._news.clear()

    def _uid(self, key: Key) -> str:
        """A uid that depends on the key and its birth only, so that other objects do not shift it."""
        digest = sha256("\0".join((str(self.seed), *key, str(self._births[key]))).encode()).digest()
        return str(UUID(bytes=digest[:16], version=4))

    def _nearby(self, key: Key) -> str | None:
        names = [o.name for o in self.list(key.kind) if o.namespace == key.namespace]
        return "one of " + ", ".join(names[:8]) + (" ..." if len(names) > 8 else "") if names else None


def _placed(obj: O) -> O:
    if obj.metadata.namespace or not obj.namespaced:
        return obj
    return replace(obj, metadata=replace(obj.metadata, namespace="default"))


def _word(kind: type[Object] | str) -> str:
    return kind.lower() if isinstance(kind, str) else kind.__name__.lower()
