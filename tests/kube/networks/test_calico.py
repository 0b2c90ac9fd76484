"""Calico in a cluster: addresses out of blocks, what comes and goes with a pod, what the agent restores, and wrong options."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP

from emu.errors import InputError
from emu.kernel import commands
from emu.kube.api.calico import IPAMBlock, IPPool, IPPoolSpec
from emu.kube.api.loader import load_text
from emu.kube.api.meta import ObjectMeta
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.cni import calico_blocks
from emu.kube.cni.spec import CniError
from emu.kube.networks.calico.network import CalicoOptions
from emu.kube.node.node import Node
from emu.kube.store import Store
from emu.scenario.script import load_text as load_scenario
from emu.wire.addr import Prefix, ip4_text, mac_text

POD = "{{apiVersion: v1, kind: Pod, metadata: {{name: {0}}}, spec: {{nodeName: {1}, containers: [{{name: c, ports: [{{containerPort: 80, hostPort: {2}}}]}}]}}}}"
PODS = Prefix.parse("10.244.0.0/16")


def pod(name: str, node: str = "node-1", host_port: int = 0) -> str:
    return POD.format(name, node, host_port)


def cluster(*pods: str, underlay: str = "switched", nodes: int = 2, **options: Any) -> Cluster:
    config = ClusterConfig.of(nodes, network="calico", underlay=underlay, network_options=CalicoOptions(**options))
    return Cluster(config, load_text("\n---\n".join(pods)).objects if pods else ())


def routes(node: Node) -> list[str]:
    return [route.text() for route in node.net.ipv4.fib.main if route.proto in ("80", "bird")]


def state(node: Node) -> dict[str, Any]:
    """All that a pod may leave behind on its node."""
    net = node.net
    return {
        "rules": net.ipv4.tables.save(),
        "sets": net.ipv4.tables.ipsets.save(),
        "routes": [f"{route.text()} {route.table}" for table in net.ipv4.fib.tables.values() for route in table],
        "devices": [f"{each.name} {each.up} {each.mtu} {mac_text(each.mac)}" for each in net.devices.values()],
        "addresses": [str(each) for each in net.ipv4.addresses],
        "neighbours": [f"{each.addr} {each.device.name}" for each in net.neighbours if each.state == "PERMANENT"],
        "sysctls": sorted(net.sysctl.written()),
    }


# -- addresses --------------------------------------------------------------------------------------------------------


def blocks(store: Store) -> list[tuple[str, str, int]]:
    return [(each.spec.cidr, each.node, len(each.spec.allocations)) for each in store.list(IPAMBlock)]


def pool(cidr: str, size: int) -> IPPool:
    return IPPool(metadata=ObjectMeta(name="p"), spec=IPPoolSpec(cidr=cidr, block_size=size))


def test_a_node_claims_another_block_when_its_own_is_full() -> None:
    store, small = Store(), pool("10.1.0.0/24", 30)
    given = [ip4_text(calico_blocks.assign(store, small, "node-1", f"h{number}")) for number in range(6)]
    first, second = (Prefix.parse(cidr) for cidr, _, _ in blocks(store))
    assert given[:4] == [ip4_text(first.net + number) for number in range(4)]
    assert given[4:] == [ip4_text(second.net), ip4_text(second.net + 1)]
    assert second.net == first.net + 4  # the search goes on from there


def test_two_nodes_never_have_one_block() -> None:
    store, small = Store(), pool("10.1.0.0/28", 30)
    for node in ("a", "b", "c", "d"):
        calico_blocks.assign(store, small, node, node)
    assert len({cidr for cidr, _, _ in blocks(store)}) == 4
    with pytest.raises(CniError, match="No more free affine blocks"):
        calico_blocks.assign(store, small, "e", "e")


def test_a_freed_address_waits_until_the_others_were_given() -> None:
    store, small = Store(), pool("10.1.0.0/28", 30)
    first = calico_blocks.assign(store, small, "n", "one")
    calico_blocks.release(store, "one")
    later = [calico_blocks.assign(store, small, "n", f"h{number}") for number in range(4)]
    assert later == [first + 1, first + 2, first + 3, first]


def test_a_tunnel_takes_the_first_address_of_its_nodes_block() -> None:
    made = cluster(pod("a"), vxlan_mode="Always")
    net, block = made.nodes["node-1"].net, next(each for each in made.store.list(IPAMBlock) if each.node == "node-1")
    own = next(each for each in net.ipv4.addresses if each.device.name == "vxlan.calico")
    assert str(own) == f"{ip4_text(calico_blocks.prefix_of(block).net)}/32"
    assert made.pods["default/a"].ip == calico_blocks.prefix_of(block).net + 1


def test_without_a_tunnel_a_node_claims_a_block_with_its_first_pod() -> None:
    made = cluster(vxlan_mode="Never")
    assert not made.store.list(IPAMBlock) and not routes(made.nodes["node-2"])
    made.apply(load_text(pod("a")).objects[0])
    (block,) = made.store.list(IPAMBlock)
    assert routes(made.nodes["node-1"]) == [f"blackhole {block.spec.cidr} proto bird"]
    assert routes(made.nodes["node-2"]) == [f"{block.spec.cidr} via 192.168.50.11 dev eth0 proto bird"]


# -- what comes and goes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"vxlan_mode": "Never"}, {"vxlan_mode": "Always"}, {"ipip_mode": "Always"}], ids=str
)
def test_a_pod_that_is_gone_leaves_the_nodes_as_they_were(options: dict[str, Any]) -> None:
    made = cluster(pod("first"), pod("far", "node-2"), **options)
    before, addresses = [state(node) for node in made.nodes.values()], blocks(made.store)
    made.apply(load_text(pod("late", host_port=8080)).objects[0])
    late = made.pods["default/late"].result
    assert late is not None
    device = late.interfaces[0].name
    assert device in made.nodes["node-1"].net.devices and device in made.nodes["node-1"].net.ipv4.tables.save()
    made.delete("pod", "default", "late", grace_s=0)
    after = [state(node) for node in made.nodes.values()]
    for one in (before[0], after[0]):  # portmap's own chains stay, as the real plugin's do
        one["rules"] = [line for line in one["rules"].splitlines() if "CNI-" not in line]
        one["sysctls"] = [each for each in one["sysctls"] if "route_localnet" not in each[0]]
    assert after == before
    assert blocks(made.store) == addresses


@pytest.mark.parametrize(
    "options", [{"vxlan_mode": "Never"}, {"vxlan_mode": "Always"}, {"ipip_mode": "Always"}], ids=str
)
def test_a_node_that_is_gone_is_forgotten_by_the_others(options: dict[str, Any]) -> None:
    """Its routes, its tunnel's neighbour and entry, and its address in the sets."""
    made = cluster(pod("a"), pod("b", "node-2"), nodes=3, **options)
    node = made.nodes["node-1"]
    there = [route for route in routes(node) if "blackhole" not in route]
    made.delete("node", "", "node-2")
    left = state(node)
    with_pods = 0 if options == {"vxlan_mode": "Never"} else 1  # node-3 has no pod, and a block for its tunnel alone
    assert len(there) == with_pods + 1 and len(routes(node)) == with_pods + 1  # one of them is the node's own block
    assert "192.168.50.12" not in left["sets"] and "192.168.50.13" in left["sets"]
    assert len(left["neighbours"]) == (1 if options == {"vxlan_mode": "Always"} else 0)
    assert not any("192.168.50.12" in route for route in left["routes"])


