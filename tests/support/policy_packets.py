"""Cells of policy cases by packets: a cluster of the case's objects, and calls between its pods, nodes and outside hosts.

Every destination listens on the port that is called. `.`: the first packet and the answers arrive; `X`: they do not. Must not know
what the cluster enforces policies with.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any

from scapy.layers.inet import IP
from scapy.layers.sctp import SCTP, SCTPChunkInit

import emu
from emu import craft
from emu.clock import MS
from emu.errors import SocketError
from emu.kernel.net.netns import Netns
from emu.kube.api.calico import IPAMBlock
from emu.kube.api.core import Node, Pod, PodStatus, Service
from emu.kube.api.meta import Key, Object, replace
from emu.kube.cni.calico_blocks import prefix_of
from emu.kube.plan import HostConfig
from emu.kube.underlay.shape import LanSettings, NicSettings
from emu.wire.addr import ip4, ip4_text
from emu.wire.dns import Question
from emu.wire.frame import SCTP as SCTP_NUMBER
from emu.wire.frame import Frame
from policy_cases import Case, Cell, World

WAIT_NS = 150 * MS
POD_BLOCK = re.compile(r"(cidr|except|networks)[^}]*10\.(244|0\.0\.0/8)")
# what a server of DNS answers, and any other program, too
QUESTION = craft.dns_query(Question("kubernetes.default.svc.cluster.local.", "A"), 1)
UNDERLAYS = {"aws-vpc": "vpc", "kindnet": "switched"}


def buildable(case: Case) -> str:
    """Why no cluster has a case's addresses; "" where one has."""
    if any(value.get("status", {}).get("phase") in ("Failed", "Succeeded") for value in case.value.get("objects", ())):
        return "a pod has finished, which a cluster would start"
    pods = ip_network("10.244.0.0/16")
    if any(ip_address(addr) in pods for addr, _ in case.outside().values()):
        return "an outside host has a pod's address"
    return ""


def cluster_of(case: Case, world: World, network: str, policy: str, **options: Any) -> emu.Cluster:
    """The case's cluster: nodes and outside hosts at their addresses, pods in the order of their addresses."""
    lans = {"172.31.7.0/24": "nodes", "198.18.0.0/24": "elsewhere"}
    hosts = [HostConfig("external", NicSettings(lan="elsewhere", address="198.18.0.9/24"))]
    for number, (name, (addr, _)) in enumerate(case.outside().items()):
        subnet = str(ip_network(f"{addr}/24", strict=False))
        lan = lans.setdefault(subnet, f"lan{number}")
        hosts.append(HostConfig(name, NicSettings(lan=lan, address=f"{addr}/24"), apps=()))
    config = emu.ClusterConfig(
        network=network,
        policy=policy,
        underlay=options.pop("underlay", UNDERLAYS.get(network, "routed")),
        lans=tuple(LanSettings(name, subnet, gateway=_gateway(subnet, network)) for subnet, name in lans.items()),
        external=tuple(hosts),
        live=network == "calico" and _keeps_addresses(case),
        **options,
    )
    objects = [*world.objects.values()] if config.live else [stored(obj) for obj in world.objects.values()]
    cluster = emu.Cluster(config, objects, capture=False)
    for block in cluster.store.list(IPAMBlock):  # so that hosts outside reach pods, as the cases state
        cluster.underlay.route(prefix_of(block), cluster.node(block.node).ip)
    if network == "kindnet":
        for node in cluster.nodes.values():
            if node.pod_cidr is not None:
                cluster.underlay.route(node.pod_cidr, node.ip)
    return cluster


def _keeps_addresses(case: Case) -> bool:
    """Whether the case's policies have blocks of pods' addresses, which Calico's IPAM would not give: the pods run with those of the case.
    A Service is not asked then, as nothing states that its pods are ready."""
    kinds = {value.get("kind") for value in case.value.get("objects", ())}
    return "Service" not in kinds and bool(POD_BLOCK.search(repr(case.value)))


def _gateway(subnet: str, network: str) -> str:
    """The router's address: the last one, in a VPC the first."""
    return str(ip_network(subnet)[1 if network == "aws-vpc" else -2])


def stored(obj: Object) -> Object:
    """An object as its user would write it: the cluster states a pod's address by itself."""
    if isinstance(obj, Pod) and not obj.finished:
        return replace(obj, status=PodStatus())
    return obj


