"""kindnetd, the node agent: a route to each other node's pod CIDR by the node's address, and the rules of who is masqueraded.

Source: images/kindnetd/cmd/kindnetd of kind (routes.go, masq.go, main.go). It reads all nodes every ten seconds, and
removes no route of a node that is gone. Its network policies are in `policy/`. Must not know pods.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.net.fib_semantics import Route
from emu.kube.agent import Agent, Node, Objects, Settings, agents
from emu.kube.api.core import Node as NodeObject
from emu.kube.cni.iptables import Table, comment
from emu.kube.networks.within import Within
from emu.wire.addr import Prefix, ip4, ip4_text

PERIOD_NS = 10 * SECOND  # between two looks at the nodes
RULES_EVERY = 6  # looks between two at the rules: 60 s
CHAIN = "KIND-MASQ-AGENT"
LOCAL = "kind-masq-agent: local traffic is not subject to MASQUERADE"
LAST = "kind-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)"
JUMP = f"kind-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom {CHAIN} chain"
Peers = Mapping[int, tuple[str, Prefix]]  # by InternalIP: the node's name and its pod CIDR


@agents.add("kindnetd")
class Kindnetd(Agent[Peers, int, Peers]):
    """Facts: the node's own address. Value: all nodes, itself among them."""

    watches = (NodeObject,)
    min_period_ns = resync_period_ns = max_period_ns = PERIOD_NS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._looks: dict[str, int] = {}
        self._within = Within()
        self._tried: Peers | None = None  # on a first node: what cannot be reached is reported at once
        self._planned: dict[str, Peers] = {}  # by node, what it adds routes to when it routes

    def start(self, node: Node, own: NodeObject) -> NodeObject:
        self._sync_rules(node)
        return own

    def view(self, objects: Objects, before: Peers | None) -> Peers:
        found: dict[int, tuple[str, Prefix]] = {}
        for node in objects.list(NodeObject):
            for address in node.status.addresses:
                if address.type == "InternalIP" and node.spec.pod_cidr:
                    found[ip4(address.address)] = node.name, Prefix.parse(node.spec.pod_cidr)
        return before if before == found else found

    def facts(self, node: Node) -> int:
        return node.ip

    def compile(self, view: Peers, facts: int) -> Peers:
        return view

    def apply(self, node: Node, value: Peers) -> bool:
        if self._tried is not value:
            self._tried = value
            node.root.settle()
            self._sync(node, value)
        elif self._planned.get(node.name) is not value:
            self._planned[node.name] = value
            within = self._within.of(value, (subnet for _, subnet in value.values()))
            node.root.put_off(within, partial(self._sync, node, value))
        return True

    def _sync(self, node: Node, peers: Peers) -> None:
        if self._planned.get(node.name) is peers:
            del self._planned[node.name]
        for address, (name, subnet) in peers.items():
            if address != node.ip:
                self._sync_route(node, name, address, subnet)

    def intact(self, node: Node) -> bool:
        """The rules are looked at every minute; routes at every run."""
        looks = self._looks[node.name] = self._looks.get(node.name, 0) + 1
        if looks % RULES_EVERY == 0:
            self._sync_rules(node)
        return True

    def _sync_rules(self, node: Node) -> None:
        """SyncRules: each rule is appended where it is missing, in no other order."""
        table = Table(node.root, "nat")
        table.ensure(CHAIN)
        table.add(CHAIN, ["-d", str(self.settings.pod_subnet), *comment(LOCAL), "-j", "RETURN"])
        table.add(CHAIN, [*comment(LAST), "-j", "MASQUERADE"])
        table.add("POSTROUTING", ["-m", "addrtype", "!", "--dst-type", "LOCAL", *comment(JUMP), "-j", CHAIN])
        table.run()

    @staticmethod
    def _sync_route(node: Node, name: str, address: int, subnet: Prefix) -> None:
        """syncRoute. Raises InputError where the other node is on no link of this one: kindnetd ends then."""
        fib = node.root.ipv4.fib
        there = [*fib.main.of(subnet)]
        for route in there:
            if route.gateway != address:
                fib.remove(route)
        if all(route.gateway != address for route in there):
            try:
                boot.put_route(node.root, Route(subnet, gateway=address), str(subnet))
            except InputError:
                what = f"kindnetd of {node.name} cannot route to {name}: {ip4_text(address)} is on no link of the node"
                raise InputError(
                    what, path="cluster.underlay", expected="nodes on one link, as with underlay: switched"
                ) from None
