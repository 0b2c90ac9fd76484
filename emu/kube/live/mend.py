"""What an export lacks or contradicts, put right where there is one way to do so; each is reported once.

Owners by a uid that is not theirs (an edited or merged export), nodes that only their pods name, namespaces that only their objects
name. Pure. Must not know subnets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from emu.kube.api.core import Condition, Namespace, Node, NodeAddress, NodeSpec, NodeStatus, Pod
from emu.kube.api.meta import Object, ObjectMeta, OwnerReference, replace
from emu.wire.addr import Prefix

from emu.kube.live.subnets import address  # isort: skip


def mended(objects: Sequence[Object], notes: list[str]) -> list[Object]:
    """The objects, complete. `notes` gets a sentence for each kind of repair."""
    found = [*_owned(_distinct(objects, notes), notes)]
    found += _nodes(found, notes)
    there = {each.name for each in found if isinstance(each, Namespace)}
    named = {each.namespace for each in found if each.namespace}
    found += [Namespace(metadata=ObjectMeta(name=name)) for name in sorted(named - there)]
    return found


def _distinct(objects: Iterable[Object], notes: list[str]) -> Iterator[Object]:
    """Several pods with one uid, as copied manifests have it, get one each."""
    seen: set[str] = set()
    again: list[str] = []
    for obj in objects:
        uid = obj.metadata.uid
        if isinstance(obj, Pod) and uid and uid in seen:
            again.append(str(obj.key))
            obj = replace(obj, metadata=replace(obj.metadata, uid=f"{uid}-{obj.key}"))
        seen.add(uid)
        yield obj
    if again:
        notes.append(f"{few(again)}: another pod has the same uid: an edited or merged export")


def _owned(objects: Iterable[Object], notes: list[str]) -> Iterator[Object]:
    """Each owner that is there by kind and name, but has another uid, is the owner all the same."""
    objects = list(objects)
    uids = {(each.kind, each.namespace, each.name): each.metadata.uid for each in objects}
    wrong: Counter[str] = Counter()
    for obj in objects:
        owners = obj.metadata.owner_references
        right = tuple(_right(each, obj.namespace, uids) for each in owners)
        if right != owners:
            wrong[str(obj.key)] += 1
            obj = replace(obj, metadata=replace(obj.metadata, owner_references=right))
        yield obj
    if wrong:
        notes.append(
            f"{few(wrong)}: the owner has another uid than ownerReferences state: an edited or merged export; "
            "owners count by kind and name"
        )


def _right(owner: OwnerReference, namespace: str, uids: dict[tuple[str, str, str], str]) -> OwnerReference:
    uid = uids.get((owner.kind, namespace, owner.name))
    return owner if uid is None or uid == owner.uid else replace(owner, uid=uid)


def _nodes(objects: Sequence[Object], notes: list[str]) -> list[Node]:
    """Nodes that no object states, from what their pods show of them."""
    there = {each.name for each in objects if isinstance(each, Node)}
    missing: dict[str, list[Pod]] = {}
    for pod in objects:
        if isinstance(pod, Pod) and pod.spec.node_name and pod.spec.node_name not in there:
            missing.setdefault(pod.spec.node_name, []).append(pod)
    if missing:
        notes.append(
            f"{few(missing, 'node/')}: no Node object is in the export: the address is the pods' hostIP, the pod CIDR is what holds "
            "their addresses; labels, taints and conditions are not known"
        )
    return [_node(name, pods) for name, pods in missing.items()]


def _node(name: str, pods: Sequence[Pod]) -> Node:
    host = next((each.status.host_ip for each in pods if each.status.host_ip), "")
    own = [address(each.status.pod_ip) for each in pods if not each.spec.host_network]
    parts = {each & 0xFFFFFF00 for each in own if each}
    cidr = str(Prefix(parts.pop(), 24)) if len(parts) == 1 else ""
    return Node(
        metadata=ObjectMeta(name=name),
        spec=NodeSpec(pod_cidr=cidr),
        status=NodeStatus(
            addresses=(NodeAddress(type="InternalIP", address=host),) if host else (),
            conditions=(Condition(type="Ready", status="Unknown"),),
        ),
    )


def few(named: Iterable[str], prefix: str = "", most: int = 3) -> str:
    """`a, b, c and 4 more`, each behind the prefix."""
    names = [f"{prefix}{each}" for each in named]
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
