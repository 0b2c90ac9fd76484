"""The cluster, assembled: underlay, nodes, objects, and the control loops.

`Cluster(config, objects)` boots everything, `apply`/`delete`/`scale`/`drain` change objects and `settle` lets
time pass until the control loops are done (`loops.py`); `tcp`, `udp`, `ping` and `send` run flows.
Must not know scenarios or files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import call
from typing import TYPE_CHECKING, Self, TypeVar, overload

from emu import page
from emu.apps import apps
from emu.capture.capture import Capture
from emu.clock import SECOND, Clock
from emu.collector import set_large_aside, set_modules_aside, uncollected
from emu.errors import InputError
from emu.fork import Snapshot, forked
from emu.kernel.iptables_text import iptables_text
from emu.kernel.net.netns import Netns, Tally
from emu.kube import cable, controllers, dumped
from emu.kube.api import core
from emu.kube.api.kinds import kind_named
from emu.kube.api.meta import Key, Object
from emu.kube.api.meta import replace as change
from emu.kube.api.sources import Source, checked, load
from emu.kube.dns.setup import ClusterDns
from emu.kube.flow import ends as target
from emu.kube.flow import given, lookup
from emu.kube.flow.flow import Flow
from emu.kube.flow.names import NODE, OUTSIDE, POD, ROLES, UNDERLAY, AddressBook
from emu.kube.flow.verbs import Verbs
from emu.kube.live.pods import Arrivals
from emu.kube.loops import Loops
from emu.kube.networks.network import Network, load_network
from emu.kube.node.found import Found
from emu.kube.node.kubelet import IFNAME, Kubelet
from emu.kube.node.namespaces import Namespaces
from emu.kube.node.node import Node, Sandbox, switch_offloads_on
from emu.kube.plan import ClusterConfig, NodeConfig, check_subnets, configured, labelled, plan_nodes
from emu.kube.plan_underlay import notes, outside_apps, plan_underlay, router_routes
from emu.kube.policy.follow import Live
from emu.kube.store import Store
from emu.kube.underlay.layout import EXTERNAL
from emu.kube.underlay.shape import EXTERNAL_IP, INTERNAL_IP
from emu.kube.underlay.underlay import Underlay, underlays
from emu.kube.unmodelled import Unmodelled
from emu.modelled import Finding
from emu.progress import Steps
from emu.trail import Delivered, Dropped, Encapsulated, Natted
from emu.wire.addr import Prefix, ip4_text
from emu.wire.frame import ETH_P_IP, Frame
from emu.wire.record import Record

if TYPE_CHECKING:
    from emu.kube.flow.replay.engine import Ended, Replay, Settings
    from emu.kube.flow.replay.hosts import Roles
    from emu.kube.flow.replay.paired import Sink

O = TypeVar("O", bound=Object)
LARGE = 500  # namespaces: what Python's collector is kept from


class Cluster(Verbs):
    """A running cluster. Raises InputError for anything wrong in the config or the objects, before the clock starts.

    `config` is the number of nodes (2, if it is None), or a configuration. `objects` are manifests as files, folders, text,
    dicts or objects, see `api/sources.py`. A large cluster shows on a terminal's stderr how far its build is.
    `from_start` False: the capture begins when the cluster is built, and a node that no frame comes to costs little (`node/unwired.py`).
    `nodes` and `pods` (by "namespace/name") are those that run, `namespaces` every network namespace by display name, `warnings` what
    is not modelled, a sentence each; `given` has the objects that it was built from; `differences` what nodes have otherwise than computed.
    """

    namespaces: Namespaces
    __deepcopy__ = forked
    _put_off = True  # whether pods that no packet reaches may go without a network

    @uncollected()
    def __init__(
        self,
        config: ClusterConfig | int | None = None,
        objects: Source = (),
        *,
        seed: int = 0,
        capture: bool = True,
        from_start: bool = True,
    ) -> None:
        config, objects = configured(config), checked(objects)
        steps = Steps("building the cluster", len(config.nodes) + len(objects))
        set_modules_aside()
        self.config, self.seed, self.given = config, seed, objects
        self.clock = Clock(seed)
        self.clock.cpus = config.cpus
        self.store = Store(seed)
        self.namespaces = Namespaces()
        self.capture = Capture(self.clock, None if from_start else self.namespaces) if capture else None
        self.capturing = capture and from_start
        self.unseen = self.capture.unseen if self.capture is not None else call
        self.addresses = AddressBook()
        self.store.follow(self.addresses.follow)
        if self.capture is not None:
            self.capture.names = self.addresses.names
        self.pod_subnet = Prefix.parse(config.pod_subnet, strict=True)
        self.service_subnet = Prefix.parse(config.service_subnet, strict=True)
        self.pods: dict[str, Sandbox] = {}
        self.as_found: dict[str, Found] = {}
        self.nodes: dict[str, Node] = {}
        self._gone, self._leaving = Tally(), list[Netns]()
        self.flows: dict[int, Flow] = {}
        self.warnings: list[str] = []
        self.policies = Live(self.store, self.clock, self.flows)
        # one object each for all namespaces
        self._naming = self.policies.named
        self._listeners = self._dropped, self._delivered, self._translated, self._carried
        self.unmodelled = Unmodelled(self.store, self.nodes, self.pods, self.warnings)
        self.unmodelled.given(config, objects)
        self.under_way: set[object] = set()  # the work that is due: the cluster has settled when this is empty
        check_subnets(self.pod_subnet, self.service_subnet)
        nodes = plan_nodes(config, [each for each in objects if isinstance(each, core.Node)], self.pod_subnet)
        self.layout = plan_underlay(config, nodes)
        self.unmodelled.findings(notes(config, self.layout, nodes))
        self.underlay = underlays[config.underlay](self.clock, self.layout, {})
        for name, net in self.underlay.namespaces.items():
            self.adopt(name, net, OUTSIDE if name in self.underlay.hosts else UNDERLAY)
        for node in nodes:
            self._boot_node(node)
            steps.done()
        self.underlay.route_as_stated(router_routes(config, self.layout))
        outside = ip4_text(self.layout.hosts[EXTERNAL].ip)
        self.dns = ClusterDns(config.dns, self.clock, self.store, self.pods, self.service_subnet, outside)
        self.dns.start(self.underlay.external)
        self.outside_apps = outside_apps(config, self.dns.built_in)
        for host, wanted in self.outside_apps.items():
            for app, port, protocol in wanted:
                apps[app](self.underlay.hosts[host], port, protocol, host)
        # a capture from the start has the frames of each pod's wiring
        put_off = self._put_off and not self.capturing and not config.live
        self.kubelets = [Kubelet(self, node, self._network(node), put_off=put_off) for node in self.nodes.values()]
        self.unmodelled.network(self.kubelets[0].network.config, config.network)
        self.policy = self.policies.enforced_by(config.policy or self.kubelets[0].network.policy, config.network)
        self.unmodelled.policy(self.policy, self.config.network, self.policies)
        arrivals = Arrivals(self.store, objects, self.underlay.reserve, live=config.live, only=config.only)
        self.as_found = arrivals.as_found
        for obj in self.dns.with_coredns(objects):
            if not isinstance(obj, core.Node):
                arrivals.apply(obj)
                steps.done()
        self.loops = Loops(self)
        with steps.last("waiting until pods run"):
            self.loops.start()
        self.unmodelled.findings(arrivals.end(config.network, self.pods.values(), self.underlay.route))
        self._take_dumps_over()
        self.policies.begin()
        self.addresses.update()
        if self.capture is not None and not from_start:
            self.capture.begin()
            self.capturing = True
        if len(self.namespaces) >= LARGE:
            set_large_aside()

    @classmethod
    @uncollected()
    def live(
        cls,
        *sources: Source,
        seed: int = 0,
        capture: bool = True,
        dumps: Mapping[str, str | os.PathLike[str]] | None = None,
    ) -> Self:
        """The cluster that an export shows (`kubectl get ... -A -o yaml`, a dump's folder or tar): every address, readiness and slice
        stays as it is there, and nodes are as their `dumps` show them, each a folder or tar. `warnings` has assumptions. Raises InputError."""
        from emu.kube.live.read import read  # only here: most clusters come from manifests

        found = read(load(*sources, live=True))
        return cls(dumped.beside(found.config, dumps or {}), found.objects, seed=seed, capture=capture)

    def __repr__(self) -> str:
        flows = f"{len(self.flows)} {'flow' if len(self.flows) == 1 else 'flows'}, at {self.clock.now / SECOND:.3f} s"
        return f"<Cluster of {len(self.nodes)} nodes, {len(self.pods)} pods, {flows}>"

    def _repr_html_(self) -> str:
        rows: list[tuple[object, ...]] = [("node", name, node.ip, "") for name, node in self.nodes.items()]
        rows += [("pod", name, pod.ip, pod.node.name) for name, pod in self.pods.items()]
        rows += [("flow", f"{number}: {flow.name}", "", flow.outcome) for number, flow in self.flows.items()]
        return page.table(repr(self).strip("<>"), ("", "name", "address", "on, or outcome"), rows)

    # -- copies ---------------------------------------------------------------------------------

    def fork(self) -> Self:
        """A second cluster in the same state, with a future of its own: its clock, its draws, its captures so far. No change of
        one is seen by the other. For many forks of one state, `snapshot` is cheaper. Raises InputError while the clock runs."""
        return self.snapshot().fork()

    def snapshot(self) -> Snapshot[Self]:
        """The state as it is now. Each `fork()` of it is a cluster of its own, for a third of what a build costs or less.
        Raises InputError while the clock runs, and where a program of your own in the cluster cannot be copied."""
        if self.clock.turning:
            raise InputError("a cluster cannot be copied while its clock runs", expected="a call between two flows")
        return Snapshot(self)

    # -- assembly -------------------------------------------------------------------------------

    def _network(self, node: Node) -> Network:
        assert node.pod_cidr is not None
        network = load_network(
            self.config.network,
            node.pod_cidr,
            self.pod_subnet,
            mtu=node.machine.nic.mtu,
            hairpin=self.config.hairpin,
            options=self.config.network_options,
            machine=node.machine,
        )
        if self.config.configure_cloud_routes:
            for prefix in network.routes:
                self._cloud_route(prefix, node)
        return network

    def _cloud_route(self, prefix: Prefix, node: Node) -> None:
        """The underlay's route to a node's pods. One that the router cannot have is reported."""
        try:
            self.underlay.route(prefix, node.ip)
        except InputError as error:
            what = f"the underlay routes {prefix} to no node: {error.what}"
            self.unmodelled.findings([Finding("", "", what, "route-refused")])

    def _boot_node(self, obj: core.Node) -> None:
        index = len(self.nodes)
        machine = self.layout.nodes[index]
        addresses = obj.status.addresses
        if not self.config.live:
            addresses = (
                core.NodeAddress(type=INTERNAL_IP, address=ip4_text(machine.ip)),
                *(core.NodeAddress(type=EXTERNAL_IP, address=each) for each in machine.external_ips),
            )
        self.store.put(change(obj, status=change(obj.status, addresses=addresses)))
        node = Node(self.clock, index, machine, Prefix.parse(obj.spec.pod_cidr), self.config.sysctls or {})
        self.nodes[node.name] = node
        self.adopt(node.name, node.root, NODE)
        self.namespaces.hold(node.name, node)
        self.underlay.connect(node.root, index)

    def adopt(self, name: str, net: Netns, rank: int = POD, *, node: str = "") -> None:
        """A namespace joins the cluster: its devices, now and later, are captured, its addresses named (with a `rank` of
        flow/names.py; a pod is on `node`); drops, arrivals and NAT are reported to flows. One that was set aside is back."""
        if self._dropped in net.drop_listeners:
            self.namespaces[name] = net
            return
        there = self.namespaces.get(name)
        if there is not None and there is not net:  # a pod of that name ends on another node
            self._leave(there)
        self.namespaces[name] = net
        self.unmodelled.watch(name, net)
        self.addresses.watch(net, name, rank)
        if self.config.offloads:
            net.on_device(switch_offloads_on)
        net.drop_listeners.append(self._naming)  # before the capture, which takes the trail
        if self.capture is not None:
            self.capture.attach_namespace(net, name, role=ROLES[rank], node=node)
        dropped, delivered, translated, carried = self._listeners
        net.drop_listeners.append(dropped)
        net.delivery_listeners.append(delivered)
        net.nat_listeners.append(translated)
        net.tunnel_listeners.append(carried)

    def hold(self, sandbox: Sandbox) -> None:
        """Who asks for a pod's namespace asks the pod. One that has none yet has an address all the same."""
        if sandbox.wired is None:
            if sandbox.name in self.namespaces:  # as above
                self._leave(self.namespaces[sandbox.name])
            self.addresses.expect(POD, sandbox.name, int(sandbox.ip), IFNAME)
        self.namespaces.hold(sandbox.name, sandbox)

    def _dropped(self, frame: Frame, fact: Dropped) -> None:
        found = self.flows.get(frame.flow)
        if found is not None and frame.ethertype == ETH_P_IP:
            found.lost(frame, fact)

    def _delivered(self, frame: Frame, fact: Delivered) -> None:
        found = self.flows.get(frame.flow)
        if found is not None:
            found.arrived(frame, fact.netns)

    def _translated(self, frame: Frame, fact: Natted) -> None:
        found = self.flows.get(frame.flow)
        if found is not None:
            found.translated(fact)

    def _carried(self, frame: Frame, fact: Encapsulated) -> None:
        found = self.flows.get(frame.flow)
        if found is not None:
            found.carried(fact)

    def _take_dumps_over(self) -> None:
        """What commands printed on nodes replaces what was computed there: `differences` are the findings."""
        self.differences, found = dumped.take_over(
            self.config.dumps, self.nodes, self.pods, self.pod_subnet, self.given, self.loops.agents.leave
        )
        self.unmodelled.findings(found)
        if self.capture is not None and self.config.dumps:
            self.capture.renamed()

    @property
    def name_files(self) -> lookup.NameFiles:
        """The files of /etc that clients look names up in."""
        return self.dns

    def judge(self, made: Flow) -> None:
        """A flow has ended: whether something that is not modelled decides about it, and which policies do."""
        self.unmodelled.judge(made)
        self.policies.ended(made)

    def set_aside(self, name: str) -> None:
        """A pod's namespace is not there until it is adopted once more: its pod waits."""
        self.namespaces.pop(name, None)

    def disown(self, name: str) -> None:
        """A pod's namespace is gone."""
        net = self.namespaces.pop(name, None)
        if net is not None:
            self._leave(net)
        self.unmodelled.forget(name)
        self.addresses.forget(name, POD)

    def _leave(self, net: Netns) -> None:
        self._leaving.append(net)
        if self.capture is not None:
            self.capture.release(net)

    @property
    def gone(self) -> Tally:
        """The packets of namespaces that are gone."""
        return reduce(Tally.plus, (net.tally() for net in self._leaving), self._gone)

    def started(self, app: object) -> None:
        """An app of a pod runs: if it is a DNS server, it answers for the cluster."""
        self.dns.configure(app)

    def act(self) -> None:
        """Run controllers, scheduler and kubelets on the changes."""
        self.loops.act()

    # -- objects --------------------------------------------------------------------------------

    @overload
    def apply(self, obj: O, *, settle: bool = True) -> O: ...
    @overload
    def apply(self, obj: Source, *, settle: bool = True) -> Object: ...
    def apply(self, obj: Source, *, settle: bool = True) -> Object:
        """Create or change an object and let the cluster settle; also of a manifest, or of several, one after the other. Gives
        the last one. Without `settle` it settles as time passes. Raises InputError, also for a new node: none joins a running
        cluster."""
        found = [obj] if isinstance(obj, Object) else checked(obj)
        if not found:
            raise InputError("there is nothing to apply", expected="an object or a manifest")
        return [self.put(each, settle=settle) for each in found][-1]

    def put(self, obj: O, *, settle: bool) -> O:
        """Apply one object."""
        if isinstance(obj, core.Node):
            if obj.name not in self.nodes:
                raise InputError(f"node {obj.name!r} cannot join a running cluster", expected=", ".join(self.nodes))
            obj = labelled(obj)
        stored = self.store.apply(obj)
        self.unmodelled.applied(obj)
        self._follow(settle)
        return stored

    def delete(self, kind: str, namespace: str, name: str, *, grace_s: int | None = None, settle: bool = True) -> None:
        """Delete an object and let the cluster settle; then a pod is gone. `grace_s` None is the pod's own grace
        period, 0 ends it at once. Raises InputError when there is no such object."""
        self.store.delete(Key(kind_named(kind), namespace, name), grace_s)
        self._follow(settle)

    def scale(self, kind: str, namespace: str, name: str, replicas: int, *, settle: bool = True) -> None:
        """Set a workload's replicas. Raises InputError."""
        controllers.scale(self.store, Key(kind_named(kind), namespace, name), replicas)
        self._follow(settle)

    def drain(self, name: str, *, settle: bool = True) -> list[str]:
        """`kubectl drain --ignore-daemonsets --force`: cordon a node and delete its pods, except those of DaemonSets;
        gives the deleted pods. Raises InputError."""
        self.cordon(name, settle=False)
        gone = []
        for pod in self.store.list(core.Pod):
            owner = pod.metadata.controller
            if pod.spec.node_name == name and not pod.terminating and (owner is None or owner.kind != "DaemonSet"):
                self.store.delete(pod.key)
                gone.append(f"{pod.namespace}/{pod.name}")
        self._follow(settle)
        return gone

    def cordon(self, name: str, *, unschedulable: bool = True, settle: bool = True) -> None:
        """`kubectl cordon`, or with `unschedulable` False `uncordon`. Raises InputError."""
        obj = self.store.get(core.Node, "", self.node(name).name)
        if obj is None:
            raise InputError(f"node {name!r} was deleted", expected="a node that the cluster still has")
        self.store.put(change(obj, spec=change(obj.spec, unschedulable=unschedulable)))
        self._follow(settle)

    def _follow(self, settle: bool) -> None:
        if settle:
            self.settle()
            return
        self.act()
        self.clock.drain()
        self.addresses.update()

    def settle(self) -> None:
        """Let time pass until the control loops are done: slices and rules are up to date, deleted pods are gone."""
        self.act()
        self.clock.drain()
        if self.under_way:
            self.clock.run(until=lambda: not self.under_way)
        self._gone, self._leaving = self.gone, []  # nothing is on its way to them any more
        self.addresses.update()

    def names(self) -> dict[tuple[int, int], list[str]]:
        """Every address, as (family, address), that has a name: pods, nodes, Services, the outside."""
        return self.addresses.current()

    # -- finding --------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """The node of exactly this name. Raises InputError."""
        if name not in self.nodes:
            found = target.sources(self, f"node/{name}")  # raises InputError with the nearest name
            raise InputError(f"{name!r} is not the name of one node", expected=" or ".join(found))
        return self.nodes[name]

    def pod(self, name: str) -> Sandbox:
        """A running pod by "namespace/name" or a glob. Raises InputError."""
        return self.pods[target.pods_of(self, name)[0]]

    def netns(self, ref: str) -> Netns:
        """The namespace of `ns/pod`, `pod/NAME`, `node/NAME` or `external`. Raises InputError."""
        return target.netns(self, ref)

    # -- time and links -------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Let virtual time pass."""
        given.seconds(seconds, "seconds")
        self.clock.run_until(self.clock.now + int(seconds * SECOND))

    def link(
        self,
        where: str,
        *,
        device: str = "eth0",
        down: bool | None = None,
        delay_ms: float | None = None,
        loss: float | None = None,
        mtu: int | None = None,
        lose: Iterable[int] = (),
    ) -> None:
        """Change the link of a node (`node-1`) or pod (`default/web`): both ends of the veth pair at `device`.

        `loss` is a probability for each direction; `lose` numbers the frames to lose among those that `where` sends.
        """
        net = self.namespaces[where] if where in self.namespaces else self.netns(where)
        cable.change(net.device(device), down=down, delay_ms=delay_ms, loss=loss, mtu=mtu, lose=lose)

    def iptables(self, where: str, *texts: str) -> None:
        """Change the rules of a node (`node-1`) or pod (`default/web`): commands as iptables takes them, one a line, such as
        `-t nat -A PREROUTING ...`, or a text of iptables-save, which comes to what is there. Raises InputError."""
        net = self.namespaces[where] if where in self.namespaces else self.netns(where)
        for text in texts:
            iptables_text(net, text)

    def write(self, path: str | os.PathLike[str], *, flow: Flow | int | None = None, force: bool = False) -> int:
        """Write the capture as pcapng: all of it, or the frames of one flow. Gives the number of frames. `force` replaces a
        file that emu did not write. Raises InputError: there is no capture, the file cannot be made."""
        if self.capture is None:
            raise InputError("nothing was captured", expected="a cluster with capture=True")
        return self.capture.write(path, flow=flow.number if isinstance(flow, Flow) else flow, force=force)

    def replay(
        self, records: Iterable[Record], roles: Roles, settings: Settings, sink: Sink, ended: Ended | None = None
    ) -> Replay:
        """Replay recorded frames (`flow/replay/engine.py`); the sink gets what became of each, `ended` each flow. Raises InputError."""
        from emu.kube.flow.replay.engine import replayed

        return replayed(self, records, roles, settings, sink, ended)

    def configure(self, where: str, change: Callable[[Netns], None]) -> None:
        """Let `change` set up the namespace of a node (`node/node-1`) or pod (`default/web`), as an administrator does with
        iptables, sysctl, ip or ipset. Raises InputError."""
        change(self.netns(where))

    def reshape(self, change: Callable[[Underlay], None]) -> None:
        """Let `change` change the network between the nodes, as who runs it does. Raises InputError."""
        change(self.underlay)


__all__ = ["Cluster", "ClusterConfig", "NodeConfig"]
