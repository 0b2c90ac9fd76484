"""The store: the objects by key, indexes, and watches, as in the API server.

Objects are immutable; the store replaces them, sets uid and resourceVersion, and calls the watchers
at once and in a fixed order. An index finds objects of one kind (a node's pods, an owner's dependants)
without a scan of all. Must not know what any kind means.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Generic, Literal, TypeAlias, TypeVar, overload
from uuid import UUID

from emu.errors import InputError
from emu.kube.api.meta import Key, LabelSelector, Object, replace, selects

O = TypeVar("O", bound=Object)
Event = Literal["ADDED", "MODIFIED", "DELETED"]
Watcher = Callable[[Event, Object, Object | None], None]
Follower = Callable[[Object | None, Object | None], None]
Label = tuple[str, str, str]
Objects: TypeAlias = list[Object]  # the store's own `list` hides the type
Keys: TypeAlias = list[Key]


def labels_of(obj: Object) -> Iterable[Label]:
    """Each label with the namespace, as (namespace, key, value)."""
    return [(obj.metadata.namespace, key, value) for key, value in obj.metadata.labels.items()]


class Index(Generic[O]):
    """The objects of one kind by the words that `words_of` gives for each, such as its node. The store keeps it up to date."""

    __slots__ = ("_members", "_objects", "_order", "words_of")

    def __init__(
        self, words_of: Callable[[O], Iterable[Hashable]], objects: Mapping[Key, Object], order: Mapping[Key, int]
    ) -> None:
        self.words_of = words_of
        self._objects, self._order = objects, order
        self._members: dict[Hashable, dict[Key, None]] = {}

    def of(self, word: Hashable) -> list[O]:
        """The objects that have a word, in the order of creation."""
        objects: Mapping[Key, Any] = self._objects
        return [objects[key] for key in self.keys(word)]

    def keys(self, word: Hashable) -> list[Key]:
        """Their keys, in the same order."""
        members = self._members.get(word, ())
        return sorted(members, key=self._order.__getitem__) if len(members) > 1 else [*members]

    def members(self, word: Hashable) -> Iterable[Key]:
        """Their keys, in any order."""
        return self._members.get(word, ())

    def count(self, word: Hashable) -> int:
        return len(self._members.get(word, ()))

    def __contains__(self, word: object) -> bool:
        return word in self._members

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._members)

    def note(self, key: Key, old: O | None, new: O | None) -> None:
        """An object was added, changed or deleted."""
        before = self.words_of(old) if old is not None else ()
        after = self.words_of(new) if new is not None else ()
        if before == after:
            return
        for word in before:
            members = self._members.get(word, {})
            members.pop(key, None)
            if not members:
                self._members.pop(word, None)
        for word in after:
            self._members.setdefault(word, {})[key] = None


class Store:
    """`version` grows by one with every change. Lists keep the order in which objects were first added.

    `graceful(obj, grace_s)` gives the state of an object that is deleted later (a terminating pod); None: it is removed at
    once.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.version = 0
        self.graceful: Callable[[Object, int | None], Object | None] = _at_once
        self._objects: dict[str, dict[Key, Object]] = {}
        self._kinds: dict[str, int] = {}  # in the order of their first objects
        self._order: dict[Key, int] = {}
        self._added = 0
        self._indexes: dict[str, dict[Callable[[Any], Iterable[Hashable]], Index[Any]]] = {}
        self._index_of: dict[tuple[type[Object] | str, Callable[[Any], Iterable[Hashable]]], Index[Any]] = {}
        self._followers: list[Follower] = []
        self._watchers: dict[str, list[Watcher]] = {}
        self._births: Counter[Key] = Counter()
        self._draws: Counter[str] = Counter()
        self._news: deque[tuple[Event, Object, Object | None]] = deque()
        self._notifying = False

    def apply(self, obj: O) -> O:
        """Apply a user's object: as `put`, but fields that the server has filled in (status, clusterIP ...) stay."""
        obj = _placed(obj)
        old = self.find(obj.key)
        return self.put(obj if old is None or type(old) is not type(obj) else obj.inherit(old))

    def put(self, obj: O) -> O:
        """Add or replace an object (namespace `default` if it has none); returns the stored one. No change, no event."""
        obj = _placed(obj)
        key = obj.key
        if not key.name:
            raise InputError("metadata.name is missing", path=str(key))
        kind = self._objects.setdefault(key.kind, {})
        old = kind.get(key)
        if old is obj:
            return obj
        if old is None:
            self._births[key] += 1
            self._kinds.setdefault(key.kind, len(self._kinds))
            self._added += 1
            self._order[key] = self._added
            uid = obj.metadata.uid or self._uid(key)
        else:
            uid = obj.metadata.uid or old.metadata.uid
            gone = old.metadata.deletion_timestamp
            if gone is not None and obj.metadata.deletion_timestamp is None:  # a deletion is never taken back
                grace_s = old.metadata.deletion_grace_period_seconds
                meta = replace(obj.metadata, deletion_timestamp=gone, deletion_grace_period_seconds=grace_s)
                obj = replace(obj, metadata=meta)
            meta = replace(obj.metadata, uid=uid, resource_version=old.metadata.resource_version)
            if replace(obj, metadata=meta) == old:
                return old
        self.version += 1
        stored = replace(obj, metadata=replace(obj.metadata, uid=uid, resource_version=str(self.version)))
        kind[key] = stored
        self._note(key, old, stored)
        self._notify("ADDED" if old is None else "MODIFIED", stored, old)
        return stored

    def delete(self, key: Key, grace_s: int | None = None) -> Object:
        """Delete an object; at once, unless `graceful` delays it (never with a `grace_s` of 0). Raises InputError
        when there is no such object."""
        obj = self.find(key)
        if obj is None:
            raise InputError(f"there is no {key}", expected=self._nearby(key))
        kept = None if grace_s == 0 else self.graceful(obj, grace_s)
        if kept is not None:
            return self.put(kept)
        del self._objects[key.kind][key]
        self.version += 1
        self._note(key, obj, None)
        del self._order[key]
        self._notify("DELETED", obj, obj)
        return obj

    def find(self, key: Key) -> Object | None:
        """The object with a key, or None."""
        return self._objects.get(key.kind, {}).get(key)

    @overload
    def get(self, kind: type[O], namespace: str, name: str) -> O | None: ...
    @overload
    def get(self, kind: str, namespace: str, name: str) -> Object | None: ...
    def get(self, kind: type[Object] | str, namespace: str, name: str) -> Object | None:
        """One object by kind (its type, or its name in any case), or None."""
        return self.find(Key(_word(kind), namespace, name))

    def has(self, kind: str) -> bool:
        """Is there an object of a kind, given in lower case?"""
        return bool(self._objects.get(kind))

    def found(self, kind: type[O], keys: Iterable[Key]) -> Sequence[O]:
        """The objects of a kind that these keys name and that exist, in the order of creation."""
        word = _word(kind)
        objects: Mapping[Key, Any] = self._objects.get(word, {})
        return [objects[key] for key in self.in_order(key for key in keys if key.kind == word)]

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
        """The objects of a kind in the order of creation; if given, only those of a namespace or with these labels."""
        wanted = selector.match_labels if isinstance(selector, LabelSelector) else selector
        found: Iterable[Object]
        if namespace is not None and wanted:
            found = self._fewest(kind, namespace, wanted)
        else:
            found = self._objects.get(_word(kind), {}).values()
        if namespace is not None:
            found = (o for o in found if o.metadata.namespace == namespace)
        if isinstance(selector, LabelSelector):
            found = (o for o in found if selector.matches(o.metadata.labels))
        elif selector is not None:
            found = (o for o in found if selects(selector, o.metadata.labels))
        return [*found]

    def _fewest(self, kind: type[Object] | str, namespace: str, wanted: Mapping[str, str]) -> Objects:
        """The objects that have one of the labels, namely the label that the fewest objects have."""
        index = self.index(kind, labels_of)
        return index.of(min(((namespace, *pair) for pair in wanted.items()), key=index.count))

    @overload
    def index(self, kind: type[O], words_of: Callable[[O], Iterable[Hashable]]) -> Index[O]: ...
    @overload
    def index(self, kind: type[Object] | str, words_of: Callable[[Object], Iterable[Hashable]]) -> Index[Object]: ...
    def index(self, kind: type[Object] | str, words_of: Callable[[Any], Iterable[Hashable]]) -> Index[Any]:
        """The index of a kind by the words that `words_of` gives; made at the first call, then kept up to date.
        `words_of` depends on the object alone, and gives equal words in equal order for equal objects."""
        found = self._index_of.get((kind, words_of))
        if found is None:
            word = _word(kind)
            indexes = self._indexes.setdefault(word, {})
            if words_of not in indexes:
                objects = self._objects.setdefault(word, {})
                indexes[words_of] = Index(words_of, objects, self._order)
                for key, obj in objects.items():
                    indexes[words_of].note(key, None, obj)
            found = self._index_of[kind, words_of] = indexes[words_of]
        return found

    def in_order(self, keys: Iterable[Key]) -> Keys:
        """The keys that exist among these, in the order of `__iter__`: by kind, then by creation."""
        return sorted((key for key in keys if key in self._order), key=self.position)

    def position(self, key: Key) -> tuple[int, int]:
        """The place of an object in that order."""
        return self._kinds[key.kind], self._order[key]

    @property
    def kinds(self) -> Iterable[str]:
        """All kinds that ever had an object, in lower case, in the order of their first objects."""
        return self._kinds

    def follow(self, callback: Follower) -> Callable[[], None]:
        """Call `callback(old, new)` within each change, before any watcher is called; returns a function that ends that. `old` is
        None for an added object, `new` for a deleted one. A callback keeps counts; it changes nothing in the store."""
        self._followers.append(callback)
        return partial(_removed, self._followers, callback)

    def _note(self, key: Key, old: Object | None, new: Object | None) -> None:
        for index in self._indexes.get(key.kind, {}).values():
            index.note(key, old, new)
        for follower in self._followers:
            follower(old, new)

    def __iter__(self) -> Iterator[Object]:
        """All objects, kind by kind."""
        for kind in self._kinds:
            yield from self._objects[kind].values()

    def __len__(self) -> int:
        return sum(map(len, self._objects.values()))

    def watch(self, kind: type[Object] | str, callback: Watcher, *, existing: bool = False) -> Callable[[], None]:
        """Call `callback(event, obj, old)` on every change of a kind ("*": of all); returns a function that ends the watch.

        `old` is None for ADDED and the last state for DELETED. Changes made by a callback are reported after
        the present one, so all watchers see the same order. `existing`: objects that exist already are reported as ADDED.
        """
        watchers = self._watchers.setdefault("*" if kind == "*" else _word(kind), [])
        watchers.append(callback)
        if existing:
            for obj in [*self] if kind == "*" else self.list(kind):
                callback("ADDED", obj, None)
        return partial(_removed, watchers, callback)

    def gone(self, key: Key) -> bool:
        """Whether an object existed and was deleted."""
        return key in self._births and self.find(key) is None

    def draw(self, purpose: str) -> int:
        """0, 1, 2 ... one counter for each purpose, for names that are used only once."""
        self._draws[purpose] += 1
        return self._draws[purpose] - 1

    def _notify(self, event: Event, obj: Object, old: Object | None) -> None:
        self._news.append((event, obj, old))
        if self._notifying:
            return
        self._notifying = True
        try:
            while self._news:
                event, obj, old = self._news.popleft()
                for callback in (*self._watchers.get(obj.kind.lower(), ()), *self._watchers.get("*", ())):
                    callback(event, obj, old)
        finally:
            self._notifying = False
            self._news.clear()

    def _uid(self, key: Key) -> str:
        """A uid that depends on the key and its number of creations only, so that other objects do not change it."""
        digest = sha256("\0".join((str(self.seed), *key, str(self._births[key]))).encode()).digest()
        return str(UUID(bytes=digest[:16], version=4))

    def _nearby(self, key: Key) -> str | None:
        names = [o.name for o in self.list(key.kind) if o.namespace == key.namespace]
        return "one of " + ", ".join(names[:8]) + (" ..." if len(names) > 8 else "") if names else None


def _at_once(obj: Object, grace_s: int | None) -> Object | None:
    return None


def _removed(callbacks: list[Any], callback: object) -> None:
    if callback in callbacks:
        callbacks.remove(callback)


def _placed(obj: O) -> O:
    if obj.metadata.namespace or not obj.namespaced:
        return obj
    return replace(obj, metadata=replace(obj.metadata, namespace="default"))


def _word(kind: type[Object] | str) -> str:
    return kind.lower() if isinstance(kind, str) else kind.__name__.lower()
