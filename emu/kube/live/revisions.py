"""How the pods of an export's StatefulSets and DaemonSets are labelled, so that their controllers know them for present ones.

The API server's hash of a template is not ours. Pure. Must not know controllers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from emu.kube.api.apps import ControllerRevision, DaemonSet, StatefulSet
from emu.kube.api.core import Pod
from emu.kube.api.meta import Object, ObjectMeta, owned_by

HASH = "controller-revision-hash"


def revisions(objects: Iterable[Object]) -> Iterator[ControllerRevision]:
    """The present revision of each workload: the one that its status names, else that of most of its pods."""
    objects = list(objects)
    labels: dict[str, Counter[str]] = {}
    for obj in objects:
        owner = obj.metadata.controller if isinstance(obj, Pod) else None
        if owner is not None and HASH in obj.metadata.labels:
            labels.setdefault(owner.uid, Counter())[obj.metadata.labels[HASH]] += 1
    for obj in objects:
        if isinstance(obj, (StatefulSet, DaemonSet)) and obj.metadata.uid in labels:
            named = obj.status.update_revision if isinstance(obj, StatefulSet) else ""
            found = named or labels[obj.metadata.uid].most_common(1)[0][0]
            meta = ObjectMeta(name=f"{obj.name}-found", namespace=obj.namespace, owner_references=owned_by(obj))
            yield ControllerRevision(metadata=meta, template=obj.spec.template, revision=found)
