"""Taint eviction: deletes pods on nodes whose taints of effect NoExecute they do not tolerate (pkg/controller/tainteviction).

A toleration with tolerationSeconds holds for ever. Must not know the scheduler or workloads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emu.kube.api.core import Node, Pod, untolerated
from emu.kube.api.meta import Key, Object
from emu.kube.controllers.pods import node_of
from emu.kube.store import Store

WATCHES = ("pod", "node")


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """A pod that got a node with such a taint; the pods of a node that has other taints."""
    if isinstance(new, Pod) and new.spec.node_name:
        node = store.get(Node, "", new.spec.node_name)
        if node is not None and node.spec.taints:
            yield new.key
    elif (
        isinstance(new, Node) and new.spec.taints and not (isinstance(old, Node) and old.spec.taints == new.spec.taints)
    ):
        yield from store.index(Pod, node_of).keys(new.name)


def reconcile(store: Store, seed: int, keys: Iterable[Key]) -> None:
    """Delete those of these pods that may not stay."""
    for pod in store.found(Pod, keys):
        node = store.get(Node, "", pod.spec.node_name)
        if node is None or pod.terminating or pod.finished:
            continue
        if any(untolerated(pod.spec.tolerations, node.spec.taints, "NoExecute")):
            store.delete(pod.key)
