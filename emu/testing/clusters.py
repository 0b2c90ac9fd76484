"""Hypothesis strategies: whole clusters of any network and proxy mode, their workloads and Services, and flows between all ends.

A drawn value is frozen, and its repr is a Python expression. It shrinks towards one node, one workload of one pod, one Service, one flow, and
no policy. Must not know invariants.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from hypothesis import strategies as st

from emu.errors import InputError
from emu.kube.api.loader import load_text
from emu.kube.api.meta import Object
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.flow.flow import Flow
from emu.kube.networks.network import networks as pod_networks
from emu.kube.proxy.config import ProxyConfig
from emu.kube.proxy.mode import modes
from emu.testing.policies import PolicyShape, policies

PORT, SERVICE_PORT, CLOSED = 8080, 80, 9
NODE_PORT = 30000
SIZES = (1, 0, 100, 1400, 3000)
KINDS = ("Pod", "StatefulSet", "Deployment", "DaemonSet")
SERVICE_KINDS = ("ClusterIP", "NodePort", "LoadBalancer")


@dataclass(frozen=True)
class WorkloadShape:
    """Workload `w<number>`: `kind` is Pod, StatefulSet, Deployment or DaemonSet; `nodes` are those of its pods, counted from 1, where the
    kind is Pod, else only how many replicas there are. Its pods listen on TCP and UDP port 8080 (with `host_network` 8081 and up)."""

    nodes: tuple[int, ...] = (1,)
    kind: str = "Pod"
    host_network: bool = False

    def port(self, number: int) -> int:
        """The port that the pods of workload `number` listen on."""
        return PORT + 1 + number if self.host_network else PORT

    def names(self, number: int) -> tuple[str, ...]:
        """Its pods as ends of flows. Names that a controller makes are globs."""
        if self.kind in ("Deployment", "DaemonSet"):
            return (f"default/w{number}-*",)
        return tuple(f"default/w{number}-{at}" for at in range(len(self.nodes)))

    def manifests(self, number: int) -> Iterator[dict[str, Any]]:
        """Its objects."""
        labels = {"app": f"w{number}"}
        ports = [{"containerPort": self.port(number), "protocol": protocol} for protocol in ("TCP", "UDP")]
        spec = {"containers": [{"name": "app", "ports": ports}]} | ({"hostNetwork": True} if self.host_network else {})
        if self.kind == "Pod":
            for at, node in enumerate(self.nodes):
                name = {"name": f"w{number}-{at}", "labels": labels}
                yield {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": name,
                    "spec": {"nodeName": f"node-{node}", **spec},
                }
            return
        whole: dict[str, Any] = {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        }
        if self.kind != "DaemonSet":
            whole["replicas"] = len(self.nodes)
        if self.kind == "StatefulSet":
            whole["serviceName"] = f"w{number}"
        yield {"apiVersion": "apps/v1", "kind": self.kind, "metadata": {"name": f"w{number}"}, "spec": whole}


@dataclass(frozen=True)
class ServiceShape:
    """Service `s<number>` in front of workload `workload`, on TCP and UDP port 80, with cluster IP 10.96.0.`10 + number`; the other fields are
    those of a Service's spec."""

    workload: int = 0
    kind: str = "ClusterIP"
    external_policy: str = "Cluster"
    internal_policy: str = "Cluster"
    affinity: str = "None"

    def node_port(self, number: int, protocol: str) -> int:
        """The node port of Service `number`."""
        return NODE_PORT + 10 * number + (protocol == "UDP")

    def manifest(self, number: int, target: int) -> dict[str, Any]:
        """The object; its pods listen on port `target`."""
        ports: list[dict[str, Any]] = [
            {"name": protocol.lower(), "port": SERVICE_PORT, "protocol": protocol, "targetPort": target}
            for protocol in ("TCP", "UDP")
        ]
        spec: dict[str, Any] = {
            "type": self.kind, "clusterIP": f"10.96.0.{10 + number}", "selector": {"app": f"w{self.workload}"},
            "sessionAffinity": self.affinity, "internalTrafficPolicy": self.internal_policy, "ports": ports,
        }  # fmt: skip
        status: dict[str, Any] = {}
        if self.kind != "ClusterIP":
            spec["externalTrafficPolicy"] = self.external_policy
            for port in ports:
                port["nodePort"] = self.node_port(number, port["protocol"])
        if self.kind == "LoadBalancer":
            status = {"status": {"loadBalancer": {"ingress": [{"ip": f"198.51.100.{10 + number}"}]}}}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"s{number}"}, "spec": spec, **status}


