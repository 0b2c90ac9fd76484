"""The pod networks, each wired in this machine's kernel from the objects: what its agent does, by `ip`, `bridge` and `iptables`; and its pods
by the real plugins, or by commands where Debian has none (Calico, AWS). Must not import emu's networks or plugins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import aws_node
import calico_by_hand as calico
from calico_by_hand import NodeFacts
from emu.twin.cni import Binaries
from emu.twin.space import Space
from emu.twin.wired import Draws
from flannel_by_hand import KINDNET_RULES, Backend, flannel_rules, route_others, tunnel
from wired_cluster import EXTERNAL, INTERNET, ByObjects, PodFacts, cable, iptables, pod_cidr, sysctl

PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
EVERYWHERE = [{"dst": "0.0.0.0/0"}]
MASQ = (
    "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain"
)
LOCAL = '-m comment --comment "ip-masq-agent: local traffic is not subject to MASQUERADE" -j RETURN'
IP_MASQ_AGENT = f"""
-t nat -N IP-MASQ-AGENT
-t nat -A POSTROUTING -m comment --comment "{MASQ}" -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT
-t nat -A IP-MASQ-AGENT -d 169.254.0.0/16 {LOCAL}
-t nat -A IP-MASQ-AGENT -d 10.0.0.0/8 {LOCAL}
-t nat -A IP-MASQ-AGENT -d 172.16.0.0/12 {LOCAL}
-t nat -A IP-MASQ-AGENT -d 192.168.0.0/16 {LOCAL}
-t nat -A IP-MASQ-AGENT -m comment --comment "ip-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)" -j MASQUERADE
"""


class Bridge(ByObjects):
    """The router between the nodes has a route to each node's pods, as a cloud's has."""

    def plugins(self, node: NodeFacts) -> dict[str, Any]:
        ipam = {"type": "host-local", "ranges": [[{"subnet": pod_cidr(node)}]], "routes": EVERYWHERE}
        bridge = {"type": "bridge", "bridge": "cbr0", "isGateway": True, "ipMasq": False, "mtu": 1500, "ipam": ipam}
        bridge["hairpinMode"] = self.cluster.get("hairpin", False)
        return {"cniVersion": "1.0.0", "name": "bridge", "plugins": [bridge, PORTMAP]}

    def behind(self, node: NodeFacts) -> Sequence[str]:
        return (pod_cidr(node),)

    def agent(self, node: NodeFacts, others: Sequence[NodeFacts], spaces: Mapping[str, Space], draws: Draws) -> None:
        iptables(spaces[node.name], IP_MASQ_AGENT)


class Kindnet(ByObjects):
    def plugins(self, node: NodeFacts) -> dict[str, Any]:
        ipam = {"type": "host-local", "routes": EVERYWHERE, "ranges": [[{"subnet": pod_cidr(node)}]]}
        ptp = {"type": "ptp", "ipMasq": False, "ipam": ipam, "mtu": 1500}
        return {"cniVersion": "0.3.1", "name": "kindnet", "plugins": [ptp, PORTMAP]}

    def agent(self, node: NodeFacts, others: Sequence[NodeFacts], spaces: Mapping[str, Space], draws: Draws) -> None:
        iptables(spaces[node.name], KINDNET_RULES)
        route_others(spaces[node.name], {pod_cidr(each): each.ip for each in others})


class Flannel(ByObjects):
    """vxlan, or host-gw if the backend is that."""

    @property
    def backend(self) -> Backend | None:
        kind = self.cluster.get("flannel", {}).get("Backend", {}).get("Type", "vxlan")
        return Backend(1, 8472, 1450) if kind == "vxlan" else None

    def plugins(self, node: NodeFacts) -> dict[str, Any]:
        flannel = {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}}
        return {"cniVersion": "0.3.1", "name": "cbr0", "plugins": [flannel, PORTMAP]}

    def files(self, node: NodeFacts) -> dict[str, str]:
        first, mtu = pod_cidr(node).replace(".0/24", ".1/24"), 1500 if self.backend is None else self.backend.mtu
        words = f"FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET={first}\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n"
        return {"/run/flannel/subnet.env": words}

    def agent(self, node: NodeFacts, others: Sequence[NodeFacts], spaces: Mapping[str, Space], draws: Draws) -> None:
        host = spaces[node.name]
        iptables(host, flannel_rules(pod_cidr(node)))
        if self.backend is None:
            route_others(host, {pod_cidr(each): each.ip for each in others})
            return
        peers = {pod_cidr(each): (each.ip, draws.mac(each.name, self.backend.device)) for each in others}
        tunnel(host, self.backend, node.ip, pod_cidr(node), draws.mac(node.name, self.backend.device), peers)


class Calico(ByObjects):
    unread = re.compile(r'-m comment --comment "cali:[\w-]{16}" ')

    @property
    def pool(self) -> calico.Pool:
        return calico.Pool("10.244.0.0/16", self.cluster["calico"]["vxlanMode"])

    def placed(self) -> dict[str, list[str]]:
        return {node: [pod.name for pod in self.pods if pod.node == node] for node in self.nodes}

    def plugins(self, node: NodeFacts) -> dict[str, Any]:
        return {"cniVersion": "0.3.1", "name": "k8s-pod-network", "plugins": [{**PORTMAP, "snat": True}]}

    def agent(self, node: NodeFacts, others: Sequence[NodeFacts], spaces: Mapping[str, Space], draws: Draws) -> None:
        nodes, pods = sorted([node, *others], key=lambda each: each.name), self.placed()
        macs = {pod: draws.mac(pod, "eth0") for pod in pods[node.name]}
        host = spaces[node.name]
        sysctl(host, "net/netfilter/nf_conntrack_acct", 1)  # felix's configureKernel
        own = next(each for each in nodes if each.name == node.name)
        calico.network(host, spaces, own, nodes, self.pool, pods, macs)
        text = calico.rules(self.pool, pods[node.name])
        host.run("iptables-restore", "--noflush", text=calico.first_and_last(text)[0])

    def add(self, pod: PodFacts, node: NodeFacts, binaries: Binaries, space: Space, draws: Draws) -> None:
        nodes = [self.facts(number, draws) for number in range(1, len(self.nodes) + 1)]
        address = calico.addresses(self.pool, nodes, self.placed())[pod.name]
        self.map_ports(pod, node, binaries, space, address, draws)

    def settled(self, node: NodeFacts, host: Space) -> None:
        text = calico.rules(self.pool, self.placed()[node.name])
        host.run("iptables-restore", "--noflush", text=calico.first_and_last(text)[1])


# By the VPC's own words: a subnet a node, 10.0.0.0/20 and 10.0.16.0/20; the instance type has two interfaces of two addresses
ENIS = {
    "node-1": (("10.0.0.11", "10.0.0.100"), ("10.0.0.101", "10.0.0.102")),
    "node-2": (("10.0.16.11", "10.0.16.100"), ("10.0.16.101", "10.0.16.102")),
}
PUBLIC, NAT_GATEWAY, ROUTER = "192.0.2", "10.0.15.254", "10.0.0.1"  # outside; in the first subnet


class Aws(ByObjects):
    """Pods take the addresses of the first interface first."""

    def plugins(self, node: NodeFacts) -> dict[str, Any]:
        return {"cniVersion": "0.4.0", "name": "aws-cni", "plugins": [{**PORTMAP, "snat": True}]}

    def facts(self, number: int, draws: Draws) -> NodeFacts:
        name = f"node-{number}"
        address = ENIS[name][0][0]
        return NodeFacts(name, f"{address}/20", f"{address.rpartition('.')[0]}.1", draws.mac(name, "eth0"))

    def enis(self, node: NodeFacts, draws: Draws) -> list[aws_node.Interface]:
        return [
            aws_node.Interface(
                number, draws.mac(node.name, f"eth{number}"), f"{primary}/20", node.gateway, (secondary,)
            )
            for number, (primary, secondary) in enumerate(ENIS[node.name])
        ]

    def between(self, nodes: Sequence[NodeFacts], spaces: Mapping[str, Space], draws: Draws) -> None:
        """The VPC's ports, the internet behind its gateway, and a NAT gateway."""
        vpc, internet, gateway, outside = (spaces[name] for name in ("vpc", "internet", "nat-gateway", "external"))
        cable(vpc, "igw", internet, "igw", draws, 9001)
        cable(vpc, "nat-gateway", gateway, "eth0", draws, 9001)
        cable(internet, "ext", outside, "eth0", draws)
        for number, node in enumerate(nodes, 1):
            ports = {0: f"port{number}", 1: f"port{number}.1"}
            aws_node.cable(spaces[node.name], vpc, self.enis(node, draws), ports, draws.macs("vpc"))
        for router in (internet, gateway):
            sysctl(router, "net/ipv4/ip_forward", 1)
        internet.ip([f"addr add {PUBLIC}.1/24 dev igw".split(), f"addr add {INTERNET}/24 dev ext".split()])
        outside.ip([f"addr add {EXTERNAL}/24 dev eth0".split(), f"route add default via {INTERNET} dev eth0".split()])
        for where in ("all", "eth0"):
            sysctl(gateway, f"net/ipv4/conf/{where}/send_redirects", 0)
        gateway.ip([f"addr add {NAT_GATEWAY}/20 dev eth0".split(), f"route add default via {ROUTER} dev eth0".split()])
        iptables(gateway, f"-t nat -A POSTROUTING -o eth0 -j SNAT --to-source {NAT_GATEWAY} --random-fully")

    def interfaces(self, node: NodeFacts, host: Space) -> None:
        """The agent's, too: ipamd sets up what the cloud has attached."""

    def late(self, node: NodeFacts, pods: Sequence[PodFacts]) -> Sequence[PodFacts]:
        """Those for whom a second interface has to be attached, which takes EC2 seconds."""
        return pods[1:]

    def own(self, node: NodeFacts, draws: Draws) -> list[aws_node.Pod]:
        pods = [each.name.split("/") for each in self.pods if each.node == node.name]
        addresses = [secondary for _, secondary in ENIS[node.name]]
        found = []
        for (namespace, name), address in zip(pods, addresses, strict=False):
            pod = f"{namespace}/{name}"
            outside = draws.mac(node.name, draws.veth(pod))
            found.append(aws_node.Pod(namespace, name, address, draws.mac(pod, "eth0"), outside))
        return found

    def agent(self, node: NodeFacts, others: Sequence[NodeFacts], spaces: Mapping[str, Space], draws: Draws) -> None:
        aws_node.network(spaces[node.name], spaces, self.enis(node, draws), self.own(node, draws))

    def add(self, pod: PodFacts, node: NodeFacts, binaries: Binaries, space: Space, draws: Draws) -> None:
        address = next(each.address for each in self.own(node, draws) if f"{each.namespace}/{each.name}" == pod.name)
        self.map_ports(pod, node, binaries, space, address, draws)
