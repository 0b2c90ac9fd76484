"""The control loops in virtual time: who hears of a change when, and what has not settled yet.

Workload controllers, scheduler and kubelets act at once; EndpointSlices follow `watch_ns` (and the batch period, for
changes of pods) later; node agents, such as kube-proxy, run by themselves (`agents.py`). Deleted pods stay for their
grace period. Must not know flows, or what an agent does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from emu.clock import EPOCH_NS, SECOND, Timer
from emu.kube import controllers
from emu.kube.agent import Settings
from emu.kube.agents import Agents, News
from emu.kube.api import core
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Key, Object
from emu.kube.api.meta import replace as change
from emu.kube.front_ends import front_ends
from emu.kube.scheduler import schedule
from emu.kube.timing import Timing

if TYPE_CHECKING:
    from emu.kube.cluster import Cluster

ROUNDS = 200  # more passes than any chain of owners needs
OF_SLICES = frozenset(("Pod", "Service", "Node", "Endpoints", "EndpointSlice"))
OF_FRONT_ENDS = (core.Service, core.Node, EndpointSlice)


class Loops:
    """`start` brings everything up at once; afterwards `act` follows each change, and time does the rest.

    `under_way` holds whatever has yet to happen: the cluster has settled when it is empty.
    """

    def __init__(self, cluster: Cluster, timing: Timing) -> None:
        self.cluster, self.timing = cluster, timing
        self.store, self.clock = cluster.store, cluster.clock
        self.under_way: set[Any] = set()
        networks = (kubelet.network for kubelet in cluster.kubelets)
        self.agents = Agents(
            ["kube-proxy", *(name for network in networks for name in network.agents)],
            Settings(cluster.pod_subnet, (cluster.config.proxy,)),
            self.clock,
            self.store,
            cluster.nodes.values(),
            self.under_way,
        )
        self._timers: dict[str, Timer] = {}
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
        """What happens at once: controllers, scheduler, kubelets, in turns until nothing changes."""
        cluster, store = self.cluster, self.store
        for _ in range(ROUNDS):
            before = store.version
            controllers.reconcile(store, cluster.seed, service_subnet=cluster.service_subnet, slices=slices)
            schedule(store)
            here: dict[str, list[core.Pod]] = {}
            for pod in store.list(core.Pod):
                here.setdefault(pod.spec.node_name, []).append(pod)
            for kubelet in cluster.kubelets:
                kubelet.sync(here.get(kubelet.node.name, ()))
            if store.version == before:
                break

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
        controllers.reconcile_slices(self.store, self.cluster.seed)

    def _advertise(self) -> None:
        """The routers outside learn which node each address of a Service is reached by."""
        services, slices = self.store.list(core.Service), self.store.list(EndpointSlice)
        self.cluster.underlay.advertise(front_ends(services, slices, self.cluster.nodes))

    # -- deletion -------------------------------------------------------------------------------

    def _graceful(self, obj: Object, grace_s: int | None) -> Object | None:
        """What the API server does when a pod on a node is to be deleted: it notes until when, and the kubelet ends it.
        None: it goes at once."""
        if not isinstance(obj, core.Pod) or not obj.spec.node_name or obj.finished:
            return None
        if self.store.find(Key("node", "", obj.spec.node_name)) is None or obj.spec.node_name not in self.cluster.nodes:
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
