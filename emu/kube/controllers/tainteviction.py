"""Taint eviction: deletes pods on nodes whose taints of effect NoExecute they do not tolerate (pkg/controller/tainteviction).

A toleration with tolerationSeconds holds so long, from when the pod met the taint. Must not know the scheduler or workloads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emu.clock import SECOND
from emu.kube.api.core import Node, Pod, Taint, Toleration, untolerated
from emu.kube.api.meta import Key, Object
from emu.kube.controllers.later import Later
from emu.kube.controllers.pods import node_of
from emu.kube.store import Store

WATCHES = ("pod", "node")


def concerned(store: Store, old: Object | None, new: Object | None) -> Iterator[Key]:
    """A pod that got a node with such a taint; the pods of a node that has other taints."""
    if isinstance(new, Pod) and new.spec.node_name:
        node = store.get(Node, "", new.spec.node_name)
        if node is not None and node.spec.taints:
            yield new.key
    elif isinstance(new, Node):
        before = old.spec.taints if isinstance(old, Node) else ()
        if before != new.spec.taints:
            yield from store.index(Pod, node_of).keys(new.name)


def reconcile(store: Store, seed: int, keys: Iterable[Key], later: Later) -> None:
    """Delete those of these pods that may not stay, and look at others again when their time is over."""
    for pod in store.found(Pod, keys):
        node = store.get(Node, "", pod.spec.node_name)
        if node is None or pod.terminating or pod.finished:
            continue
        uid, tolerations = pod.metadata.uid, pod.spec.in_force
        taints = [each for each in node.spec.taints if each.effect == "NoExecute"]
        if any(untolerated(tolerations, taints, "NoExecute")):
            store.delete(pod.key)
            continue
        seconds = _seconds(tolerations, taints)
        if seconds is None:
            later.memory.pop(uid, None)  # the pod may stay: whatever was planned is off
            continue
        due_ns = min(later.memory.get(uid, later.now_ns + seconds * SECOND), later.now_ns + seconds * SECOND)
        later.memory[uid] = due_ns
        if later.now_ns >= due_ns:
            store.delete(pod.key)
        else:
            later.wake(pod.key, due_ns)


def _seconds(tolerations: Iterable[Toleration], taints: Iterable[Taint]) -> int | None:
    """The least tolerationSeconds of the tolerations that fit these taints; None: for ever (getMinTolerationTime)."""
    used = [each for each in tolerations if any(each.tolerates(taint) for taint in taints)]
    limits = [max(0, each.toleration_seconds) for each in used if each.toleration_seconds is not None]
    return min(limits, default=None)
