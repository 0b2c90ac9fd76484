"""Garbage collection: deletes objects whose owners, namespace or node were deleted.

Only an object that was in the store counts as deleted: an object that names an unknown owner stays.
Must not know what the kinds mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emu.kube.api.core import Namespace, Node, Pod
from emu.kube.api.meta import Key, Object
from emu.kube.controllers.pods import node_of
from emu.kube.store import Store


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """The objects that a change may orphan: the object itself, and its dependants if it came, went or has another uid."""
    if new is not None:
        yield new.key
    if old is None or new is None or old.metadata.uid != new.metadata.uid:
        obj = new or old
        if obj is not None:
            yield from _dependants(store, obj, gone=new is None)


def reconcile(store: Store, keys: Iterable[Key]) -> None:
    """Delete the orphaned objects among these, then their dependants (a Deployment's ReplicaSets, and their pods).

    In rounds, each in the order of the store: a dependant later in that order is deleted in the same round.
    """
    while keys:
        turn, following = store.in_order(keys), set[Key]()
        at = 0
        while at < len(turn):
            key = turn[at]
            at += 1
            obj = store.find(key)
            if obj is None or not _orphaned(store, obj):
                continue
            here = store.position(key)
            store.delete(key)
            left = store.find(key)
            if left is obj:
                continue
            # a pod that is terminating is checked again, and stays
            more = set(_dependants(store, obj, gone=True)) if left is None else {key}
            later = {each for each in store.in_order(more) if store.position(each) > here}
            following |= more - later
            if later:
                turn[at:] = store.in_order({*turn[at:], *later})
        keys = following


def owners_of(obj: Object) -> list[Key]:
    """The keys of an object's owners, as its references name them."""
    return [Key(each.kind.lower(), obj.namespace, each.name) for each in obj.metadata.owner_references]


def _dependants(store: Store, obj: Object, *, gone: bool) -> Iterator[Key]:
    key = obj.key
    for kind in [*store.kinds]:
        yield from store.index(kind, owners_of).keys(key)
        if gone and isinstance(obj, Namespace):
            yield from (each.key for each in store.list(kind, obj.name))
    if gone and isinstance(obj, Node):
        yield from store.index(Pod, node_of).keys(obj.name)


def _orphaned(store: Store, obj: Object) -> bool:
    if obj.namespace and store.gone(Key("namespace", "", obj.namespace)):
        return True
    if isinstance(obj, Pod) and obj.spec.node_name and store.gone(Key("node", "", obj.spec.node_name)):
        return True
    references = obj.metadata.owner_references
    return bool(references) and all(
        _missing(store, Key(r.kind.lower(), obj.namespace, r.name), r.uid) for r in references
    )


def _missing(store: Store, key: Key, uid: str) -> bool:
    owner = store.find(key)
    return store.gone(key) if owner is None else bool(uid) and owner.metadata.uid != uid
