"""The control loops in virtual time: when each sees a change, and what work is still due.

Workload controllers, scheduler and kubelets act at once; the EndpointSlice controller acts `watch_ns` (for changes of
pods also the batch period) later; node agents, such as kube-proxy, run by `agents.py`. Deleted pods stay for their
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
from emu.kube.front_ends import front_ends, reached_from_outside, service_of
from emu.kube.node.kubelet import Kubelet
from emu.kube.node.node import Node
from emu.kube.plan import ClusterConfig
from emu.kube.policy.dataplane import Dataplane
from emu.kube.policy.follow import Live
from emu.kube.policy.settings import PolicySettings
from emu.kube.scheduler import Scheduler
from emu.kube.store import Store
from emu.kube.underlay.underlay import Underlay
from emu.wire.addr import Prefix

ROUNDS = 200  # more passes than the longest chain of owners needs
OF_SLICES = frozenset(("Pod", "Service", "Node", "Endpoints", "EndpointSlice"))
OF_FRONT_ENDS = (core.Service, core.Node, EndpointSlice)


class Parts(Protocol):
    """The parts of a cluster that the loops run. `under_way` holds the work that is due, of loops and kubelets."""

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
    def policy(self) -> Dataplane | None: ...
    @property
    def policies(self) -> Live: ...
    @property
    def under_way(self) -> set[Any]: ...


class Loops:
    """`start` starts everything at once; afterwards `act` is called after each change, and timers run the rest.

    `under_way` holds the work that is due: the cluster has settled when it is empty.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts, self.timing = parts, parts.config.timing
        self.store, self.clock = parts.store, parts.clock
        self.kubelets = {each.node.name: each for each in parts.kubelets}
        self.under_way = parts.under_way
        networks = [kubelet.network for kubelet in parts.kubelets]
        enforcing = parts.policy.agents if parts.policy is not None else ()
        self.agents = Agents(
            ["kube-proxy", *(name for network in networks for name in network.agents), *enforcing],
            Settings(
                parts.pod_subnet,
                (parts.config.proxy, parts.config.network_options, PolicySettings(parts.service_subnet)),
                any(each.pods_outside for each in networks),
            ),
            self.clock,
            self.store,
            parts.nodes.values(),
            self.under_way,
        )
        self._timers: dict[str, Timer] = {}
        self.controllers = Controllers(
            self.store, parts.seed, service_subnet=parts.service_subnet, clock=self.clock, act=self.act
        )
        self.scheduler = Scheduler(self.store)
        self.synced = 0  # how many times a kubelet checked a pod
        self._changed_pods: dict[str, set[Key]] = {}  # by node, since its kubelet ran
        self.look_at_all_pods()
        self.store.follow(self._pod_changed)
        self.store.graceful = self._graceful

    def start(self) -> None:
        """Start everything at once, in no virtual time; then begin to watch. Raises InputError."""
        self.agents.begin()
        if self.parts.config.live:
            self.controllers.take_over()
            self.scheduler.take_over()
        self.act(slices=True)
        self._advertise()
        outside = News(self.clock, self.timing.watch_ns, self.under_way, self._advertise)
        for kind in OF_FRONT_ENDS:
            self.store.watch(kind, outside.changed)
        self.agents.start(self.timing.watch_ns)
        while sum(each.retry() for each in self.kubelets.values()):  # an agent may have found more addresses
            self.act(slices=True)
            self.agents.run()
        for each in self.kubelets.values():
            each.report_waiting()
        self.clock.drain()
        self.parts.policies.begin()
        self.store.watch("*", self._changed)

    def act(self, *, slices: bool = False) -> None:
        """Run controllers, scheduler and kubelets in turns until nothing changes. Each reads only the objects that a change
        concerns."""
        store = self.store
        for _ in range(ROUNDS):
            before = store.version
            self.controllers.reconcile(slices=slices)
            self.scheduler.schedule()
            self._sync_kubelets()
            if store.version == before:
                break

    def _sync_kubelets(self) -> None:
        """Run the kubelets of the nodes whose pods changed, in the order of nodes."""
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
        """Make every kubelet check all of its pods."""
        for pod in self.store.list(core.Pod):
            self._pod_changed(None, pod)

    # -- delayed work ---------------------------------------------------------------------------

    def _changed(self, event: str, obj: Object, old: Object | None) -> None:
        kind, watch_ns = obj.kind, self.timing.watch_ns
        if kind in OF_SLICES:
            batch_ns = self.timing.endpoint_updates_batch_ns if kind == "Pod" else 0
            self._soon("slices", watch_ns + batch_ns)
        if isinstance(obj, core.Service) and obj.spec.selector and event != "DELETED":
            for pod in self.store.list(core.Pod, obj.namespace, obj.spec.selector):
                if pod.spec.node_name in self.kubelets:
                    self.kubelets[pod.spec.node_name].open_more(pod)

    def _soon(self, who: str, delay_ns: int) -> None:
        """Run a loop after `delay_ns`, unless it is due earlier already."""
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
        """Set the outside's routes: each address of a Service is routed to its node."""
        services = self.store.index(core.Service, reached_from_outside).of(True)
        slices = self.store.index(EndpointSlice, service_of)
        theirs = [each for service in services for each in slices.of(service.key[1:])]
        self.parts.underlay.advertise(front_ends(services, theirs, self.parts.nodes))

    # -- deletion -------------------------------------------------------------------------------

    def _graceful(self, obj: Object, grace_s: int | None) -> Object | None:
        """The API server's part in deleting a pod on a node: it sets the time of deletion, and the kubelet ends the pod.
        None: the pod is removed at once."""
        if not isinstance(obj, core.Pod) or not obj.spec.node_name or obj.finished:
            return None
        if self.store.find(Key("node", "", obj.spec.node_name)) is None or obj.spec.node_name not in self.parts.nodes:
            return None
        if grace_s is None:
            default_s = obj.spec.termination_grace_period_seconds
            grace_s = 30 if default_s is None else default_s
        if obj.terminating:  # a later request can only shorten the grace period
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