@dataclass(frozen=True)
class FlowShape:
    """One flow: `kind` is tcp, udp or ping, `size` the number of bytes sent; `source` and `to` are ends as scenarios write them."""

    source: str
    to: str
    kind: str = "tcp"
    size: int = 1

    def run(self, cluster: Cluster) -> Flow | None:
        """Run it. None where an end is not there (any more), or has no address."""
        try:
            if self.kind == "ping":
                return cluster.ping(self.source, self.to, size=self.size, timeout_s=4)
            if self.kind == "udp":
                return cluster.udp(self.source, self.to, b"x" * self.size, timeout_s=4)
            return cluster.tcp(self.source, self.to, b"x" * self.size, timeout_s=4)
        except InputError:
            return None


@dataclass(frozen=True)
class ClusterShape:
    """A cluster and the flows to run in it. `network` "" is bridge, `underlay` "" the network's usual one, `policy` "" what enforces
    policies there."""

    workloads: tuple[WorkloadShape, ...]
    services: tuple[ServiceShape, ...] = ()
    flows: tuple[FlowShape, ...] = ()
    nodes: int = 1
    network: str = "bridge"
    underlay: str = ""
    proxy: str = "iptables"
    hairpin: bool = False
    masquerade_all: bool = False
    policies: tuple[PolicyShape, ...] = ()
    policy: str = ""

    @property
    def config(self) -> ClusterConfig:
        """For `emu.Cluster`."""
        proxy = ProxyConfig(mode=self.proxy, masquerade_all=self.masquerade_all)
        return ClusterConfig.of(
            self.nodes,
            network=self.network,
            policy=self.policy,
            underlay=self.underlay,
            hairpin=self.hairpin,
            proxy=proxy,
        )

    @property
    def manifests(self) -> str:
        """The objects as one file."""
        found = [each for number, workload in enumerate(self.workloads) for each in workload.manifests(number)]
        found += [each.manifest(number, self.target_port(each)) for number, each in enumerate(self.services)]
        found += [each.manifest(number) for number, each in enumerate(self.policies)]
        return "\n---\n".join(map(json.dumps, found))

    def target_port(self, service: ServiceShape) -> int:
        """The port that the pods of a Service listen on."""
        return self.workloads[service.workload].port(service.workload)

    @property
    def objects(self) -> list[Object]:
        """The objects, for `emu.Cluster`."""
        return list(load_text(self.manifests).objects)

    def build(self, seed: int = 0, *, capture: bool = True) -> Cluster:
        """The cluster, running. A small one takes some hundredths of a second."""
        return Cluster(self.config, self.objects, seed=seed, capture=capture)

    def run(self, cluster: Cluster) -> list[Flow]:
        """Run the flows, one after the other, and let 4 seconds pass, so that nothing is under way."""
        found = [made for each in self.flows if (made := each.run(cluster)) is not None]
        cluster.wait(4)
        return found

    @property
    def pods(self) -> list[str]:
        """Every pod as an end of a flow."""
        return [name for number, each in enumerate(self.workloads) for name in each.names(number)]


# -- strategies ----------------------------------------------------------------------------------------


@cache
def workloads(max_nodes: int = 2, max_replicas: int = 3) -> st.SearchStrategy[WorkloadShape]:
    """Workloads on up to `max_nodes` nodes."""
    placed = st.lists(st.integers(1, max_nodes), min_size=1, max_size=max_replicas).map(tuple)
    apart = st.lists(st.integers(1, max_nodes), min_size=1, max_size=max_nodes, unique=True).map(tuple)
    return st.one_of(
        st.builds(WorkloadShape, placed),
        st.builds(WorkloadShape, placed, st.sampled_from(KINDS)),
        st.builds(WorkloadShape, apart, st.just("Pod"), st.just(True)),
    )


@cache
def services(workloads: int = 1) -> st.SearchStrategy[ServiceShape]:
    """Services in front of one of so many workloads."""
    return st.builds(
        ServiceShape,
        st.integers(0, workloads - 1),
        st.sampled_from(SERVICE_KINDS),
        st.sampled_from(("Cluster", "Cluster", "Local")),
        st.sampled_from(("Cluster", "Cluster", "Cluster", "Local")),
        st.sampled_from(("None", "None", "ClientIP")),
    )


