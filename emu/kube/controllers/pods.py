"""What the workload controllers share: pods by their controller, pods from templates, adoption.

Must not know any one workload.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, TypeVar

from emu.kube.api.core import Pod, PodTemplateSpec
from emu.kube.api.meta import LabelSelector, Object, ObjectMeta, owned_by, replace
from emu.kube.store import Store

O = TypeVar("O", bound=Object)


def by_controller(store: Store, kind: type[O]) -> dict[str, list[O]]:
    """The objects of a kind, by the uid of the object that controls them ("": nobody), in order of birth."""
    found: dict[str, list[O]] = defaultdict(list)
    for obj in store.list(kind):
        owner = obj.metadata.controller
        found[owner.uid if owner is not None else ""].append(obj)
    return found


def adopt(store: Store, owner: Object, selector: LabelSelector, owned: list[O], orphans: list[O]) -> list[O]:
    """What `owner` controls once those that no longer match are released and matching orphans taken in."""
    kept = []
    for obj in owned:
        if selector.matches(obj.metadata.labels):
            kept.append(obj)
        else:
            others = tuple(o for o in obj.metadata.owner_references if o.uid != owner.metadata.uid)
            store.put(replace(obj, metadata=replace(obj.metadata, owner_references=others)))
    for obj in [*orphans]:
        if obj.namespace == owner.namespace and selector.matches(obj.metadata.labels):
            references = (*obj.metadata.owner_references, *owned_by(owner))
            kept.append(store.put(replace(obj, metadata=replace(obj.metadata, owner_references=references))))
            orphans.remove(obj)
    return kept


def active(pods: list[Pod]) -> list[Pod]:
    """Without those that are finished or on their way out."""
    return [p for p in pods if not p.terminating and not p.finished]


def create(
    store: Store, owner: Object, template: PodTemplateSpec, name: str, labels: dict[str, str], **spec: Any
) -> Pod:
    """A new pod of `owner` from a template, with more labels and changes to its spec."""
    meta = ObjectMeta(
        name=name,
        namespace=owner.namespace,
        labels=template.metadata.labels | labels,
        annotations=template.metadata.annotations,
        owner_references=owned_by(owner),
    )
    return store.put(Pod(metadata=meta, spec=replace(template.spec, **spec)))
