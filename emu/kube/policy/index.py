"""The policies and pods of a cluster, so indexed that a verdict costs the same among ten policies and among ten thousand.

Of each pod and direction the policies that select it are found once, and of each pair of ends the rules that have the other end
among their peers. A change drops what it concerns. Must not know a dataplane, or where objects come from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping

from emu.kube.api.admin_policy import AdminNetworkPolicy, BaselineAdminNetworkPolicy
from emu.kube.api.cluster_policy import ClusterNetworkPolicy
from emu.kube.api.core import Namespace, Node, Pod
from emu.kube.api.meta import Key, Object
from emu.kube.api.networking import NetworkPolicy
from emu.kube.policy.ends import End, NodeEnd, PodEnd, address, is_peer, pod_end
from emu.kube.policy.groups import Groups, Label, needed
from emu.kube.policy.rules import WAYS, Policy, Way, compiled
from emu.kube.policy.verdict import Hits, Packet, Reason, Selecting, Verdict, hits_of, side

KINDS = (Namespace, Node, Pod, NetworkPolicy, ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy)
METADATA_NAME = "kubernetes.io/metadata.name"
_MOST_ENDS = 4096  # other ends that a pod's direction remembers, and outside hosts that the index does


class _Shelf:
    """Policies by a label that pods must have to be selected. Those that ask for no certain label are candidates for every pod."""

    def __init__(self) -> None:
        self._by_label: dict[Label | None, dict[Key, Policy]] = {}

    def put(self, key: Key, policy: Policy) -> None:
        for label in needed(policy.subject.pods):
            self._by_label.setdefault(label, {})[key] = policy

    def remove(self, key: Key, policy: Policy) -> None:
        for label in needed(policy.subject.pods):
            self._by_label[label].pop(key, None)

    def selecting(self, pod: PodEnd) -> Iterator[Policy]:
        for label in (None, *pod.labels.items()):
            for policy in self._by_label.get(label, {}).values():
                if policy.subject.selects(pod):
                    yield policy


class _Subject:
    """What binds one pod in one direction: the policies, and the rules by other end."""

    __slots__ = ("hits", "selecting")

    def __init__(self, selecting: Selecting) -> None:
        self.selecting = selecting
        self.hits: dict[End, Hits] = {}

    def of(self, other: End, way: Way) -> Hits:
        found = self.hits.get(other)
        if found is None:
            if len(self.hits) >= _MOST_ENDS:
                self.hits.clear()
            found = self.hits[other] = hits_of(self.selecting, other, way)
        return found


class PolicyIndex:
    """`put` and `remove` follow the objects, `end` gives the end at an address, `judge` the verdict about a packet.

    `compiled` counts how often the policies of a pod and direction were looked up; `groups` has the pods of any selector.
    """

    def __init__(self, objects: Iterable[Object] = ()) -> None:
        self.compiled = 0
        self.groups = Groups()
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._pods: dict[str, dict[str, Pod]] = {}  # by namespace and name
        self._addresses: dict[Key, tuple[tuple[int, int], ...]] = {}  # of pods and nodes
        self._ends: dict[tuple[int, int], End] = {}
        self._outside: OrderedDict[tuple[int, int, tuple[str, ...]], End] = OrderedDict()
        self._policies: dict[Key, Policy] = {}
        self._own: dict[str, _Shelf] = {}  # by namespace
        self._cluster = _Shelf()
        self._subjects: dict[str, dict[tuple[str, Way], _Subject]] = {}  # by namespace
        for obj in objects:
            self.put(obj)

    # -- objects --------------------------------------------------------------------------------

    def put(self, obj: Object) -> None:
        """An object is there, or has changed."""
        if isinstance(obj, Pod):
            self._pods.setdefault(obj.namespace, {})[obj.name] = obj
            self._place(obj)
        elif isinstance(obj, Node):
            self._move(obj.key, self._ends_of(obj))
        elif isinstance(obj, Namespace):
            labels = {METADATA_NAME: obj.name, **obj.metadata.labels}
            if self._namespaces.get(obj.name) != labels:
                self._namespaces[obj.name] = labels
                self._look_at(obj.name)
        elif isinstance(obj, NetworkPolicy | ClusterNetworkPolicy | AdminNetworkPolicy | BaselineAdminNetworkPolicy):
            self._take_out(obj.key)
            policy = self._policies[obj.key] = compiled(obj)
            self._shelf(policy).put(obj.key, policy)
            self._forget(policy)

    def remove(self, key: Key) -> None:
        """An object was deleted. A namespace's pods and policies are objects of their own."""
        if key.kind == "pod":
            self._pods.get(key.namespace, {}).pop(key.name, None)
            self._drop(key.namespace, key.name)
            self._move(key, ())
        elif key.kind == "node":
            self._move(key, ())
        elif key.kind == "namespace":
            self._namespaces.pop(key.name, None)
            self._look_at(key.name)
        else:
            self._take_out(key)

    def _shelf(self, policy: Policy) -> _Shelf:
        return self._own.setdefault(policy.namespace, _Shelf()) if policy.namespace else self._cluster

    def _take_out(self, key: Key) -> None:
        policy = self._policies.pop(key, None)
        if policy is not None:
            self._shelf(policy).remove(key, policy)
            self._forget(policy)

    def _forget(self, policy: Policy) -> None:
        """A policy has come or gone: the pods that it selects are looked at anew."""
        spaces = [policy.namespace] if policy.namespace else [*self._subjects]
        for space in spaces:
            for name, way in [*self._subjects.get(space, ())]:
                if way in policy.rules:
                    pod = self._pods[space][name]
                    if policy.subject.selects(pod_end(pod, self._labels(space))):
                        del self._subjects[space][name, way]

    def _labels(self, namespace: str) -> Mapping[str, str]:
        return self._namespaces.get(namespace) or {METADATA_NAME: namespace}

    def _look_at(self, namespace: str) -> None:
        for pod in self._pods.get(namespace, {}).values():
            self._place(pod)

    def _place(self, pod: Pod) -> None:
        """The ends of a pod as it is now. Where it has changed, what binds it may have, too."""
        if self._move(pod.key, self._ends_of(pod)):
            self._drop(pod.namespace, pod.name)

    def _drop(self, namespace: str, name: str) -> None:
        for way in WAYS:
            self._subjects.get(namespace, {}).pop((name, way), None)

    def _ends_of(self, obj: Pod | Node) -> tuple[End, ...]:
        if isinstance(obj, Node):
            node = NodeEnd(obj.name, obj.metadata.labels)
            texts = [each.address for each in obj.status.addresses if each.type.endswith("IP")]
            return tuple(End(*address(text), node=node) for text in dict.fromkeys(texts))
        if not is_peer(obj):
            return ()
        pod = pod_end(obj, self._labels(obj.namespace))
        texts = [obj.status.pod_ip, *(each.ip for each in obj.status.pod_ips)]
        return tuple(End(*address(text), pod=pod) for text in dict.fromkeys(texts))

    def _move(self, key: Key, ends: tuple[End, ...]) -> bool:
        """Put the ends of an object in the place of its earlier ones. False: nothing has changed."""
        there = self._addresses.get(key, ())
        now = tuple((end.addr, end.width) for end in ends)
        old = [self._ends.get(each) for each in there]
        if there == now and all(
            a is not None and (a.pod, a.node) == (b.pod, b.node) for a, b in zip(old, ends, strict=True)
        ):
            return False
        for each, end in zip(there, old, strict=True):
            if end is not None and _owner(end) == (key.namespace, key.name):
                del self._ends[each]
        for end in ends:
            self._ends[end.addr, end.width] = end
            self._outside.pop((end.addr, end.width, ()), None)
        if key.kind == "pod":
            self.groups.change((key.namespace, key.name), ends[0] if ends else None)
        if ends:
            self._addresses[key] = now
        else:
            self._addresses.pop(key, None)
        return True

    # -- questions ------------------------------------------------------------------------------

    def end(self, addr: int, width: int = 32, names: tuple[str, ...] = ()) -> End:
        """The end at an address: a pod, a node, or a host outside, which the sender may know by names."""
        found = self._ends.get((addr, width))
        if found is not None:
            return found
        key = addr, width, names
        outside = self._outside.get(key)
        if outside is None:
            while len(self._outside) >= _MOST_ENDS:
                self._outside.popitem(last=False)
            outside = self._outside[key] = End(addr, width, names=names)
        return outside

    def pod(self, namespace: str, name: str) -> End | None:
        """A pod's first end; None for one that policies do not know: no such pod, finished, without address, hostNetwork."""
        there = self._addresses.get(Key("pod", namespace, name))
        return self._ends[there[0]] if there else None

    def node(self, name: str) -> End | None:
        """The end at a node's first address."""
        there = self._addresses.get(Key("node", "", name))
        return self._ends[there[0]] if there else None

    @property
    def pods(self) -> list[End]:
        """The first end of every pod, in the order of namespaces and names."""
        found = (self._ends[there[0]] for key, there in self._addresses.items() if key.kind == "pod" and there)
        return sorted(found, key=lambda end: (end.pod.namespace, end.pod.name) if end.pod is not None else ("", ""))

    @property
    def policies(self) -> list[Policy]:
        return [*self._policies.values()]

    @property
    def by_key(self) -> Mapping[Key, Policy]:
        """Every policy by the key of its object. To be read only."""
        return self._policies

    @property
    def policed(self) -> bool:
        """Whether there is a policy at all."""
        return bool(self._policies)

    def selecting(self, pod: PodEnd, way: Way) -> Selecting:
        """The policies that bind a pod in a direction."""
        return self._subject(pod, way).selecting

    def _subject(self, pod: PodEnd, way: Way) -> _Subject:
        subjects = self._subjects.setdefault(pod.namespace, {})
        found = subjects.get((pod.name, way))
        if found is None:
            self.compiled += 1
            own = self._own.get(pod.namespace)
            of_namespace = sorted(_with(own.selecting(pod), way) if own is not None else (), key=_order)
            of_cluster = sorted(_with(self._cluster.selecting(pod), way), key=_order)
            admin = tuple(each for each in of_cluster if each.tier == "Admin")
            baseline = tuple(each for each in of_cluster if each.tier == "Baseline")
            found = subjects[pod.name, way] = _Subject(Selecting(admin, tuple(of_namespace), baseline))
        return found

    def judge(self, packet: Packet) -> Verdict:
        """The verdict about the first packet of a connection."""
        source, destination = packet.source, packet.destination
        if source.pod is not None and destination.pod is not None and _owner(source) == _owner(destination):
            return Verdict(Reason("egress", True, "itself"), Reason("ingress", True, "itself"))
        return Verdict(self._egress(packet), self._ingress(packet))

    def sides(self, packet: Packet) -> Verdict:
        """Both sides as the policies alone have them, also of a pod's packets to itself and of those of its own node."""
        source, pod = packet.source, packet.destination.pod
        egress = self._egress(packet)
        if pod is None:
            return Verdict(egress, Reason("ingress", True, "no pod here"))
        return Verdict(egress, side(self._subject(pod, "ingress").of(source, "ingress"), packet, "ingress"))

    def _egress(self, packet: Packet) -> Reason:
        pod = packet.source.pod
        if pod is None:
            return Reason("egress", True, "no pod here")
        return side(self._subject(pod, "egress").of(packet.destination, "egress"), packet, "egress")

    def _ingress(self, packet: Packet) -> Reason:
        pod, node = packet.destination.pod, packet.source.node
        if pod is None:
            return Reason("ingress", True, "no pod here")
        if node is not None and node.name == pod.node:
            return Reason("ingress", True, "own node")
        return side(self._subject(pod, "ingress").of(packet.source, "ingress"), packet, "ingress")


def _owner(end: End) -> tuple[str, str]:
    if end.pod is not None:
        return end.pod.namespace, end.pod.name
    return "", end.node.name if end.node is not None else ""


def _with(policies: Iterable[Policy], way: Way) -> Iterator[Policy]:
    return (policy for policy in policies if way in policy.rules)


def _order(policy: Policy) -> tuple[int, str, str]:
    return policy.order


__all__ = ["KINDS", "PolicyIndex"]
