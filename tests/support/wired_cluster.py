"""A cluster's kernel side by commands of the tests' own and the real CNI plugins, from a scenario's YAML alone.

`ByObjects` has what all clusters share: the machines between the nodes, the nodes' interfaces, kubelet's settings, and plugins for pods. A network's
own class adds its agent (`wired_networks.py`). Addresses are those of the README's table of underlays; MACs, names of
plugins' veths and ids of containers are the emulator's draws. Must not import emu's networks or plugins.
"""

from __future__ import annotations

import ipaddress
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from calico_by_hand import NodeFacts
from emu.kube.cni.config import NetworkConfigList
from emu.twin.cni import LOOPBACK, Binaries
from emu.twin.pods import devices, renamed
from emu.twin.space import Space
from emu.twin.wired import Draws

PODS = "10.244.0.0/16"
INTERNET, EXTERNAL = "203.0.113.1", "203.0.113.10"


@dataclass(frozen=True)
class PodFacts:
    """A pod: "namespace/name", its node, and its port mappings for portmap."""

    name: str
    node: str
    ports: Sequence[Mapping[str, Any]]


class ByObjects:
    """`text` is a scenario of two nodes, whose pods name theirs. A subclass states the CNI configuration list of a node, and
    what the agent does before the pods come."""

    unread: re.Pattern[str] | None = None

    def __init__(self, text: str) -> None:
        documents = [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]
        self.cluster = next(each["cluster"] for each in documents if each["kind"] == "Scenario")
        self.switched = self.cluster.get("underlay") == "switched"
        self.pods = [_pod(each) for each in documents if each["kind"] == "Pod"]
        self.nodes = [f"node-{number}" for number in range(1, self.cluster["nodes"] + 1)]

    # -- what a network states ------------------------------------------------------------------

    def plugins(self, node: NodeFacts) -> dict[str, Any]:
        raise NotImplementedError

    def agent(self, node: NodeFacts, others: Sequence[NodeFacts], spaces: Mapping[str, Space], draws: Draws) -> None:
        """Before the node's pods come."""

    def files(self, node: NodeFacts) -> dict[str, str]:
        """What the agent leaves on the node's disk."""
        return {}

    def late(self, node: NodeFacts, pods: Sequence[PodFacts]) -> Sequence[PodFacts]:
        """The pods of a node that have to wait, so that kube-proxy has written its rules before."""
        return ()

    def settled(self, node: NodeFacts, host: Space) -> None:
        """After kube-proxy has written its rules."""

    def behind(self, node: NodeFacts) -> Sequence[str]:
        """The prefixes that the router between the nodes routes to the node."""
        return ()

    # -- what all have --------------------------------------------------------------------------

    def facts(self, number: int, draws: Draws) -> NodeFacts:
        """Node `number`, from 1: its address and gateway are those of the underlay."""
        lan = f"192.168.{50 if self.switched else 50 + number}"
        name = f"node-{number}"
        return NodeFacts(name, f"{lan}.{10 + number}/24", f"{lan}.1", draws.mac(name, "eth0"))

    def wire(self, spaces: Mapping[str, Space], draws: Draws) -> None:
        for space in spaces.values():
            space.ip([["link", "set", "dev", "lo", "up"]])
        nodes = [self.facts(number, draws) for number in range(1, len(self.nodes) + 1)]
        self.between(nodes, spaces, draws)
        for node in nodes:
            host = spaces[node.name]
            kubelet(host)
            self.interfaces(node, host)
            self.agent(node, [each for each in nodes if each is not node], spaces, draws)
        for node in nodes:
            host = spaces[node.name]
            with tempfile.TemporaryDirectory(prefix="emu-cni-") as disk:
                binaries = Binaries(host, Path(disk), self.files(node))
                own = [pod for pod in self.pods if pod.node == node.name]
                waiting = self.late(node, own)
                for pod in own:
                    if pod not in waiting:
                        self.add(pod, node, binaries, spaces[pod.name], draws)
                host.run("iptables-restore", "--noflush", text=draws.kube_proxy(node.name))
                sysctl(host, "net/ipv4/conf/all/route_localnet", 1)  # kube-proxy's, for its NodePorts
                for pod in waiting:
                    self.add(pod, node, binaries, spaces[pod.name], draws)
            self.settled(node, host)

    def between(self, nodes: Sequence[NodeFacts], spaces: Mapping[str, Space], draws: Draws) -> None:
        """A router with a cable to each node; or a switch, and a router at it."""
        middle, router = spaces["underlay"], spaces["gateway" if self.switched else "underlay"]
        for number, node in enumerate(nodes, 1):
            cable(middle, f"port{number}", spaces[node.name], "eth0", draws)
        if self.switched:
            cable(middle, "gw", router, "eth0", draws)
            words = f"link add name br0 address {draws.mac('underlay', 'br0')} type bridge mcast_snooping 0"
            middle.ip([words.split()])
            for port in ("gw", *(f"port{number}" for number in range(1, len(nodes) + 1))):
                middle.ip([["link", "set", "dev", port, "master", "br0"]])
            middle.ip([["link", "set", "dev", "br0", "up"]])
            sysctl(middle, "net/bridge/bridge-nf-call-iptables", 0)
        cable(router, "ext", spaces["external"], "eth0", draws)
        sysctl(router, "net/ipv4/ip_forward", 1)
        router.ip([f"addr add {INTERNET}/24 dev ext".split()])
        spaces["external"].ip(
            [f"addr add {EXTERNAL}/24 dev eth0".split(), f"route add default via {INTERNET} dev eth0".split()]
        )
        for number, node in enumerate(nodes, 1):
            if number == 1 or not self.switched:
                router.ip([f"addr add {node.gateway}/24 dev {'eth0' if self.switched else f'port{number}'}".split()])
        for node in nodes:
            router.ip([f"route add {prefix} via {node.ip}".split() for prefix in self.behind(node)])

    def interfaces(self, node: NodeFacts, host: Space) -> None:
        host.ip([f"addr add {node.address} dev eth0".split(), f"route add default via {node.gateway} dev eth0".split()])

    def add(self, pod: PodFacts, node: NodeFacts, binaries: Binaries, space: Space, draws: Draws) -> None:
        """The network's list, by the real plugins."""
        host, container = binaries.host, draws.container(pod.name)
        binaries.add(LOOPBACK, space, container, "lo")
        had = devices(host)
        result = binaries.add(
            conflist(self.plugins(node)), space, container, capability_args={"portMappings": pod.ports}
        )
        own, veth = draws.mac(pod.name, "eth0"), draws.veth(pod.name)
        for _ in renamed(result, host, space, had, veth, own, draws.macs(node.name)):
            pass

    def map_ports(
        self, pod: PodFacts, node: NodeFacts, binaries: Binaries, space: Space, address: str, draws: Draws
    ) -> None:
        """The real portmap alone, behind a pod that commands have wired."""
        if pod.ports:
            previous = {
                "cniVersion": self.plugins(node)["cniVersion"],
                "interfaces": [{"name": "eth0", "sandbox": space.path}],
                "ips": [{"version": "4", "address": f"{address}/32", "interface": 0}],
            }
            capabilities, container = {"portMappings": pod.ports}, draws.container(pod.name)
            network = conflist(self.plugins(node))
            binaries.add(network, space, container, capability_args=capabilities, previous=previous)


