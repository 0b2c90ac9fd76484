"""Which node a pod goes to: what it demands, then spread. No scores by chance: the same input, the same nodes.

Respected: nodeName, nodeSelector, unschedulable nodes, hostPorts, a node's allocatable pods where it states them.
Taints, affinity and resource requests are not modelled. Must not know controllers or the kubelet.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from operator import itemgetter

from emu.kube.api.core import Condition, Node, Pod
from emu.kube.api.meta import replace, selects
from emu.kube.store import Store

HostPort = tuple[str, str, int]
_ANY = ("", "0.0.0.0")


def schedule(store: Store) -> bool:
    """Bind every pod that has no node; say on the others why they wait. Returns whether anything changed.

    A pod goes to the fitting node with the fewest pods of its own controller, then the fewest pods, then the
    first in the order of nodes.
    """
    pods = store.list(Pod)
    waiting = [p for p in pods if not p.spec.node_name and not p.terminating and not p.finished]
    if not waiting:
        return False
    before = store.version
    places = {n.name: _Place(n, i) for i, n in enumerate(store.list(Node))}
    for pod in pods:
        if pod.spec.node_name in places and not pod.finished:
            places[pod.spec.node_name].take(pod, [*_host_ports(pod)])
    crowd = sorted(((p.pods, p.index, p) for p in places.values()), key=_POSITION)
    for pod in waiting:
        ports = [*_host_ports(pod)]
        best, refusals = _choose(pod, ports, crowd)
        if best is None:
            _wait(store, pod, len(places), refusals)
            continue
        del crowd[bisect_left(crowd, (best.pods, best.index), key=_POSITION)]
        best.take(pod, ports)
        insort(crowd, (best.pods, best.index, best), key=_POSITION)
        _bind(store, pod, best.node.name)
    return store.version != before


class _Place:
    """A node and what is on it."""

    def __init__(self, node: Node, index: int) -> None:
        self.node, self.index = node, index
        self.pods = 0
        self.owners: dict[str, int] = {}
        self.host_ports: set[HostPort] = set()
        room = node.status.allocatable.get("pods")
        self.room = int(room) if room is not None else None

    def take(self, pod: Pod, ports: list[HostPort]) -> None:
        self.pods += 1
        owner = _owner(pod)
        if owner:
            self.owners[owner] = self.owners.get(owner, 0) + 1
        self.host_ports.update(ports)

    def refuses(self, pod: Pod, ports: list[HostPort]) -> str | None:
        """Why the pod cannot go here, in the scheduler's words; None when it can."""
        if self.node.spec.unschedulable:
            return "node(s) were unschedulable"
        if pod.spec.node_selector and not selects(pod.spec.node_selector, self.node.metadata.labels):
            return "node(s) didn't match Pod's node affinity/selector"
        if self.room is not None and self.pods >= self.room:
            return "Too many pods"
        if ports and any(_conflict(a, b) for a in ports for b in self.host_ports):
            return "node(s) didn't have free ports for the requested pod ports"
        return None


_POSITION = itemgetter(0, 1)
Crowd = list[tuple[int, int, _Place]]
"""Places with their number of pods and their index, the emptiest first."""


def _choose(pod: Pod, ports: list[HostPort], crowd: Crowd) -> tuple[_Place | None, Counter[str]]:
    """The best place, or none and why. The first place without a pod of the same controller ends the search."""
    owner = _owner(pod)
    best: _Place | None = None
    least = 0
    refusals: Counter[str] = Counter()
    for _, _, place in crowd:
        reason = place.refuses(pod, ports)
        if reason is not None:
            refusals[reason] += 1
            continue
        kin = place.owners.get(owner, 0)
        if best is None or kin < least:
            best, least = place, kin
            if not kin:
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
    """Same protocol and port, and the same address or one that means all."""
    return a[1:] == b[1:] and (a[0] in _ANY or b[0] in _ANY or a[0] == b[0])


def _condition(pod: Pod, condition: Condition) -> tuple[Condition, ...]:
    return (condition, *(c for c in pod.status.conditions if c.type != condition.type))


def _bind(store: Store, pod: Pod, node: str) -> None:
    conditions = _condition(pod, Condition(type="PodScheduled", status="True"))
    status = replace(pod.status, conditions=conditions, reason="", message="")
    store.put(replace(pod, spec=replace(pod.spec, node_name=node), status=status))


def _wait(store: Store, pod: Pod, nodes: int, refusals: Counter[str]) -> None:
    reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in refusals.items()))
    message = f"0/{nodes} nodes are available: {reasons}." if nodes else "no nodes available to schedule pods"
    condition = Condition(type="PodScheduled", status="False", reason="Unschedulable", message=message)
    status = replace(pod.status, phase="Pending", conditions=_condition(pod, condition))
    store.put(replace(pod, status=status))
