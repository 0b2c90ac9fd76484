"""Whether objects are the state of a cluster that runs, or what people declare. Must not know files."""

from __future__ import annotations

from collections.abc import Iterable

from emu.kube.api.core import Node, Pod
from emu.kube.api.meta import Object


def is_live(objects: Iterable[Object]) -> bool:
    """A pod on a node with an address, its own or its host's, or a node whose kubelet has reported: no one writes these by
    hand. The kubelet's conditions count only beside the uid that an API server gives."""
    return any(_reported(obj) for obj in objects)


def shows(value: object) -> bool:
    """The same of a manifest's plain value, a List or one object, before it is read."""
    if not isinstance(value, dict):
        return False
    kind, items = str(value.get("kind", "")), value.get("items")
    if isinstance(items, list) and kind.endswith("List"):
        return any(shows({"kind": kind.removesuffix("List"), **each}) for each in items if isinstance(each, dict))
    parts = (value.get(key) for key in ("metadata", "spec", "status"))
    meta, spec, status = (each if isinstance(each, dict) else {} for each in parts)
    if kind == "Pod":
        return bool(spec.get("nodeName") and (status.get("podIP") or status.get("hostIP")))
    return kind == "Node" and bool(meta.get("uid") and status.get("conditions"))


def _reported(obj: Object) -> bool:
    if isinstance(obj, Pod):
        return bool(obj.spec.node_name and (obj.status.pod_ip or obj.status.host_ip))
    return isinstance(obj, Node) and bool(obj.metadata.uid and obj.status.conditions)
