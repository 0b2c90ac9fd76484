"""The agent host-gw: which routes it keeps on which underlay, and when it follows a change of nodes."""

from __future__ import annotations

import pytest

from emu.clock import MS
from emu.kernel import boot
from emu.kube.agent import Objects, Settings
from emu.kube.api.core import Node
from emu.kube.api.meta import replace
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.networks.host_gw import HostGw
from emu.wire.addr import Prefix, ip4


def built(underlay: str, network: str = "bridge") -> Cluster:
    return Cluster(ClusterConfig.of(3, underlay=underlay, network=network), capture=False)


def routes(cluster: Cluster, node: str) -> list[str]:
    return [each.text() for each in cluster.nodes[node].net.ipv4.fib.main if each.gateway and each.prefix.length]


@pytest.mark.parametrize("network", ["bridge", "flat", '{"name": "own", "plugins": [{"type": "bridge"}]}'])
def test_nodes_on_one_link_route_to_each_other(network: str) -> None:
    cluster = built("switched", network)
    assert routes(cluster, "node-1") == [
        "10.244.2.0/24 via 192.168.50.12 dev eth0",
        "10.244.3.0/24 via 192.168.50.13 dev eth0",
    ]
    assert routes(cluster, "node-3") == [
        "10.244.1.0/24 via 192.168.50.11 dev eth0",
        "10.244.2.0/24 via 192.168.50.12 dev eth0",
    ]


def test_nodes_on_links_of_their_own_leave_it_to_the_router() -> None:
    cluster = built("routed")
    assert routes(cluster, "node-1") == []
    assert [each.gateway for each in cluster.underlay.router.ipv4.fib.main.of(Prefix.parse("10.244.3.0/24"))] == [
        cluster.nodes["node-3"].ip
    ]


def test_the_agent_follows_nodes_after_the_watch_delay() -> None:
    cluster = built("switched")
    found = cluster.store.get(Node, "", "node-3")
    assert found is not None
    cluster.apply(replace(found, spec=replace(found.spec, pod_cidr="10.244.9.0/24")), settle=False)
    start_ns = cluster.clock.now
    cluster.clock.run_until(start_ns + 5 * MS - 1)
    assert "10.244.3.0/24 via 192.168.50.13 dev eth0" in routes(cluster, "node-1")
    cluster.clock.run_until(start_ns + 5 * MS)
    assert routes(cluster, "node-1") == [
        "10.244.2.0/24 via 192.168.50.12 dev eth0",
        "10.244.9.0/24 via 192.168.50.13 dev eth0",
    ]
    assert routes(cluster, "node-3") == routes(built("switched"), "node-3")
    cluster.delete("node", "", "node-2")
    assert routes(cluster, "node-1") == ["10.244.9.0/24 via 192.168.50.13 dev eth0"]


def test_a_route_that_is_in_the_way_is_replaced() -> None:
    cluster = built("routed")
    node, agent = cluster.nodes["node-1"], HostGw(Settings(cluster.pod_subnet))
    boot.route(node.net, "10.244.2.0/24 via 192.168.51.99")
    boot.route(node.net, "10.244.2.0/24 via 192.168.51.98 metric 7")
    link = agent.facts(node)._replace(subnet=Prefix.parse("192.168.0.0/16"))
    view = agent.view(Objects({Node: cluster.store.list(Node)}), None)
    value = agent.compile(view, link)
    assert {str(prefix) for prefix in value.via} == {"10.244.2.0/24", "10.244.3.0/24"}
    (moved,) = [each._replace(ip=ip4("192.168.51.1")) for each in view if each.name == "node-2"]
    assert agent.apply(node, agent.compile((moved,), link))
    assert routes(cluster, "node-1") == [
        "10.244.2.0/24 via 192.168.51.1 dev eth0",
        "10.244.2.0/24 via 192.168.51.98 dev eth0 metric 7",
    ]


def test_a_change_that_concerns_no_route_makes_none_anew() -> None:
    cluster = built("switched")
    before = [*cluster.nodes["node-1"].net.ipv4.fib.main]
    cluster.cordon("node-2")
    assert [*map(id, cluster.nodes["node-1"].net.ipv4.fib.main)] == [*map(id, before)]
