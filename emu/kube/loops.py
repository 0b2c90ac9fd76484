"""The control loops in virtual time: who hears of a change when, and what has not settled yet.

Workload controllers, scheduler and kubelets act at once; EndpointSlices follow `watch_ns` (and the batch period, for
changes of pods) later; node agents, such as kube-proxy, run by themselves (`agents.py`). Deleted pods stay for their
grace period. Must not know flows, or what an agent does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from emu.clock import EPOCH_NS, SECOND, Clock, Timer
from emu.errors import InputError
from emu.kube.agent import Settings
from emu.kube.agents import Agents, News
from emu.kube.api import core
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Key, Object
from emu.kube.api.meta import replace as change
from emu.kube.controllers import Controllers
from emu.kube.front_ends import front_ends
from emu.kube.node.kubelet import Kubelet
from emu.kube.node.node import Node
from emu.kube.plan import ClusterConfig
from emu.kube.scheduler import Scheduler
from emu.kube.store import Store
from emu.kube.underlay.underlay import Underlay
from emu.wire.addr import Prefix

ROUNDS = 200  # more passes than any chain of owners needs
OF_SLICES = frozenset(("Pod", "Service", "Node", "Endpoints", "EndpointSlice"))
OF_FRONT_ENDS = (core.Service, core.Node, EndpointSlice)


class Parts(Protocol):
    """The parts of a cluster that the loops keep going. `under_way` is theirs and the kubelets'."""

    @property
    def clock(self) -> Clock: ...
    @property
    def store(self) -> Store: ...
    @property
    def config(self) -> ClusterConfig: ...
    @property
    def seed(self) -> int: ...
    @property
    def nodes(self) -> Mapping[str, Node]: ...
    @property
    def kubelets(self) -> Sequence[Kubelet]: ...
    @property
    def underlay(self) -> Underlay: ...
    @property
    def pod_subnet(self) -> Prefix: ...
    @property
    def service_subnet(self) -> Prefix: ...
    @property
    def under_way(self) -> set[Any]: ...


class Loops:
    """`start` brings everything up at once; afterwards `act` follows each change, and time does the rest.

    `under_way` holds whatever has yet to happen: the cluster has settled when it is empty.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts, self.timing = parts, parts.config.timing
        self.store, self.clock = parts.store, parts.clock
        self.kubelets = {each.node.name: each for each in parts.kubelets}
        self.under_way = parts.under_way
        networks = (kubelet.network for kubelet in parts.kubelets)
        self.agents = Agents(
            ["kube-proxy", *(name for network in networks for name in network.agents)],
            Settings(parts.pod_subnet, (parts.config.proxy,)),
            self.clock,
            self.store,
            parts.nodes.values(),
            self.under_way,
        )
        self._timers: dict[str, Timer] = {}
        self.controllers = Controllers(self.store, parts.seed, service_subnet=parts.service_subnet)
        self.scheduler = Scheduler(self.store)
        self.synced = 0  # pods that a kubelet had to look at, in all
        self._changed_pods: dict[str, set[Key]] = {}  # by node, since its kubelet looked
        self.look_at_all_pods()
        self.store.follow(self._pod_changed)
        self.store.graceful = self._graceful

    def start(self) -> None:
        """Everything at once, in no time; then the watches begin. Raises InputError."""
        self.act(slices=True)
        self._advertise()
        outside = News(self.clock, self.timing.watch_ns, self.under_way, self._advertise)
        for kind in OF_FRONT_ENDS:
            self.store.watch(kind, outside.changed)
        self.agents.start(self.timing.watch_ns)
        self.clock.drain()
        self.store.watch("*", self._changed)

    def act(self, *, slices: bool = False) -> None:
        """What happens at once: controllers, scheduler, kubelets, in turns until nothing changes. Each looks only at what
        concerns it."""
        store = self.store
        for _ in range(ROUNDS):
            before = store.version
            self.controllers.reconcile(slices=slices)
            self.scheduler.schedule()
            self._sync_kubelets()
            if store.version == before:
                break

    def _sync_kubelets(self) -> None:
        """The kubelets of the nodes whose pods changed, in the order of nodes."""
        changed, self._changed_pods = self._changed_pods, {}
        kubelets = self.kubelets
        for node in sorted((name for name in changed if name in kubelets), key=lambda name: kubelets[name].node.index):
            keys = changed.pop(node)
            self.synced += len(keys)
            try:
                kubelets[node].sync(keys)
            except InputError:
                for name, left in {**changed, node: keys}.items():
                    self._changed_pods.setdefault(name, set()).update(left)
                raise

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        for pod in (old, new):
            if isinstance(pod, core.Pod):
                self._changed_pods.setdefault(pod.spec.node_name, set()).add(pod.key)

    def look_at_all_pods(self) -> None:
        """Have every kubelet look at all of its pods."""
        for pod in self.store.list(core.Pod):
            self._pod_changed(None, pod)

    # -- news -----------------------------------------------------------------------------------

    def _changed(self, event: str, obj: Object, old: Object | None) -> None:
        kind, watch_ns = obj.kind, self.timing.watch_ns
        if kind in OF_SLICES:
            batch_ns = self.timing.endpoint_updates_batch_ns if kind == "Pod" else 0
            self._soon("slices", watch_ns + batch_ns)

    def _soon(self, who: str, delay_ns: int) -> None:
        """Have a loop look, or look earlier than it would have."""
        due_ns, planned = self.clock.now + delay_ns, self._timers.get(who)
        if planned is not None:
            if planned.due_ns <= due_ns:
                return
            planned.cancel()
        self._timers[who] = self.clock.call_at(due_ns, self._slices)
        self.under_way.add(who)

    def _done(self, who: str) -> None:
        del self._timers[who]
        self.under_way.discard(who)

    def _slices(self) -> None:
        self._done("slices")
        self.controllers.reconcile_slices()

    def _advertise(self) -> None:
        """The routers outside learn which node each address of a Service is reached by."""
        services, slices = self.store.list(core.Service), self.store.list(EndpointSlice)
        self.parts.underlay.advertise(front_ends(services, slices, self.parts.nodes))

    # -- deletion -------------------------------------------------------------------------------

    def _graceful(self, obj: Object, grace_s: int | None) -> Object | None:
        """What the API server does when a pod on a node is to be deleted: it notes until when, and the kubelet ends it.
        None: it goes at once."""
        if not isinstance(obj, core.Pod) or not obj.spec.node_name or obj.finished:
            return None
        if self.store.find(Key("node", "", obj.spec.node_name)) is None or obj.spec.node_name not in self.parts.nodes:
            return None
        if grace_s is None:
            default_s = obj.spec.termination_grace_period_seconds
            grace_s = 30 if default_s is None else default_s
        if obj.terminating:  # a later request can only make it shorter
            before_s = obj.metadata.deletion_grace_period_seconds
            if before_s is None or grace_s >= before_s:
                return obj
        if grace_s <= 0:
            return None
        at = datetime.fromtimestamp((EPOCH_NS + self.clock.now) // SECOND + grace_s, UTC)
        stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return change(
            obj, metadata=change(obj.metadata, deletion_timestamp=stamp, deletion_grace_period_seconds=grace_s)
        )
