"""flannel: what flanneld leaves on a node and in its object, by backend, and what it does when nodes, rules and routes change."""

from __future__ import annotations

import json

import pytest

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel import commands
from emu.kube.api.core import Node
from emu.kube.api.loader import load_text as load_objects
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.networks.flannel.flanneld import SUBNET_ENV
from emu.kube.networks.flannel.network import Backend, NetConf
from emu.report import views
from emu.scenario.build import build
from emu.scenario.script import load_text

PREFIX = "flannel.alpha.coreos.com/"
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {nodeName: node-1, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b}
spec: {nodeName: node-2, containers: [{name: c, ports: [{containerPort: 80}]}]}
"""


def cluster(options: NetConf | None = None, underlay: str = "routed", objects: str = PODS, **more: object) -> Cluster:
    config = ClusterConfig.of(3, network="flannel", network_options=options, underlay=underlay, **more)
    return Cluster(config, load_objects(objects).objects)


def host_gw(underlay: str = "switched") -> Cluster:
    return cluster(NetConf(backend=Backend(type="host-gw")), underlay)


def routes(made: Cluster, node: str = "node-1") -> list[str]:
    return [route.text() for route in made.nodes[node].net.ipv4.fib.main if route.prefix.length and route.gateway]


def lines(made: Cluster, view: str, node: str = "node-1") -> list[str]:
    return [line for line in views[view](made.nodes[node].net).text.splitlines() if "flannel" in line]


def noted(made: Cluster, name: str) -> dict[str, str]:
    node = made.store.get(Node, "", name)
    assert node is not None
    return {
        key.removeprefix(PREFIX): value for key, value in node.metadata.annotations.items() if key.startswith(PREFIX)
    }


def rules(made: Cluster, node: str = "node-1") -> list[str]:
    text = made.nodes[node].net.ipv4.tables.save()
    return [line for line in text.splitlines() if line.startswith("-A") and "flanneld" in line]


def vtep(made: Cluster, name: str) -> str:
    found: str = json.loads(noted(made, name)["backend-data"])["VtepMAC"]
    return found


def test_vxlan_is_the_default() -> None:
    made = cluster()
    assert noted(made, "node-2") == {
        "backend-type": "vxlan",
        "backend-data": f'{{"VNI":1,"VtepMAC":"{vtep(made, "node-2")}"}}',
        "public-ip": "192.168.52.12",
        "kube-subnet-manager": "true",
    }
    assert routes(made) == [
        "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
        "10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink",
    ]
    assert lines(made, "neigh") == [
        f"10.244.{n}.0 dev flannel.1 lladdr {vtep(made, f'node-{n}')} PERMANENT" for n in (2, 3)
    ]
    assert lines(made, "fdb") == [
        f"{vtep(made, 'node-2')} dev flannel.1 dst 192.168.52.12 self permanent",
        f"{vtep(made, 'node-3')} dev flannel.1 dst 192.168.53.13 self permanent",
    ]
    device = made.nodes["node-1"].net.device("flannel.1")
    assert (device.mtu, device.mac.hex(":")) == (1450, vtep(made, "node-1"))
    assert made.nodes["node-1"].net.device("cni0").mtu == made.pods["default/a"].net.device("eth0").mtu == 1450
    assert device.config.text() == "id 1 dstport 8472 local 192.168.51.11 dev eth0 udpcsum nolearning"  # type: ignore[attr-defined]
    assert made.nodes["node-1"].files[SUBNET_ENV] == (
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    assert [route.text() for route in made.pods["default/a"].net.ipv4.fib.main] == [
        "default via 10.244.1.1 dev eth0",
        "10.244.0.0/16 via 10.244.1.1 dev eth0",
        "10.244.1.0/24 dev eth0 proto kernel scope link src 10.244.1.2",
    ]
    (port,) = made.nodes["node-1"].net.device("cni0").ports  # type: ignore[attr-defined]
    assert port.hairpin


def test_the_rules_are_those_of_the_source() -> None:
    masq = '-m comment --comment "flanneld masq"'
    forward = '-m comment --comment "flanneld forward"'
    assert rules(cluster()) == [
        f"-A FORWARD {forward} -j FLANNEL-FWD",
        f"-A FLANNEL-FWD -s 10.244.0.0/16 {forward} -j ACCEPT",
        f"-A FLANNEL-FWD -d 10.244.0.0/16 {forward} -j ACCEPT",
        f"-A POSTROUTING {masq} -j FLANNEL-POSTRTG",
        f"-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 {masq} -j MASQUERADE --random-fully",
        f"-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 {masq} -j MASQUERADE --random-fully",
    ]


def test_host_gw_routes_by_the_nodes_addresses() -> None:
    made = host_gw()
    assert routes(made) == ["10.244.2.0/24 via 192.168.50.12 dev eth0", "10.244.3.0/24 via 192.168.50.13 dev eth0"]
    assert not any(name.startswith("flannel.") for name in made.nodes["node-1"].net.devices)
    assert made.pods["default/a"].net.device("eth0").mtu == 1500
    assert noted(made, "node-1")["backend-data"] == "null"
    assert rules(made) == rules(cluster())


def test_host_gw_reaches_no_node_behind_a_router() -> None:
    made = host_gw("routed")
    assert routes(made) == []
    assert not made.ping("default/a", "default/b").delivered
    assert cluster().ping("default/a", "default/b").delivered


@pytest.mark.parametrize(
    ("underlay", "via"), [("switched", "192.168.50.12 dev eth0"), ("routed", "10.244.2.0 dev flannel.1 onlink")]
)
def test_direct_routing_is_for_nodes_on_one_link(underlay: str, via: str) -> None:
    made = cluster(NetConf(backend=Backend(direct_routing=True)), underlay)
    assert routes(made)[0] == f"10.244.2.0/24 via {via}"
    assert bool(lines(made, "fdb")) is bool(lines(made, "neigh")) is (underlay == "routed")
    assert made.pods["default/a"].net.device("eth0").mtu == 1450
    flow = made.ping("default/a", "default/b")
    assert flow.delivered
    assert bool(made.capture and made.capture.frames(interface="node-1/flannel.1")) is (underlay == "routed")


def test_options_of_the_device_and_of_the_delegate() -> None:
    backend = Backend(vni=7, port=4789, mtu=1400, learning=True)
    made = cluster(NetConf(backend=backend, delegate={"mtu": 1500, "hairpinMode": False}))
    device = made.nodes["node-1"].net.device("flannel.7")
    assert device.config.text() == "id 7 dstport 4789 local 192.168.51.11 dev eth0 udpcsum learning"  # type: ignore[attr-defined]
    assert device.mtu == 1350
    assert "FLANNEL_MTU=1350\n" in made.nodes["node-1"].files[SUBNET_ENV]
    assert made.pods["default/a"].net.device("eth0").mtu == 1500, "the delegate's word counts"
    (port,) = made.nodes["node-1"].net.device("cni0").ports  # type: ignore[attr-defined]
    assert not port.hairpin


def test_a_node_keeps_the_mac_of_its_annotation() -> None:
    data = '{"VNI":1,"VtepMAC":"02:00:00:00:00:77"}'
    nodes = "".join(
        f"---\napiVersion: v1\nkind: Node\nmetadata:\n  name: node-{n}\n"
        + (
            f"  annotations: {{{PREFIX}backend-data: '{data}', {PREFIX}public-ip-overwrite: 198.51.100.7}}\n"
            if n == 2
            else ""
        )
        for n in (1, 2)
    )
    made = cluster(objects=PODS + nodes)
    assert made.nodes["node-2"].net.device("flannel.1").mac.hex(":") == "02:00:00:00:00:77"
    assert lines(made, "fdb") == ["02:00:00:00:00:77 dev flannel.1 dst 198.51.100.7 self permanent"]
    assert noted(made, "node-2")["public-ip"] == "198.51.100.7"


def test_a_node_whose_annotations_cannot_be_read_is_left_alone() -> None:
    made = cluster()
    before = made.store.get(Node, "", "node-3")
    assert before is not None
    for key, value in (
        ("kube-subnet-manager", "false"),
        ("public-ip", "none"),
        ("backend-data", "[]"),
        ("backend-type", "udp"),
    ):
        metadata = before.metadata
        wrong = {**metadata.annotations, f"{PREFIX}{key}": value}
        made.store.put(
            type(before)(metadata=type(metadata)(name="node-3", namespace="", annotations=wrong), spec=before.spec)
        )
        made.settle()
        assert [each.split()[0] for each in routes(made)] == ["10.244.2.0/24"], key


def test_a_node_that_goes_leaves_nothing() -> None:
    made = cluster()
    before = [*routes(made), *lines(made, "neigh"), *lines(made, "fdb")]
    gone = vtep(made, "node-3")
    made.delete("node", "", "node-3")
    after = [*routes(made), *lines(made, "neigh"), *lines(made, "fdb")]
    assert after == [line for line in before if "10.244.3.0" not in line and gone not in line]
    assert len(after) == 3


def test_rules_that_were_flushed_are_back_within_five_seconds() -> None:
    made = host_gw()
    net, there = made.nodes["node-1"].net, rules(made)
    commands.iptables(net, "-t nat -F POSTROUTING")
    commands.iptables(net, "-F FLANNEL-FWD")
    made.wait(5.1)
    assert rules(made) == there
    commands.iptables(net, "-t nat -D FLANNEL-POSTRTG 1")
    commands.iptables(net, "-t nat -A POSTROUTING -j RETURN")
    made.wait(5.1)
    assert rules(made) == there
    assert net.ipv4.tables.save().count('-j RETURN\n-A POSTROUTING -m comment --comment "flanneld masq"') == 1, (
        "behind what came later"
    )


def test_routes_of_host_gw_are_back_within_ten_seconds_and_those_of_vxlan_never() -> None:
    for made, back in ((host_gw(), True), (cluster(), False)):
        there = routes(made)
        commands.route_del(made.nodes["node-1"].net, "10.244.2.0/24")
        made.wait(10.1)
        assert (routes(made) == there) is back
        assert len(routes(made)) == 1 + back


def test_a_flow_pays_no_attention_to_the_agents_checks() -> None:
    made = cluster()
    assert made.ping("default/a", "default/b", 3, interval_s=4).delivered
    assert made.clock.now > 8 * SECOND


def test_a_key_of_the_delegate_that_the_bridge_does_not_know_is_noted() -> None:
    assert cluster(NetConf(delegate={"hairpinMod": True})).warnings == [
        'plugin bridge: unknown key "hairpinMod" (expected "hairpinMode"?)'
    ]
    assert cluster().warnings == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{Backend: {Type: vxlna}}", 'cluster.flannel.Backend.Type: "vxlna" is not allowed here (expected "vxlan"? (host-gw or vxlan))'),
        ("{Backend: {type: vxlan}}", 'cluster.flannel.Backend.type: unknown key "type" (expected "Type"?)'),
        ("{Backend: {VNI: 16777216}}", "cluster.flannel.Backend.VNI: 16777216 is out of range"),
        ("{Network: 10.244.0.0/33}", "cluster.flannel.Network: '10.244.0.0/33' is not a CIDR"),
        ("{Network: 10.9.0.0/16}", "the pod CIDR 10.244.1.0/24 of a node is not in flannel's network 10.9.0.0/16"),
        ("{EnableNFTables: true}", "cluster.flannel.EnableNFTables: flannel's nftables rules are not modelled"),
        ("{delegate: {ipam: {}}}", 'cluster.flannel.delegate.ipam: flannel sets "ipam" itself'),
        ("{iface: eth9}", "cluster.flannel.iface: node-1 has no device 'eth9' (expected lo, eth0)"),
    ],
)  # fmt: skip
def test_wrong_options_have_their_place(options: str, message: str) -> None:
    text = f"apiVersion: emu/v1\nkind: Scenario\ncluster:\n  network: flannel\n  flannel: {options}\n"
    with pytest.raises(InputError) as wrong:
        build(load_text(text))
    assert message in str(wrong.value)
    assert wrong.value.line == 5
