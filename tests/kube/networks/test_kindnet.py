"""kindnet: kindnetd's rules and routes, when it looks at them, and the routed pairs of pods."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.kernel import commands
from emu.kube.api.core import Node
from emu.kube.api.loader import load_text
from emu.kube.api.meta import replace
from emu.kube.cluster import Cluster, ClusterConfig
from emu.wire.frame import ETH_P_IP, Frame

PODS = "\n---\n".join(
    f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: {node}, containers: [{{name: c}}]}}}}"
    for name, node in (("a", "node-1"), ("b", "node-1"), ("c", "node-2"))
)
KIND = "kind-masq-agent: "
WORDS = f"{KIND}ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom KIND-MASQ-AGENT chain"
RULES = [
    f'-A POSTROUTING -m addrtype ! --dst-type LOCAL -m comment --comment "{WORDS}" -j KIND-MASQ-AGENT',
    f'-A KIND-MASQ-AGENT -d 10.244.0.0/16 -m comment --comment "{KIND}local traffic is not subject to MASQUERADE" -j RETURN',
    f'-A KIND-MASQ-AGENT -m comment --comment "{KIND}outbound traffic is subject to MASQUERADE (must be last in chain)" -j MASQUERADE',
]


def cluster() -> Cluster:
    config = ClusterConfig.of(3, network="kindnet", underlay="switched")
    return Cluster(config, load_text(PODS).objects)


def routes(made: Cluster, node: str = "node-1") -> list[str]:
    return [route.text() for route in made.nodes[node].net.ipv4.fib.main if route.prefix.length and route.gateway]


def rules(made: Cluster) -> list[str]:
    text = made.nodes["node-1"].net.ipv4.tables.save()
    return [line for line in text.splitlines() if line.startswith("-A") and "kind-masq-agent" in line]


def test_rules_and_routes_are_those_of_the_source() -> None:
    made = cluster()
    assert rules(made) == RULES
    assert routes(made) == ["10.244.2.0/24 via 192.168.50.12 dev eth0", "10.244.3.0/24 via 192.168.50.13 dev eth0"]


def test_each_pair_has_the_gateways_address_and_a_route_of_its_own() -> None:
    made = cluster()
    net = made.nodes["node-1"].net
    pairs = [each for each in net.devices.values() if each.name.startswith("veth")]
    assert [str(each) for each in net.ipv4.addresses if each.device in pairs] == ["10.244.1.1/32"] * 2
    own = [route.text() for route in net.ipv4.fib.main if route.device in pairs]
    assert own == [f"10.244.1.2 dev {pairs[0].name} scope host", f"10.244.1.3 dev {pairs[1].name} scope host"]
    assert made.pods["default/a"].net.device("eth0").mtu == 1500
    for to, ttl in (("default/b", 63), ("default/c", 62)):
        flow = made.ping("default/a", to)
        came = [
            Frame.parse(each.data) for each in flow.frames if each.interface == f"{to}/eth0" and each.direction == "in"
        ]
        assert [frame.ttl for frame in came if frame.ethertype == ETH_P_IP] == [ttl]


def test_changes_of_nodes_are_seen_every_ten_seconds_and_old_routes_stay() -> None:
    made = cluster()
    made.wait(13)
    found = made.store.get(Node, "", "node-3")
    assert found is not None
    made.store.put(replace(found, spec=replace(found.spec, pod_cidr="10.244.9.0/24")))
    made.wait(6.9)
    assert len(routes(made)) == 2
    made.wait(0.2)
    assert routes(made)[1:] == ["10.244.3.0/24 via 192.168.50.13 dev eth0", "10.244.9.0/24 via 192.168.50.13 dev eth0"]
    made.delete("node", "", "node-2")
    made.wait(20)
    assert routes(made)[0] == "10.244.2.0/24 via 192.168.50.12 dev eth0", (
        "kindnetd removes no route of a node that is gone"
    )


def test_what_was_removed_comes_back() -> None:
    made = cluster()
    net, there = made.nodes["node-1"].net, routes(made)
    commands.route_replace(net, "10.244.2.0/24 via 192.168.50.99")
    commands.route_del(net, "10.244.3.0/24")
    commands.iptables(net, "-t nat -F POSTROUTING")
    made.wait(10.1)
    assert routes(made) == there
    assert rules(made) != RULES
    made.wait(50)
    assert rules(made) == RULES


def test_a_rule_that_comes_back_is_the_last_of_its_chain() -> None:
    made = cluster()
    commands.iptables(made.nodes["node-1"].net, "-t nat -D KIND-MASQ-AGENT 1")
    made.wait(60.1)
    assert rules(made) == [RULES[0], RULES[2], RULES[1]], "so that pods are masqueraded from then on, as in kind"


def test_nodes_behind_a_router_are_refused() -> None:
    with pytest.raises(InputError) as wrong:
        Cluster(ClusterConfig.of(2, network="kindnet", underlay="routed"))
    assert wrong.value.what == "kindnetd of node-1 cannot route to node-2: 192.168.52.12 is on no link of the node"
    assert wrong.value.path == "cluster.underlay"
