"""Code that the workload controllers share: objects by their controller, pods from templates, adoption.

Must not know any single kind of workload.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from emu.kube.api.apps import ControllerRevision, Deployment, ReplicaSet
from emu.kube.api.batch import ReplicationController
from emu.kube.api.core import Pod, PodTemplateSpec
from emu.kube.api.meta import Key, LabelSelector, Object, ObjectMeta, owned_by, replace
from emu.kube.controllers import names
from emu.kube.store import Label, Store, labels_of

O = TypeVar("O", bound=Object)
Selecting = Deployment | ReplicaSet | ReplicationController


# -- keys of indexes ------------------------------------------------------------------------------


def controller_of(obj: Object) -> tuple[str]:
    """The uid of the object's controller; "" for none."""
    for owner in obj.metadata.owner_references:
        if owner.controller:
            return (owner.uid,)
    return ("",)


def uid_of(obj: Object) -> tuple[str]:
    return (obj.metadata.uid,)


def node_of(pod: Pod) -> tuple[str]:
    """The node that a pod is bound to; "" for none."""
    return (pod.spec.node_name,)


def orphan_labels(obj: Object) -> Iterable[Label]:
    """The labels of an object without a controller."""
    return () if controller_of(obj)[0] else labels_of(obj)


def selector_of(owner: Selecting) -> tuple[Label]:
    """One pair of a selector, with the namespace; ("", "") for a selector without pairs."""
    pair = next(iter(owner.selector.match_labels.items()), ("", ""))
    return ((owner.namespace, *pair),)


# -- what a change concerns -----------------------------------------------------------------------


def ends(old: Object | None, new: Object | None) -> tuple[Object, ...]:
    """The states by which a change is matched: both if labels or owners differ, else the new one alone."""
    if old is None or new is None:
        return tuple(each for each in (new, old) if each is not None)
    before, after = old.metadata, new.metadata
    if before.labels == after.labels and before.owner_references == after.owner_references:
        return (new,)
    return old, new


def controllers(store: Store, kind: type[O], obj: Object) -> Iterable[Key]:
    """The object of `kind` that controls `obj`, if there is one."""
    uid = controller_of(obj)[0]
    return store.index(kind, uid_of).members(uid) if uid else ()


def owners(store: Store, kind: type[O], part: type[Object], old: Object | None, new: Object | None) -> Iterator[Key]:
    """The object of `kind` that changed, or that controls the `part` that did."""
    for obj in ends(old, new):
        if isinstance(obj, kind):
            yield obj.key
        elif isinstance(obj, part):
            yield from controllers(store, kind, obj)


def selecting(store: Store, kind: type[Selecting], obj: Object) -> Iterator[Key]:
    """The objects of `kind` whose selector matches an object without a controller."""
    if controller_of(obj)[0]:
        return
    index = store.index(kind, selector_of)
    for word in (*labels_of(obj), (obj.namespace, "", "")):
        for owner in index.of(word):
            if owner.selector.matches(obj.metadata.labels):
                yield owner.key


def revision_of(store: Store, owner: Object, template: PodTemplateSpec) -> str:
    """The label controller-revision-hash of pods of this template: as the owner's pods have it already, else our own hash."""
    for each in store.index(ControllerRevision, controller_of).of(owner.metadata.uid):
        if each.template == template:
            return each.revision
    return names.template_hash(template)


# -- actions --------------------------------------------------------------------------------------


def orphans(store: Store, kind: type[O], owner: Selecting) -> list[O]:
    """The objects of a kind without a controller that match the selector of `owner`, in order of creation."""
    selector = owner.selector
    if selector.match_labels:
        index = store.index(kind, orphan_labels)
        words = ((owner.namespace, *pair) for pair in selector.match_labels.items())
        found = index.of(min(words, key=index.count))
    else:
        found = [each for each in store.index(kind, controller_of).of("") if each.namespace == owner.namespace]
    return [each for each in found if selector.matches(each.metadata.labels)]


def adopt(
    store: Store, owner: Object, selector: LabelSelector, owned: list[O], orphans: list[O], taken: set[Key]
) -> list[O]:
    """The objects of `owner` after it has released those that no longer match and adopted matching orphans, except the
    `taken` ones, which other owners adopted in this pass."""
    kept = []
    for obj in owned:
        if selector.matches(obj.metadata.labels):
            kept.append(obj)
        else:
            others = tuple(o for o in obj.metadata.owner_references if o.uid != owner.metadata.uid)
            store.put(replace(obj, metadata=replace(obj.metadata, owner_references=others)))
    for obj in orphans:
        if obj.key not in taken:
            references = (*obj.metadata.owner_references, *owned_by(owner))
            kept.append(store.put(replace(obj, metadata=replace(obj.metadata, owner_references=references))))
            taken.add(obj.key)
    return kept


def active(pods: list[Pod]) -> list[Pod]:
    """The pods that are neither finished nor terminating."""
    return [p for p in pods if not p.terminating and not p.finished]


def create(
    store: Store, owner: Object, template: PodTemplateSpec, name: str, labels: dict[str, str], **spec: Any
) -> Pod:
    """A new pod of `owner` from a template, with additional labels and changes to its spec."""
    meta = ObjectMeta(
        name=name,
        namespace=owner.namespace,
        labels=template.metadata.labels | labels,
        annotations=template.metadata.annotations,
        owner_references=owned_by(owner),
    )
    return store.put(Pod(metadata=meta, spec=replace(template.spec, **spec) if spec else template.spec))
