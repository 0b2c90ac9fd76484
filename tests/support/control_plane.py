"""A control plane without a network: controllers, scheduler, and a kubelet that only reports."""

from __future__ import annotations

from collections.abc import Iterable

from emu.kube.api.core import Condition, Node, NodeAddress, NodeStatus, Pod
from emu.kube.api.loader import load_text
from emu.kube.api.meta import Object, ObjectMeta, replace
from emu.kube.controllers import Controllers
from emu.kube.scheduler import Scheduler
from emu.kube.store import Store


class Plane:
    """A store with nodes n1, n2 ...; `settle` runs everything until nothing changes."""

    def __init__(self, nodes: int = 2, seed: int = 0) -> None:
        self.store = Store(seed)
        self.controllers, self.scheduler = Controllers(self.store, seed), Scheduler(self.store)
        self.held: set[str] = set()  # pods that never get ready
        self.addresses: dict[str, str] = {}
        for i in range(1, nodes + 1):
            labels = {"topology.kubernetes.io/zone": f"z{i}"}
            status = NodeStatus(addresses=(NodeAddress(type="InternalIP", address=f"192.168.1.{i}"),))
            self.store.put(Node(metadata=ObjectMeta(name=f"n{i}", labels=labels), status=status))

    def kubelet(self) -> None:
        for pod in self.store.list(Pod):
            node = self.store.get(Node, "", pod.spec.node_name)
            if node is None or pod.status.phase != "Pending":
                continue
            uid = pod.metadata.uid
            ip = self.addresses.setdefault(uid, f"10.244.0.{len(self.addresses) + 2}")
            if pod.spec.host_network:
                ip = node.internal_ip
            ready = Condition(type="Ready", status="False" if pod.name in self.held else "True")
            status = replace(pod.status, phase="Running", pod_ip=ip, host_ip=node.internal_ip, conditions=(ready,))
            self.store.put(replace(pod, status=status))

    def settle(self, passes: int = 100) -> int:
        for done in range(passes):
            before = self.store.version
            self.controllers.reconcile()
            self.scheduler.schedule()
            self.kubelet()
            if self.store.version == before:
                return done
        raise AssertionError("it does not settle")

    def apply(self, found: str | Iterable[Object]) -> None:
        for obj in load_text(found).objects if isinstance(found, str) else found:
            self.store.apply(obj)
        self.settle()

    def pods(self, stem: str = "") -> list[Pod]:
        return [p for p in self.store.list(Pod) if p.name.startswith(stem)]
