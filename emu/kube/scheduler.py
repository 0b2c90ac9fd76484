"""The scheduler: a pod goes to a node that meets its demands, then pods are spread. It draws nothing at random.

It uses nodeName, taints and tolerations, nodeSelector, required node affinity, unschedulable nodes, hostPorts, and a
node's allocatable pods where the node states them. Affinity to pods and resource requests are not modelled. Must not know controllers or the kubelet.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from emu.kube.api.core import Condition, Node, Pod, PodSpec, Taint, untolerated
from emu.kube.api.meta import Key, Object, replace
from emu.kube.store import Store

HostPort = tuple[str, str, int]
_ANY = ("", "0.0.0.0")
UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")  # of a node that is cordoned


def why_not(spec: PodSpec, node: Node) -> str | None:
    """Why such pods cannot run on the node, whatever runs there, in the scheduler's words; None when they can."""
    if node.spec.unschedulable and any(untolerated(spec.tolerations, (UNSCHEDULABLE,), "NoSchedule")):
        return "node(s) were unschedulable"
    taints = node.spec.taints
    taint = next(untolerated(spec.in_force, taints, "NoSchedule", "NoExecute"), None) if taints else None
    if taint is not None:
        return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
    if not spec.likes(node):
        return "node(s) didn't match Pod's node affinity/selector"
    return None


def unschedulable(nodes: int, refusals: Mapping[str, int]) -> str:
    """The message of a pod that fits none of so many nodes, with the number of nodes for each reason."""
    reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in refusals.items()))
    return f"0/{nodes} nodes are available: {reasons}." if nodes else "no nodes available to schedule pods"


class Scheduler:
    """Binds the pods of one store. The pods on each node are counted as they change."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.looked_at = 0  # pods, in all
        self._places: dict[str, _Place] = {}
        self._crowd: Crowd = []
        self._waiting: set[Key] = set()
        self._news = True
        for obj in store:
            self._changed(None, obj)
        self.close = store.follow(self._changed)
        """Stop watching the store."""

    def schedule(self) -> bool:
        """Bind every pod that has no node; a pod that fits no node gets the reason in its status. Returns whether anything changed.

        A pod goes to the fitting node with the fewest taints of effect PreferNoSchedule that it does not tolerate, then the
        fewest pods of its own controller, then the fewest pods, then the first in the order of nodes.
        """
        if not self._news or not self._waiting:
            return False
        self._news = False
        before = self.store.version
        for pod in self.store.found(Pod, self._waiting):
            self.looked_at += 1
            best, refusals = _choose(pod, [*_host_ports(pod)], self._crowd)
            if best is None:
                _wait(self.store, pod, len(self._crowd), refusals)
            else:
                _bind(self.store, pod, best.name)
        return self.store.version != before

    def take_over(self) -> None:
        """The pods without a node are those of a cluster that runs, whose scheduler found none for them: they are left alone until
        they change."""
        self._waiting.clear()

    # -- counts ---------------------------------------------------------------------------------

    def _changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        if isinstance(obj, Pod):
            self._pod(*(each if isinstance(each, Pod) else None for each in (old, new)))
        elif isinstance(obj, Node):
            self._news = True
            place, node = self._place(obj.name), obj if new is not None else None
            self._moved(place, lambda: place.become(node, self.store))

    def _pod(self, old: Pod | None, new: Pod | None) -> None:
        waits = new is not None and not new.spec.node_name and not new.terminating and not new.finished
        if waits:
            assert new is not None
            self._waiting.add(new.key)
            self._news = True
        elif old is not None:
            self._waiting.discard(old.key)
        if old is not None and new is not None and _same_use(old, new):
            return
        before, after = _takes(old), _takes(new)
        if before != after:
            self._news = True
            for sign, took in ((-1, before), (1, after)):
                if took is not None:
                    self._count(took, sign)

    def _count(self, took: _Taken, sign: int) -> None:
        place = self._place(took.node)
        self._moved(place, lambda: place.count(took, sign))

    def _place(self, name: str) -> _Place:
        return self._places.setdefault(name, _Place(name))

    def _moved(self, place: _Place, change: Callable[[], None]) -> None:
        """Change a place, and keep the crowd in order. It holds only nodes that exist."""
        if place.node is not None:
            del self._crowd[bisect_left(self._crowd, (place.pods, place.index), key=_POSITION)]
        change()
        if place.node is not None:
            insort(self._crowd, (place.pods, place.index, place), key=_POSITION)


class _Taken(NamedTuple):
    """What a pod uses of a node."""

    node: str
    owner: str
    ports: tuple[HostPort, ...]


def _takes(pod: Pod | None) -> _Taken | None:
    if pod is None or not pod.spec.node_name or pod.finished:
        return None
    return _Taken(pod.spec.node_name, _owner(pod), tuple(_host_ports(pod)))


def _same_use(old: Pod, new: Pod) -> bool:
    """Is it clear at a glance that a pod uses of its node what it did? Most changes of a pod are of its status."""
    owners = old.metadata.owner_references is new.metadata.owner_references
    return owners and old.spec is new.spec and old.finished is new.finished


class _Place:
    """A node by name, with its pods. `node` None: there is no such node now."""

    def __init__(self, name: str) -> None:
        self.name, self.index = name, 0
        self.node: Node | None = None
        self.pods = 0
        self.owners: Counter[str] = Counter()
        self.host_ports: Counter[HostPort] = Counter()
        self.room: int | None = None

    def become(self, node: Node | None, store: Store) -> None:
        self.node = node
        if node is not None:
            self.index = store.position(node.key)[1]
            room = node.status.allocatable.get("pods")
            self.room = int(room) if room is not None else None

    def count(self, took: _Taken, sign: int) -> None:
        self.pods += sign
        if took.owner:
            _tally(self.owners, took.owner, sign)
        for port in took.ports:
            _tally(self.host_ports, port, sign)

    def disliked(self, pod: Pod) -> int:
        """How many taints should keep the pod away, but need not."""
        assert self.node is not None
        taints = self.node.spec.taints
        return sum(1 for _ in untolerated(pod.spec.tolerations, taints, "PreferNoSchedule")) if taints else 0

    def refuses(self, pod: Pod, ports: list[HostPort]) -> str | None:
        """Why the pod cannot run here, in the scheduler's words; None when it can."""
        assert self.node is not None
        why = why_not(pod.spec, self.node)
        if why is not None:
            return why
        if self.room is not None and self.pods >= self.room:
            return "Too many pods"
        if ports and any(_conflict(a, b) for a in ports for b in self.host_ports):
            return "node(s) didn't have free ports for the requested pod ports"
        return None