@cache
def flows(shape: ClusterShape) -> st.SearchStrategy[FlowShape]:
    """Flows of a cluster: from pods, nodes and the outside to Services, pods, nodes, node ports and the outside, open ports and closed ones, and
    to addresses that no host has."""
    nodes = [f"node/node-{number}" for number in range(1, shape.nodes + 1)]
    wanted = {protocol: _targets(shape, nodes, protocol) for protocol in ("tcp", "udp")}
    pinged = [*shape.pods * 2, *nodes, "external", "10.96.9.9"]
    every = [
        *(("tcp", to) for to in wanted["tcp"]), *(("udp", to) for to in wanted["udp"]), *(("ping", to) for to in pinged)
    ]  # fmt: skip
    sources = st.sampled_from([*shape.pods, *shape.pods, *nodes, "external"])
    return st.tuples(sources, st.sampled_from(every), st.sampled_from(SIZES)).map(
        lambda drawn: FlowShape(drawn[0], drawn[1][1], drawn[1][0], drawn[2])
    )


def _targets(shape: ClusterShape, nodes: Sequence[str], protocol: str) -> list[str]:
    """Where flows of a protocol go: half of them to Services, and most of the others to where something listens."""
    fronts = [f"svc/s{number}:{SERVICE_PORT}" for number in range(len(shape.services))]
    outer = list(_outer(shape, nodes, protocol))
    direct = [
        f"{name}:{workload.port(number)}"
        for number, workload in enumerate(shape.workloads)
        for name in workload.names(number)
    ]
    closed = [f"{name}:{CLOSED}" for name in (shape.pods[0], nodes[0])]
    absent = [f"{address}:{SERVICE_PORT}" for address in ("10.96.9.9", "192.0.2.1")]
    rest = [*direct * 2, f"external:{7 if protocol == 'tcp' else 53}", *closed, *absent]
    times = -(-len(rest) // max(1, len(fronts) + len(outer)))
    return [*fronts * times, *outer * times, *rest]


def _outer(shape: ClusterShape, nodes: Sequence[str], protocol: str) -> Iterator[str]:
    """Services by node ports and load balancers."""
    for number, service in enumerate(shape.services):
        if service.kind != "ClusterIP":
            yield from (f"{node}:{service.node_port(number, protocol.upper())}" for node in nodes)
        if service.kind == "LoadBalancer":
            yield f"198.51.100.{10 + number}:{SERVICE_PORT}"


@st.composite
def clusters(
    draw: st.DrawFn,
    max_nodes: int = 2,
    max_workloads: int = 2,
    max_services: int = 2,
    max_flows: int = 12,
    *,
    networks: Sequence[str] = (),
    proxies: Sequence[str] = (),
    max_policies: int = 0,
    dataplanes: Sequence[str] = ("",),
) -> ClusterShape:
    """Clusters with one Service or more, and one flow or more. `networks` and `proxies` are the pod networks and kube-proxy modes to choose from; by
    default all that there are. With `max_policies` they have policies, which one of `dataplanes` enforces ("": the network's own)."""
    nodes = draw(st.sampled_from((*range(1, max_nodes + 1), max_nodes)))
    drawn = tuple(draw(st.lists(workloads(nodes), min_size=1, max_size=max_workloads)))
    chosen = tuple(draw(st.lists(services(len(drawn)), min_size=1, max_size=max_services)))
    network = draw(st.sampled_from(_simplest_first(networks or sorted(pod_networks), "bridge")))
    shape = ClusterShape(
        drawn, chosen, (), nodes, network,
        draw(st.sampled_from(("", "", "switched"))) if network == "bridge" else "",
        draw(st.sampled_from(_simplest_first(proxies or sorted(modes), "iptables"))),
        draw(st.booleans()), draw(st.integers(0, 5)) == 5,
    )  # fmt: skip
    if max_policies:
        bound = tuple(draw(st.lists(policies(len(drawn)), max_size=max_policies)))
        shape = replace(shape, policies=bound, policy=draw(st.sampled_from([*dataplanes])))
    return replace(shape, flows=tuple(draw(st.lists(flows(shape), min_size=1, max_size=max_flows))))


def _simplest_first(names: Sequence[str], simplest: str) -> list[str]:
    return sorted(names, key=lambda name: name != simplest)