def _pod(manifest: Mapping[str, Any]) -> PodFacts:
    meta, spec = manifest["metadata"], manifest["spec"]
    ports = [port for each in spec["containers"] for port in each.get("ports", ()) if "hostPort" in port]
    mapped = [
        {
            "hostPort": each["hostPort"],
            "containerPort": each["containerPort"],
            "protocol": each.get("protocol", "TCP").lower(),
        }
        for each in ports
    ]
    return PodFacts(f"{meta.get('namespace', 'default')}/{meta['name']}", spec["nodeName"], mapped)


def conflist(value: Mapping[str, Any]) -> NetworkConfigList:
    return NetworkConfigList.parse(json.dumps(value))


def pod_cidr(node: NodeFacts) -> str:
    """The node controller gives node-N the N-th range of 256 addresses."""
    number = int(node.name.rpartition("-")[2])
    return str([*ipaddress.IPv4Network(PODS).subnets(new_prefix=24)][number])


def kubelet(host: Space) -> None:
    """What a node's boot sets."""
    sysctl(host, "net/ipv4/ip_forward", 1)
    sysctl(host, "net/bridge/bridge-nf-call-iptables", 1)
    sysctl(host, "net/bridge/bridge-nf-call-arptables", 0)


def cable(space: Space, name: str, other: Space, device: str, draws: Draws, mtu: int = 1500) -> None:
    one, two = draws.mac(space.name, name), draws.mac(other.name, device)
    words = f"link add name {name} address {one} mtu {mtu} type veth peer name {device} address {two} mtu {mtu}"
    space.ip([[*words.split(), "netns", other.path], ["link", "set", "dev", name, "up"]])
    other.ip([["link", "set", "dev", device, "up"]])


def sysctl(space: Space, path: str, value: int) -> None:
    with space.inside():
        Path("/proc/sys", path).write_text(str(value))


def iptables(space: Space, lines: str) -> None:
    """Each line is a call of `iptables`."""
    space.run("sh", "-ec", "\n".join(f"iptables -w {line}" for line in lines.splitlines() if line))