def _tally(counts: Counter[Any], word: Any, sign: int) -> None:
    counts[word] += sign
    if not counts[word]:
        del counts[word]


_POSITION = itemgetter(0, 1)
Crowd = list[tuple[int, int, _Place]]
"""Places with their number of pods and their index, the emptiest first."""


def _choose(pod: Pod, ports: list[HostPort], crowd: Crowd) -> tuple[_Place | None, Counter[str]]:
    """The best place, or None with the reasons. The first place without a pod of the same controller, and without a taint that
    it does not tolerate, ends the search."""
    owner = _owner(pod)
    best: _Place | None = None
    least = (0, 0)
    refusals: Counter[str] = Counter()
    for _, _, place in crowd:
        reason = place.refuses(pod, ports)
        if reason is not None:
            refusals[reason] += 1
            continue
        cost = place.disliked(pod), place.owners[owner]
        if best is None or cost < least:
            best, least = place, cost
            if cost == (0, 0):
                break
    return best, refusals


def _owner(pod: Pod) -> str:
    owner = pod.metadata.controller
    return f"{owner.kind}/{pod.namespace}/{owner.name}" if owner is not None else ""


def _host_ports(pod: Pod) -> Iterator[HostPort]:
    for p in pod.spec.ports:
        port = p.container_port if pod.spec.host_network else p.host_port
        if port:
            yield p.host_ip, p.protocol, port


def _conflict(a: HostPort, b: HostPort) -> bool:
    """Same protocol and port, and the same address or one that stands for all addresses."""
    return a[1:] == b[1:] and (a[0] in _ANY or b[0] in _ANY or a[0] == b[0])


def _condition(pod: Pod, condition: Condition) -> tuple[Condition, ...]:
    return (condition, *(c for c in pod.status.conditions if c.type != condition.type))


def _bind(store: Store, pod: Pod, node: str) -> None:
    conditions = _condition(pod, Condition(type="PodScheduled", status="True"))
    status = replace(pod.status, conditions=conditions, reason="", message="")
    store.put(replace(pod, spec=replace(pod.spec, node_name=node), status=status))


def _wait(store: Store, pod: Pod, nodes: int, refusals: Counter[str]) -> None:
    message = unschedulable(nodes, refusals)
    condition = Condition(type="PodScheduled", status="False", reason="Unschedulable", message=message)
    status = replace(pod.status, phase="Pending", conditions=_condition(pod, condition))
    store.put(replace(pod, status=status))
