"""What goes when something else goes: owned objects, a namespace's content, a deleted node's pods.

Only what was once in the store can be missed: an object that names an unknown owner stays.
Must not know what the kinds do.
"""

from __future__ import annotations

from emu.kube.api.core import Pod
from emu.kube.api.meta import Key, Object
from emu.kube.store import Store


def reconcile(store: Store) -> None:
    """Delete until nothing orphaned is left (a Deployment takes its ReplicaSets, these their pods)."""
    before = -1
    while store.version != before:
        before = store.version
        for obj in [*store]:
            if _orphaned(store, obj):
                store.delete(obj.key)


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
