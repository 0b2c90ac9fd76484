"""The agent of `hostroutes`: it follows Node objects, and keeps a route to each other node's pod CIDR.

Must not know pods, or how the CNI plugins wire them.
"""

from __future__ import annotations

from emu.kernel import boot
from emu.kube.agent import Agent, Node, Objects, agents
from emu.kube.api.core import Node as NodeObject

Peers = dict[str, tuple[str, str]]  # node name -> its InternalIP, its pod CIDR


@agents.add("hostroutes-agent")
class HostRoutes(Agent[Peers, str, frozenset[str]]):
    """View: the nodes that can be routed to. Facts: the node's own name. Value: routes as `ip route add` takes them."""

    watches = (NodeObject,)

    def view(self, objects: Objects, before: Peers | None) -> Peers:
        return {
            node.name: (address.address, node.spec.pod_cidr)
            for node in objects.list(NodeObject)
            for address in node.status.addresses
            if address.type == "InternalIP" and node.spec.pod_cidr
        }

    def facts(self, node: Node) -> str:
        return node.name

    def compile(self, view: Peers, facts: str) -> frozenset[str]:
        return frozenset(f"{cidr} via {ip} dev eth0 proto static" for name, (ip, cidr) in view.items() if name != facts)

    def apply(self, node: Node, value: frozenset[str]) -> bool:
        fib = node.net.ipv4.fib
        ours = {route.text(): route for route in fib.main if route.proto == "static"}
        for text in sorted(ours.keys() - value):
            fib.remove(ours[text])
        for text in sorted(value - ours.keys()):
            boot.route(node.net, text)
        return True
