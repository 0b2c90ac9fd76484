"""The cluster, assembled: underlay, nodes, objects, and the control loops.

`Cluster(config, objects)` boots everything, `apply`/`delete`/`scale`/`drain` change objects and `settle` lets
time pass until the control loops are done (`loops.py`); `tcp`, `udp`, `ping` and `send` run flows.
Must not know scenarios or files.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from typing import Any, TypeVar

from emu import craft
from emu.apps import apps
from emu.capture.capture import Capture
from emu.clock import MS, SECOND, Clock
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.device import Device
from emu.kernel.link.netem import Netem
from emu.kernel.link.veth import Veth
from emu.kernel.net.netns import Netns, Tally
from emu.kube import controllers
from emu.kube.api import core
from emu.kube.api.kinds import kind_named
from emu.kube.api.loader import Objects
from emu.kube.api.meta import Key, Object
from emu.kube.api.meta import replace as change
from emu.kube.dns.setup import ClusterDns
from emu.kube.flow import ends as target
from emu.kube.flow import lookup, programs
from emu.kube.flow import packet as packets
from emu.kube.flow import ping as pings
from emu.kube.flow import tcp as streams
from emu.kube.flow import udp as datagrams
from emu.kube.flow.ends import Target
from emu.kube.flow.flow import Flow, Talk
from emu.kube.flow.names import NODE, OUTSIDE, POD, UNDERLAY, AddressBook
from emu.kube.loops import Loops
from emu.kube.networks.network import Network, load_network
from emu.kube.node.kubelet import Kubelet
from emu.kube.node.node import Node, Sandbox
from emu.kube.plan import ClusterConfig, NodeConfig, check_subnets, labelled, plan_nodes
from emu.kube.plan_underlay import notes, outside_apps, plan_underlay, router_routes
from emu.kube.store import Store
from emu.kube.underlay.layout import EXTERNAL
from emu.kube.underlay.shape import EXTERNAL_IP, INTERNAL_IP
from emu.kube.underlay.underlay import Underlay, underlays
from emu.kube.unmodelled import Unmodelled
from emu.trail import Delivered, Dropped, Encapsulated, Natted
from emu.wire.addr import Prefix, ip4, ip4_text
from emu.wire.frame import ETH_P_IP, Frame

O = TypeVar("O", bound=Object)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Switch Python's collector of cycles off during the build: nothing is garbage, and a scan takes as long as the build."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Cluster:
    """A running cluster. Raises InputError for anything wrong in the config or the objects, before the clock starts.

    `nodes` and `pods` (by "namespace/name") are those that run, `namespaces` every network namespace by display name,
    `warnings` what is not modelled, a sentence each.
    """

    @_uncollected()
    def __init__(
        self,
        config: ClusterConfig | int | None = None,
        objects: Iterable[Object] = (),
        *,
        seed: int = 0,
        capture: bool = True,
    ) -> None:
        if config is None or isinstance(config, int):
            config = ClusterConfig.of(config or 2)
        objects = objects if isinstance(objects, Objects) else list(objects)
        self.config, self.seed = config, seed
        self.clock = Clock(seed)
        self.clock.cpus = config.cpus
        self.store = Store(seed)
        self.capture: Capture | None = Capture(self.clock) if capture else None
        self.addresses = AddressBook()
        self.store.follow(self.addresses.follow)
        if self.capture is not None:
            self.capture.names = self.addresses.names
        self.pod_subnet = Prefix.parse(config.pod_subnet, strict=True)
        self.service_subnet = Prefix.parse(config.service_subnet, strict=True)
        self.pods: dict[str, Sandbox] = {}
        self.nodes: dict[str, Node] = {}
        self.namespaces: dict[str, Netns] = {}
        self._gone, self._leaving = Tally(), list[Netns]()
        self.flows: dict[int, Flow] = {}
        self.warnings: list[str] = []
        self.unmodelled = Unmodelled(self.store, self.nodes, self.pods, self.warnings)
        self.unmodelled.given(config, objects)
        self.under_way: set[Any] = set()  # the work that is due: the cluster has settled when this is empty
        check_subnets(self.pod_subnet, self.service_subnet)
        declared = [each for each in objects if isinstance(each, core.Node)]
        nodes = plan_nodes(config, declared, self.pod_subnet)
        self.layout = plan_underlay(config, nodes)
        self.unmodelled.findings(notes(config, self.layout, nodes))
        self.underlay = underlays[config.underlay](self.clock, self.layout, {})
        for name, net in self.underlay.namespaces.items():
            self.adopt(name, net, OUTSIDE if name in self.underlay.hosts else UNDERLAY)
        for node in nodes:
            self._boot_node(node)
        for number, text in enumerate(router_routes(config, self.layout)):
            try:
                boot.route(self.underlay.router, text)
            except InputError as error:
                raise error.at(path=f"cluster.routes[{number}]") from None
        outside = ip4_text(self.layout.hosts[EXTERNAL].ip)
        self.dns = ClusterDns(config.dns, self.clock, self.store, self.pods, self.service_subnet, outside)
        self.dns.start(self.underlay.external)
        self.outside_apps = outside_apps(config, self.dns.built_in)
        for host, wanted in self.outside_apps.items():
            for app, port, protocol in wanted:
                apps[app](self.underlay.hosts[host], port, protocol, host)
        self.kubelets = [Kubelet(self, node, self._network(node)) for node in self.nodes.values()]
        self.unmodelled.network(self.kubelets[0].network.config, config.network)
        for obj in self.dns.with_coredns(objects):
            if not isinstance(obj, core.Node):
                self.store.apply(obj)
        self.loops = Loops(self)
        self.loops.start()
        self.addresses.update()
        gc.freeze()

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
            self.warnings.append(f"the underlay routes {prefix} to no node: {error.what}")

    def _boot_node(self, obj: core.Node) -> None:
        index = len(self.nodes)
        machine = self.layout.nodes[index]
        addresses = (
            core.NodeAddress(type=INTERNAL_IP, address=ip4_text(machine.ip)),
            *(core.NodeAddress(type=EXTERNAL_IP, address=each) for each in machine.external_ips),
        )
        self.store.put(change(obj, status=change(obj.status, addresses=addresses)))
        node = Node(self.clock, index, machine, Prefix.parse(obj.spec.pod_cidr), self.config.sysctls or {})
        self.nodes[node.name] = node
        self.adopt(node.name, node.net, NODE)
        self.underlay.connect(node.net, index)

    def adopt(self, name: str, net: Netns, rank: int = POD) -> None:
        """A namespace joins the cluster: its devices, now and later, are captured, its addresses named (with a `rank` of
        flow/names.py); drops, arrivals and NAT are reported to flows. One that was set aside is back."""
        if self._dropped in net.drop_listeners:
            self.namespaces[name] = net
            return
        if name in self.namespaces:  # a pod of that name ends on another node
            self._leaving.append(self.namespaces[name])
        self.namespaces[name] = net
        self.unmodelled.watch(name, net)
        self.addresses.watch(net, name, rank)
        if self.config.offloads:
            net.on_device(_switch_offloads_on)
        if self.capture is not None:
            self.capture.attach_namespace(net, name)
        net.drop_listeners.append(self._dropped)
        net.delivery_listeners.append(self._delivered)
        net.nat_listeners.append(self._translated)
        net.tunnel_listeners.append(self._carried)

    def _dropped(self, frame: Frame, fact: Dropped) -> None:
        found = self.flows.get(frame.flow)
        if found is not None and frame.ethertype == ETH_P_IP:
            found.lost(fact)

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

    def set_aside(self, name: str) -> None:
        """A pod's namespace is not there until it is adopted once more: its pod waits."""
        self.namespaces.pop(name, None)

    def disown(self, name: str) -> None:
        """A pod's namespace is gone."""
        net = self.namespaces.pop(name, None)
        if net is not None:
            self._leaving.append(net)
        self.unmodelled.forget(name)
        self.addresses.forget(name, POD)

    @property
    def gone(self) -> Tally:
        """The packets of namespaces that are gone."""
        return reduce(Tally.plus, (net.tally() for net in self._leaving), self._gone)

    def started(self, app: Any) -> None:
        """An app of a pod runs: if it is a DNS server, it answers for the cluster."""
        self.dns.configure(app)

    def act(self) -> None:
        """Run controllers, scheduler and kubelets on the changes."""
        self.loops.act()

    # -- objects --------------------------------------------------------------------------------

    def apply(self, obj: O, *, settle: bool = True) -> O:
        """Create or change an object and let the cluster settle. Without `settle` it settles as time passes.
        Raises InputError for a new node: none joins a running cluster."""
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

    def resolve(self, ref: str, protocol: str = "TCP") -> Target:
        """The target of a reference (the first, where a glob matches several). Raises InputError."""
        return target.targets(self, ref, protocol)[0]

    # -- flows ----------------------------------------------------------------------------------

    def _flow(self, kind: str, source: str, to: str | Target, protocol: str, name: str) -> Flow:
        where = to if isinstance(to, Target) else self.resolve(to, protocol)
        display = target.sources(self, source)[0]
        number = len(self.flows) + 1
        client = self.pods[display].net if display in self.pods else self.namespaces[display]
        made = Flow(self, number, kind, name or f"{kind} {display} -> {where.name}", display, where, client)
        self.flows[number] = made
        return made

    def _ported(self, made: Flow) -> Flow:
        if not made.target.port:
            del self.flows[made.number]
            raise InputError(f"{made.target.name!r} needs a port", expected=f"{made.target.name}:80")
        return made

    def tcp(
        self,
        source: str,
        to: str | Target,
        send: bytes = b"",
        *,
        port: int = 0,
        close: bool = True,
        blocking: bool = False,
        timeout_s: float = 10,
        name: str = "",
    ) -> Flow:
        """Connect from `source` to `to`, send, read the answer, close. `port` fixes the client's port.
        Without `close` the connection stays open; `more` uses it again. A `blocking` client waits inside connect(): it tries
        once more after an ICMP error that comes at once."""
        made = self._ported(self._flow("tcp", source, to, "TCP", name))
        talk = partial(streams.tcp, send=send, port=port, close=close, blocking=blocking)
        return self._run(made, self._named(talk), timeout_s)

    def more(
        self, before: Flow, send: bytes = b"", *, close: bool = True, timeout_s: float = 10, name: str = ""
    ) -> Flow:
        """A flow over the connection that an earlier flow left open. Raises InputError when it left none."""
        if before.socket is None:
            raise InputError(f"{before.name!r} left no connection open", expected="a tcp flow that does not close")
        made = Flow(self, len(self.flows) + 1, "tcp", name or before.name, before.source, before.target, before.client)
        made.before, self.flows[made.number] = before, made
        return self._run(made, partial(streams.more, send=send, close=close), timeout_s)

    def udp(
        self,
        source: str,
        to: str | Target,
        send: bytes = b"ping",
        *,
        port: int = 0,
        connected: bool = True,
        reply: bool = True,
        timeout_s: float = 5,
        name: str = "",
    ) -> Flow:
        """One datagram and its answer; `reply` False expects none."""
        made = self._ported(self._flow("udp", source, to, "UDP", name))
        talk = partial(datagrams.udp, send=send, port=port, connected=connected, reply=reply)
        return self._run(made, self._named(talk), timeout_s, answered=reply)

    def ping(
        self,
        source: str,
        to: str | Target,
        count: int = 1,
        *,
        interval_s: float = 1,
        size: int = 56,
        ttl: int = 0,
        timeout_s: float = 5,
        name: str = "",
    ) -> Flow:
        """`count` echo requests, one each `interval_s`."""
        where = to if isinstance(to, Target) else target.without_port(self, to)
        made = self._flow("ping", source, where, "ICMP", name)
        talk = partial(pings.ping, count=count, interval_ns=int(interval_s * SECOND), size=size, ttl=ttl)
        return self._run(made, self._named(talk), timeout_s)

    def send(
        self, source: str, packet: Any, *, device: str | None = None, timeout_s: float = 5, name: str = ""
    ) -> Flow:
        """Send any Scapy packet (or an expression as text, or bytes of a frame) from a namespace."""
        if isinstance(packet, str):
            packet = craft.expression(packet)
        dst = None if isinstance(packet, bytes) else craft.destination(packet)
        where = Target(ip4(dst) if dst else 0, 0, dst or "the link")
        made = self._flow("send", source, where, "", name)
        return self._run(made, partial(packets.packet, what=packet, device=device), timeout_s, answered=False)

    def resolve_name(self, source: str, name: str, *kinds: str) -> Flow:
        """Look a name up from `source`, for A and AAAA or the given types; the result is the flow's `resolved`."""
        made = self._flow("lookup", source, Target(0, 0, name, name), "", "")
        return self._run(made, partial(lookup.lookup, files=self.dns, name=name, kinds=kinds), 0)

    def _named(self, talk: Talk) -> Talk:
        return partial(lookup.named, files=self.dns, talk=talk)

    def _run(self, made: Flow, talk: Talk, timeout_s: float, *, answered: bool = True) -> Flow:
        """Run a flow. `answered`: its client's socket can see the outcome."""
        made.started_ns = self.clock.now
        talk(made, timeout_ns=int(timeout_s * SECOND))
        made.ended_ns = self.clock.now
        self.unmodelled.judge(made)
        return made

    def together(self, starts: Sequence[programs.Start]) -> None:
        """Call functions that begin flows, each at its time (ns): the flows overlap."""
        programs.together(self.clock, starts)

    def wait(self, seconds: float) -> None:
        """Let virtual time pass."""
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
        near = net.device(device)
        far = near.peer if isinstance(near, Veth) else None
        ends: list[Device] = [near] if far is None else [near, far]
        for end in ends:
            if down is not None:
                end.net.set_carrier(end.name, on=not down)
            if mtu is not None:
                end.set_mtu(mtu)
            if delay_ms is not None or loss is not None or lose:
                old = end.netem or Netem()
                chosen = Netem(
                    int(delay_ms * MS) if delay_ms is not None else old.delay_ns,
                    old.jitter_ns,
                    loss if loss is not None else old.loss,
                    frozenset(lose) if end is near else frozenset(),
                )
                end.netem = chosen if chosen.delay_ns or chosen.loss or chosen.lose else None

    def configure(self, where: str, change: Callable[[Netns], None]) -> None:
        """Let `change` set up the namespace of a node (`node/node-1`) or pod (`default/web`), as an administrator does with
        iptables, sysctl, ip or ipset. Raises InputError."""
        change(self.netns(where))

    def reshape(self, change: Callable[[Underlay], None]) -> None:
        """Let `change` change the network between the nodes, as who runs it does. Raises InputError."""
        change(self.underlay)


__all__ = ["Cluster", "ClusterConfig", "NodeConfig"]


def _switch_offloads_on(device: Device) -> None:
    """TX checksum, SG, TSO and GSO, as every veth and bridge of Linux has them; lo needs none."""
    device.offload = device.kind not in ("loopback", "vxlan")  # what a tunnel carries is completed before
