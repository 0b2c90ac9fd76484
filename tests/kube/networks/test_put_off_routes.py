"""Ways to other nodes are made where something is routed: a node that routes nothing has none, and who looks sees all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emu.errors import InputError
from emu.kernel import boot
from emu.kube.api.loader import load_text
from emu.kube.cluster import Cluster, ClusterConfig
from emu.wire.addr import ip4

NETWORKS = {"bridge": 29, "kindnet": 29, "flannel": 29, "calico": 29}  # the routes to other nodes of one among 30
PODS = "---\n".join(
    f"{{apiVersion: v1, kind: Pod, metadata: {{name: n{n}}}, spec: {{nodeName: node-{n}, containers: [{{name: c}}]}}}}\n"
    for n in (3, 7)
)


def built(network: str, *, capture: bool = False) -> Cluster:
    return Cluster(ClusterConfig.of(30, network=network, underlay="switched"), load_text(PODS).objects, capture=capture)


def ways(cluster: Cluster, node: str) -> int:
    """How many routes, and neighbours behind them, there are now."""
    net = cluster.nodes[node].root
    return sum(1 for route in net.ipv4.fib.main if route.gateway and route.prefix.length)


@pytest.mark.parametrize("capture", [False, True], ids=["no capture", "captured from the start"])
@pytest.mark.parametrize("network", NETWORKS)
def test_only_nodes_on_the_way_have_them(network: str, capture: bool) -> None:
    cluster = built(network, capture=capture)
    first = {"node-1"} if network == "kindnet" else set()  # there kindnetd shows what cannot be reached
    assert {name for name in cluster.nodes if ways(cluster, name)} == first
    assert cluster.ping("default/n3", "default/n7").delivered
    assert {name: ways(cluster, name) for name in cluster.nodes if ways(cluster, name)} == dict.fromkeys(
        sorted(first | {"node-3", "node-7"}), NETWORKS[network]
    )


LOOKS: dict[str, Callable[[Cluster], object]] = {
    "the node's namespace": lambda made: made.nodes["node-5"].net,
    "its namespace by name": lambda made: made.namespaces["node-5"],
    "a look-up": lambda made: made.nodes["node-5"].root.ipv4.lookup_output(ip4("10.244.7.2")),
    "the type of an address": lambda made: made.nodes["node-5"].root.ipv4.fib.addr_type(ip4("10.244.7.0")),
    "a gateway": lambda made: boot.route(made.nodes["node-5"].root, "198.51.100.0/24 via 10.244.7.0 onlink dev eth0"),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_who_looks_sees_all(look: Callable[[Cluster], object]) -> None:
    cluster = built("flannel")
    look(cluster)
    net = cluster.nodes["node-5"].root
    assert ways(cluster, "node-5") >= 29
    assert len(net.devices["flannel.1"].neigh[2]) == 29


def test_a_node_that_left_is_no_way_for_one_that_looks_late() -> None:
    cluster = built("flannel")
    cluster.delete("node", "", "node-9")
    assert ways(cluster, "node-5") == 0
    assert not any(str(route.prefix) == "10.244.9.0/24" for route in cluster.nodes["node-5"].net.ipv4.fib.main)
    assert ways(cluster, "node-5") == 28


def test_kindnetd_reports_at_once_what_it_cannot_reach() -> None:
    with pytest.raises(InputError, match="kindnetd of node-1 cannot route to node-2"):
        Cluster(ClusterConfig.of(3, network="kindnet", underlay="routed"), capture=False)


@pytest.mark.parametrize("network", ["bridge", "flannel", "calico"])
def test_the_way_to_a_node_that_left_is_gone_at_the_next_look_up(network: str) -> None:
    """The pod CIDRs of the nodes that stay have a narrower prefix than all had."""
    pods = "---\n".join(
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: n{n}}}, spec: {{nodeName: node-{n}, containers: [{{name: c}}]}}}}\n"
        for n in range(1, 5)
    )
    cluster = Cluster(ClusterConfig.of(4, network=network, underlay="switched"), load_text(pods).objects, capture=False)
    assert cluster.ping("default/n1", "default/n4").delivered
    fib, gone = cluster.nodes["node-1"].root.ipv4.fib, cluster.pods["default/n4"].ip
    before = fib.lookup(gone)
    assert before is not None and before.prefix.length
    cluster.delete("node", "", "node-4")
    after = fib.lookup(gone)
    fib.settle()
    assert after is fib.lookup(gone)