def test_a_pod_is_unknown_to_the_rules_until_calico_node_has_seen_it() -> None:
    """The plugin has wired it, and felix learns of it later: until then its packets are dropped."""
    made = cluster(pod("first"))
    made.apply(load_text(pod("late")).objects[0], settle=False)
    early = made.ping("default/late", "default/first", count=1)
    assert not early.delivered and "Unknown interface" in str(early.outcome.by or early.frames[-1].comment)
    made.settle()
    assert made.ping("default/late", "default/first", count=1).delivered


def test_calico_node_restores_rules_and_routes() -> None:
    made = cluster(pod("a"), pod("b", "node-2"), vxlan_mode="Never")
    net = made.nodes["node-1"].net
    whole, ways = net.ipv4.tables.save(), routes(made.nodes["node-1"])
    commands.iptables_flush(net, ("filter",))
    for route in [each for each in net.ipv4.fib.main if each.proto == "bird"]:
        net.ipv4.fib.remove(route)
    made.wait(100)
    assert routes(made.nodes["node-1"]) == ways
    made.wait(100)
    felix = [line for line in whole.splitlines() if "cali" in line]
    assert [line for line in net.ipv4.tables.save().splitlines() if "cali" in line] == felix


def test_no_router_knows_a_block() -> None:
    """Without encapsulation, and with a router between the nodes, only BGP with that router would help."""
    made = cluster(pod("a"), pod("b", "node-2"), underlay="routed", vxlan_mode="Never")
    lost = made.ping("default/a", "default/b", count=1)
    assert lost.outcome.word == "dropped" and lost.outcome.place.startswith("underlay")


def test_the_service_account_names_a_profile() -> None:
    text = pod("a").replace("nodeName", "serviceAccountName: robot, nodeName")
    rules = cluster(text).nodes["node-1"].net.ipv4.tables.save()
    assert "cali-pri-ksa.default.robot" in rules and "ksa.default.default" not in rules


# -- IPIP, which no kernel judges here ---------------------------------------------------------------------------------


def hops(flow: Any, *, way: str) -> list[tuple[str, list[str], list[int]]]:
    """Where the echo requests of a flow are, going `way`: the sources and TTLs of all their IP headers, outer first."""
    found = []
    for each in flow.frames:
        packet, seen = each.packet(), []
        while packet is not None and packet.haslayer("IP"):
            packet = packet["IP"]
            seen.append((packet.src, packet.ttl))
            last, packet = packet, packet.payload if packet.proto == 4 else None
        if seen and each.direction == way and last.haslayer("ICMP") and last["ICMP"].type == 8:
            found.append((each.interface, [src for src, _ in seen], [ttl for _, ttl in seen]))
    return found