class Caller:
    """Calls in one cluster. `objects` are those of the case as they stand."""

    def __init__(self, cluster: emu.Cluster, objects: dict[Key, Object]) -> None:
        self.cluster, self.objects = cluster, objects

    def net(self, name: str) -> Netns:
        kind, _, rest = name.partition("/")
        if kind == "out":
            return self.cluster.namespaces[rest]
        return self.cluster.namespaces[rest if kind == "node" else self._place(kind, rest)]

    def _place(self, namespace: str, name: str) -> str:
        pod = self.objects[Key("pod", namespace, name)]
        assert isinstance(pod, Pod)
        return pod.spec.node_name if pod.spec.host_network else f"{namespace}/{name}"

    def address(self, name: str) -> int:
        kind, _, rest = name.partition("/")
        if kind in ("out", "node"):
            there = self.net(name).ipv4.addresses
            return next(each.addr for each in there if each.device.name == "eth0")
        if kind == "svc":
            namespace, _, service = rest.partition("/")
            found = self.cluster.store.get(Service, namespace, service)
            assert found is not None
            return ip4(found.spec.cluster_ip)
        pod = self.cluster.store.get(Pod, kind, rest)
        assert pod is not None
        return ip4(pod.status.pod_ip)

    def call(self, cell: Cell) -> str:
        """`.`, or `X`."""
        source, listening = self.net(cell.source), self._listening(cell)
        probe: Callable[[Netns, int, int, list[tuple[Netns, int]]], bool]
        probe = {"TCP": self._tcp, "UDP": self._udp, "SCTP": self._sctp}[cell.protocol]
        found = {probe(source, addr, cell.port, listening) for addr in self._addresses(cell.destination)}
        return "." if found == {True} else "X" if found == {False} else "both"

    def _addresses(self, name: str) -> list[int]:
        """The destination's address; of a headless Service, those of its pods, which listen on the port that is called."""
        kind, _, rest = name.partition("/")
        namespace, _, service = rest.partition("/")
        found = self.cluster.store.get(Service, namespace, service) if kind == "svc" else None
        if found is None or found.spec.cluster_ip != "None":
            return [self.address(name)]
        pods = self.cluster.store.list(Pod, namespace, found.spec.selector)
        return [ip4(pod.status.pod_ip) for pod in pods if pod.status.pod_ip and not pod.finished]

    def _listening(self, cell: Cell) -> list[tuple[Netns, int]]:
        """Who may answer, on which port: the destination, or every pod of the cluster where it is a Service."""
        kind = cell.destination.partition("/")[0]
        if kind == "svc" or (kind == "node" and cell.port >= 30000):
            ports = {cell.port}
            ports |= {
                port for each in self.objects.values() if isinstance(each, Service) for port in _targets(each, self)
            }
            nets = {name: pod.net for name, pod in self.cluster.pods.items()}
            return [(net, port) for net in nets.values() for port in sorted(ports)]
        return [(self.net(cell.destination), cell.port)]

    def _turn(self, done: Callable[[], bool]) -> None:
        clock = self.cluster.clock
        end = clock.now + WAIT_NS
        clock.call_at(end, lambda: None)
        clock.run(until=lambda: done() or clock.now >= end)

    def _tcp(self, source: Netns, addr: int, port: int, listening: list[tuple[Netns, int]]) -> bool:
        servers = []
        for net, number in listening:
            server = net.sockets.tcp()
            try:
                server.bind(("0.0.0.0", number))
                server.listen()
                servers.append(server)
            except SocketError:  # the pod's app listens on its declared ports
                server.close()
        client = source.sockets.tcp()
        client.connect((addr, port))
        self._turn(lambda: client.connected or bool(client.error))
        made = bool(client.connected)
        client.abort()
        for server in servers:
            while True:
                try:
                    server.accept().abort()
                except SocketError:
                    break
            server.close()
        self.cluster.clock.run_until(self.cluster.clock.now + MS)
        return made

    def _udp(self, source: Netns, addr: int, port: int, listening: list[tuple[Netns, int]]) -> bool:
        servers = []
        for net, number in listening:
            server = net.sockets.udp()
            try:
                server.bind(("0.0.0.0", number))
                servers.append(server)
            except SocketError:  # the pod's app answers on its declared ports
                server.close()
        client = source.sockets.udp()
        client.connect((addr, port))
        with suppress(SocketError):
            client.send(QUESTION)
        self._turn(lambda: any(server.inbox for server in servers) or bool(client.errors) or bool(client.inbox))
        for server in servers:
            while server.inbox:
                data, peer = server.recvfrom()
                server.sendto(data, peer)
        self._turn(lambda: bool(client.inbox) or bool(client.errors))
        made = bool(client.inbox)
        for each in (client, *servers):
            each.close()
        return made

    def _sctp(self, source: Netns, addr: int, port: int, listening: list[tuple[Netns, int]]) -> bool:
        """No socket of emu speaks SCTP: the packet arrives, which is what a policy decides about."""
        arrived: list[object] = []

        def dropped(frame: Frame, fact: object) -> None:
            if frame.proto == SCTP_NUMBER:
                arrived.append(fact)

        nets = [net for net, _ in listening]
        for net in nets:
            net.drop_listeners.append(dropped)
            net.delivery_listeners.append(dropped)
        text = ip4_text(source.sockets.source_for(addr))
        packet = (
            IP(src=text, dst=ip4_text(addr)) / SCTP(sport=40000 + len(arrived), dport=port, tag=0) / SCTPChunkInit()
        )
        source.sockets.send_packet(packet)
        self._turn(lambda: bool(arrived))
        for net in nets:
            net.drop_listeners.remove(dropped)
            net.delivery_listeners.remove(dropped)
        return bool(arrived)


def _targets(service: Service, caller: Caller) -> set[int]:
    found: set[int] = set()
    for port in service.spec.ports:
        if isinstance(port.target_port, int):
            found.add(port.target_port)
        elif port.target_port is None:
            found.add(port.port)
        else:
            for obj in caller.objects.values():
                if isinstance(obj, Pod):
                    found |= {p.container_port for p in obj.spec.ports if p.name == port.target_port}
    return found


def change(cluster: emu.Cluster, made: list[Object], gone: list[Key]) -> None:
    """A step's changes, and the time that the cluster takes for them."""
    for obj in made:
        if not isinstance(obj, Node):
            cluster.apply(stored(obj))
    for key in reversed(gone):  # what is in a namespace, then the namespace
        cluster.delete(*key, grace_s=0)