def test_ipip_hop_by_hop() -> None:
    made = cluster(pod("a"), pod("b", "node-2"), underlay="routed", ipip_mode="Always")
    one, two = (made.pods[f"default/{name}"] for name in "ab")
    source, node = ip4_text(one.ip), "192.168.51.11"
    devices = [each.result.interfaces[0].name for each in (one, two) if each.result is not None]
    assert hops(made.ping("default/a", "default/b", count=1), way="out") == [
        ("default/a/eth0", [source], [64]),
        ("node-1/tunl0", [source], [63]),
        ("node-1/eth0", [node, source], [63, 63]),  # the outer TTL is the inner one's
        ("underlay/port2", [node, source], [62, 63]),
        (f"node-2/{devices[1]}", [source], [62]),
    ]


def test_ipip_from_a_node_has_the_tunnels_address() -> None:
    """Also where a Service's address made the kernel choose another: the rule for tunl0 masquerades it."""
    made = cluster(pod("a"), pod("b", "node-2"), underlay="routed", ipip_mode="CrossSubnet")
    net = made.nodes["node-1"].net
    own = next(str(each).partition("/")[0] for each in net.ipv4.addresses if each.device.name == "tunl0")
    assert hops(made.ping("node/node-1", "default/b", count=1), way="out")[0] == ("node-1/tunl0", [own], [64])
    text = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {clusterIP: 10.96.0.9, selector: {app: b}, ports: [{port: 80}]}}"
    labelled = load_text(pod("b", "node-2").replace("{name: b}", "{name: b, labels: {app: b}}")).objects[0]
    made.apply(labelled)
    made.apply(load_text(text).objects[0])
    flow = made.tcp("node/node-1", "svc/s:80", b"x")
    sources = {
        each.packet()["IP"].src for each in flow.frames if each.interface == "node-1/tunl0" and each.direction == "out"
    }
    assert flow.delivered and sources == {own}


def test_ipip_to_a_node_port_has_the_tunnels_address_behind_it() -> None:
    """kube-proxy masquerades what comes in by a NodePort and goes on to another node: by tunl0, with tunl0's address."""
    text = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: NodePort, clusterIP: 10.96.0.9, selector: {app: b}, ports: [{port: 80, nodePort: 30080}]}}"
    labelled = pod("b", "node-2").replace("{name: b}", "{name: b, labels: {app: b}}")
    made = cluster(pod("a"), labelled, text, ipip_mode="Always")
    own = next(
        str(each).partition("/")[0] for each in made.nodes["node-1"].net.ipv4.addresses if each.device.name == "tunl0"
    )
    flow = made.tcp("external", "192.168.50.11:30080", b"x")
    seen = {
        each.packet()["IP"].src
        for each in flow.frames
        if each.interface == "default/b/eth0" and each.direction == "in" and each.packet().haslayer("IP")
    }
    assert flow.delivered and seen == {own}


def test_ipip_from_other_hosts_is_dropped() -> None:
    made = cluster(pod("a"), ipip_mode="Always")
    made.send(
        "external", IP(dst="192.168.50.11") / IP(src="10.244.9.9", dst=ip4_text(made.pods["default/a"].ip)) / ICMP()
    )
    assert made.nodes["node-1"].net.drops["NETFILTER_DROP"] == 1


def test_ipip_on_one_link_is_left_out_between_subnets_only() -> None:
    made = cluster(pod("a"), pod("b", "node-2"), ipip_mode="CrossSubnet")
    assert [len(sources) for _, sources, _ in hops(made.ping("default/a", "default/b", count=1), way="out")] == [1] * 4


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cidr": "10.9.0.0/16"}, "is not in the pod subnet"),
        ({"cidr": "10.244.0.1/16"}, "cidr"),
        ({"cidr": "10.244.1.0/28"}, "blockSize"),
        ({"block_size": 33}, "blockSize"),
        ({"block_size": 19}, "blockSize"),
        ({"ipip_mode": "Always", "vxlan_mode": "CrossSubnet"}, "one encapsulation"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        CalicoOptions(**options).check(PODS)


def test_a_scenario_names_them_as_calico_does() -> None:
    head = "apiVersion: emu/v1\nkind: Scenario\nmetadata: {name: s}\nsteps: [{wait: 1s}]\ncluster:\n  network: calico\n"
    found = load_scenario(
        head + "  calico: {cidr: 10.244.8.0/21, blockSize: 28, ipipMode: CrossSubnet, natOutgoing: false}\n"
    )
    assert found.spec.cluster.network == "calico"
    with pytest.raises(InputError, match=r":8: cluster"):
        load_scenario(head + "  calico:\n    vxlanMode: Sometimes\n")
    assert CalicoOptions().pool(PODS) == IPPoolSpec(cidr="10.244.0.0/16", vxlan_mode="CrossSubnet", nat_outgoing=True)
