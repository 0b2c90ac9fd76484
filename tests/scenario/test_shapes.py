"""The shape of a cluster in a scenario: nodes' interfaces and addresses, LANs, hosts outside, the router's routes; and what is
refused, each by one error with its line."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from emu.errors import InputError
from emu.kube.cluster import Cluster
from emu.scenario import kinds
from emu.scenario.build import build
from emu.scenario.script import load_text
from emu.wire.addr import ip4_text, mac_text

HEAD = """\
apiVersion: emu/v1
kind: Scenario
metadata: {name: shape}
cluster:
"""


def made(cluster: str, more: str = "") -> Cluster:
    lines = "".join(f"  {line}\n" for line in cluster.strip("\n").splitlines())
    return build(load_text(HEAD + lines + more, file="shape.yaml"))


TWO_LANS = """
underlay: switched
lans:
- {name: front, subnet: 192.168.1.0/24, mtu: 1400}
- {name: storage, subnet: 10.9.0.0/28, gateway: false}
nodes:
- name: a
  region: eu
  zone: eu-1
  addresses: [{type: InternalIP, address: 10.9.0.3}, {type: ExternalIP, address: 198.18.0.1}, {type: Hostname, address: a}]
  interfaces: [{lan: front, mac: "52:54:00:00:00:01"}, {name: eth1, address: 10.9.0.3, mtu: 9000}]
- {name: b}
- {name: c, addresses: [{type: InternalIP, address: 192.168.1.99}]}
external:
- {name: nas, lan: storage, apps: [http@2049]}
- {name: near, address: 192.168.1.7/24, gateway: 192.168.1.99}
- {name: far}
- {name: wide, address: 192.0.2.66/26}
"""


def test_machines_are_where_they_are_written() -> None:
    cluster = made(TWO_LANS)
    machines = (*cluster.layout.nodes, *cluster.layout.hosts.values())
    found = {
        each.name: [(nic.name, nic.lan, nic.cidr, nic.mtu, ip4_text(nic.gateway) if nic.gateway else "") for nic in each.nics]
        for each in machines
    }  # fmt: skip
    assert found == {
        "a": [("eth0", "front", "192.168.1.11/24", 1400, "192.168.1.1"), ("eth1", "storage", "10.9.0.3/28", 9000, "")],
        "b": [("eth0", "front", "192.168.1.12/24", 1400, "192.168.1.1")],
        "c": [("eth0", "front", "192.168.1.99/24", 1400, "192.168.1.1")],
        "external": [("eth0", "external/eth0", "203.0.113.10/24", 1500, "203.0.113.1")],
        "nas": [("eth0", "storage", "10.9.0.4/28", 1500, "")],
        "near": [("eth0", "front", "192.168.1.7/24", 1400, "192.168.1.99")],
        "far": [("eth0", "far/eth0", "198.51.100.34/28", 1500, "198.51.100.33")],
        "wide": [("eth0", "wide/eth0", "192.0.2.66/26", 1500, "192.0.2.65")],
    }
    assert ip4_text(cluster.nodes["a"].ip) == "10.9.0.3"
    assert mac_text(cluster.nodes["a"].net.device("eth0").mac) == "52:54:00:00:00:01"
    [node] = [each for each in cluster.store if each.kind == "Node" and each.name == "a"]
    assert [(each.type, each.address) for each in node.status.addresses] == [  # type: ignore[attr-defined]
        ("InternalIP", "10.9.0.3"),
        ("ExternalIP", "198.18.0.1"),
    ]
    labels = node.metadata.labels
    assert (labels["topology.kubernetes.io/region"], labels["topology.kubernetes.io/zone"]) == ("eu", "eu-1")
    assert labels["kubernetes.io/hostname"] == "a"
    assert [text for text in cluster.warnings if "ExternalIP" in text] == [
        "node/a: no interface has the ExternalIP 198.18.0.1, and nothing translates it: no packet for it arrives"
    ]


def test_what_a_host_does_not_listen_on_is_refused() -> None:
    cluster = made("external: [{name: far, apps: [http@8080, echo@9/udp]}, {name: external, apps: [http@81]}]")
    words = {to: cluster.tcp("node/node-1", to, b"GET / HTTP/1.0\r\n\r\n").outcome.word for to in
             ("external/far:8080", "external/far:80", "external:81", "external:80")}  # fmt: skip
    assert words == {
        "external/far:8080": "delivered",
        "external/far:80": "refused",
        "external:81": "delivered",
        "external:80": "refused",
    }
    assert cluster.udp("node/node-1", "external/far:9").outcome.word == "delivered"


def test_a_node_of_a_manifest_has_its_own_address_on_a_lan() -> None:
    node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: w}\nstatus: {addresses: [{type: InternalIP, address: ADDR}]}\n"
    lan = "lans: [{name: l, subnet: 172.18.0.0/16}]"
    assert ip4_text(made(lan, node.replace("ADDR", "172.18.0.5")).nodes["w"].ip) == "172.18.0.5"
    with pytest.raises(InputError) as wrong:
        made("underlay: switched\n" + lan, node.replace("ADDR", "10.0.0.5"))
    assert str(wrong.value).startswith("shape.yaml:8: node/w status.addresses: 10.0.0.5 is in no LAN")
    warned = made("underlay: switched", node.replace("ADDR", "10.0.0.5")).warnings
    assert warned == ["node/w: its InternalIP 10.0.0.5 is in no LAN of the scenario: it gets 192.168.50.11"]


@pytest.mark.parametrize(
    ("keys", "cidrs"),
    [
        ("podSubnet: 10.1.0.0/16\nnodes: 2", ["10.1.1.0/24", "10.1.2.0/24"]),
        ("podSubnet: 10.1.0.0/16\nnodeCIDRMaskSize: 26\nnodes: 3", ["10.1.0.64/26", "10.1.0.128/26", "10.1.0.192/26"]),
        ("podSubnet: 10.1.0.0/20\nnodeCIDRMaskSize: 22\nnodes: 2", ["10.1.4.0/22", "10.1.8.0/22"]),
        ("podSubnet: 10.1.0.0/16\nnodeCIDRMaskSize: 20\nnodes: [{name: a, podCIDR: 10.1.20.0/24}, {name: b}]", ["10.1.20.0/24", "10.1.32.0/20"]),
    ],
)  # fmt: skip
def test_pod_cidrs_are_parts_of_the_pod_subnet(keys: str, cidrs: list[str]) -> None:
    cluster = made(keys)
    assert [str(node.pod_cidr) for node in cluster.nodes.values()] == cidrs


@pytest.mark.parametrize(
    ("keys", "subnet"),
    [
        ("nodes: 255", "10.244.0.0/16"),
        ("nodes: 256", "10.128.0.0/9"),
        ("nodes: 3\nnodeCIDRMaskSize: 18", "10.244.0.0/16"),
        ("nodes: 4\nnodeCIDRMaskSize: 18", "10.128.0.0/9"),
    ],
)
def test_many_nodes_have_a_larger_pod_subnet(keys: str, subnet: str) -> None:
    cluster = made(keys)
    assert str(cluster.pod_subnet) == cluster.config.pod_subnet == subnet


def test_an_overlap_of_pods_and_a_lan_is_reported() -> None:
    cluster = made("underlay: switched\nlans: [{name: l, subnet: 10.244.0.0/16}]\nserviceSubnet: 10.96.0.0/12")
    assert cluster.warnings == [
        "cluster.podSubnet: 10.244.0.0/16 overlaps the LAN l 10.244.0.0/16: the longer prefix decides the way"
    ]
    assert cluster.ping("node/node-1", "node/node-2").outcome.word == "delivered"


def test_a_cloud_route_that_the_router_cannot_have_is_reported() -> None:
    lans = "lans: [{name: l, subnet: 192.168.5.0/24, gateway: false}]"
    assert [each.split(": ")[0] for each in made(lans).warnings] == [
        "the underlay routes 10.244.1.0/24 to no node",
        "the underlay routes 10.244.2.0/24 to no node",
    ]
    assert made(f"configureCloudRoutes: false\n{lans}").warnings == []


def test_the_outside_has_no_route_to_nodes_beside_the_router() -> None:
    """Service addresses are led by the router: to nodes that it can reach."""
    service = """---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, externalIPs: [198.18.9.9], ports: [{port: 80}]}
"""
    for gateway, routed in (("false", []), ("true", ["198.18.9.9/32"])):
        cluster = made(f"lans: [{{name: l, subnet: 192.168.5.0/24, gateway: {gateway}}}]", service)
        found = [str(each.prefix) for each in cluster.underlay.router.ipv4.fib.main if each.prefix.length == 32]
        assert found == routed


LAN = "underlay: switched\nlans: [{name: l, subnet: 192.168.5.0/24}"


@pytest.mark.parametrize(
    ("keys", "line", "what"),
    [
        (LAN + ", {name: l, subnet: 10.0.0.0/24}]", 6, 'cluster.lans[1].name: two LANs are called "l"'),
        (LAN + ", {name: m, subnet: 192.168.0.0/16}]", 6, "cluster.lans[1].subnet: m 192.168.0.0/16 overlaps l 192.168.5.0/24 (expected subnets that do not overlap)"),
        ("lans: [{name: l, subnet: 192.168.5.1/24}]", 5, 'cluster.lans[0].subnet: "192.168.5.1/24" has host bits set (expected 192.168.5.0/24)'),
        ("lans: [{name: l, subnet: 192.168.5.0}]", 5, 'cluster.lans[0].subnet: "192.168.5.0" is no subnet (expected an address, a slash and a length of 8 to 30)'),
        ("lans: [{name: l, subnet: 192.168.5.0/24, gateway: 192.168.6.1}]", 5, "cluster.lans[0].gateway: 192.168.6.1 lies outside 192.168.5.0/24 (expected an address of 192.168.5.0/24)"),
        ("lans: [{name: l, subnet: 192.168.5.0/24, gateway: 192.168.5.255}]", 5, "cluster.lans[0].gateway: 192.168.5.255 is the broadcast address of 192.168.5.0/24 (expected an address of a host)"),
        ("lans: [{name: l l, subnet: 192.168.5.0/24}]", 5, "cluster.lans[0].name: \"l l\" is not a name (expected letters, digits and '-')"),
        (LAN + "]\nnodes: [{name: a, interfaces: [{lan: m}]}]", 7, 'cluster.nodes[0].interfaces[0].lan: no LAN is called "m" (expected l)'),
        (LAN + "]\nnodes: [{name: a, interfaces: [{address: 10.0.0.1}]}]", 7, "cluster.nodes[0].interfaces[0].address: 10.0.0.1 is in no LAN (expected an address of l 192.168.5.0/24)"),
        (LAN + "]\nnodes: [{name: a, interfaces: [{lan: l, address: 10.0.0.1}]}]", 7, "cluster.nodes[0].interfaces[0].address: 10.0.0.1 lies outside 192.168.5.0/24 (expected an address of 192.168.5.0/24)"),
        (LAN + "]\nnodes: [{name: a, interfaces: [{address: 192.168.5.0}]}]", 7, "cluster.nodes[0].interfaces[0].address: 192.168.5.0 is the network address of 192.168.5.0/24 (expected an address of a host)"),
        (LAN + "]\nnodes: [{name: a, interfaces: [{address: 192.168.5.1}]}]", 7, "cluster.nodes[0].interfaces[0].address: 192.168.5.1 is the address of the router already (expected another address of 192.168.5.0/24)"),
        (LAN + "]\nnodes: [{name: a, addresses: [{type: InternalIP, address: 192.168.5.9}]}, {name: b, interfaces: [{address: 192.168.5.9/24}]}]", 7, "cluster.nodes[1].interfaces[0].address: 192.168.5.9 is the address of a already (expected another address of 192.168.5.0/24)"),
        (LAN + "]\nnodes: [{name: a, interfaces: [{address: 192.168.5.9/240}]}]", 7, 'cluster.nodes[0].interfaces[0].address: "192.168.5.9/240" is no address (expected an address, a slash and a length of 8 to 32)'),
        (LAN + "]\nnodes: [{name: a, interfaces: [{address: 192.168.5}]}]", 7, 'cluster.nodes[0].interfaces[0].address: "192.168.5" is not an IPv4 address (expected four decimal octets)'),
        (LAN + "]\nnodes: [{name: a, interfaces: [{lan: l}, {lan: l}]}]", 7, 'cluster.nodes[0].interfaces[1].name: two interfaces of a are called "eth0"'),
        (LAN + "]\nnodes: [{name: a, interfaces: [{lan: l}, {name: eth1}]}]", 7, "cluster.nodes[0].interfaces[1]: the interface is on no LAN (expected lan, or address)"),
        (LAN + "]\nnodes: [{name: a, interfaces: [{name: lo}]}]", 7, 'cluster.nodes[0].interfaces[0].name: "lo" is not a name of an interface (expected such as eth0)'),
        (LAN + "]\nnodes: [{name: a, interfaces: [{mac: x}]}]", 7, 'cluster.nodes[0].interfaces[0].mac: "x" is not a MAC address (expected six hexadecimal octets with colons)'),
        (LAN + ']\nnodes: [{name: a, interfaces: [{mac: "01:00:00:00:00:01"}]}]', 7, "cluster.nodes[0].interfaces[0].mac: 01:00:00:00:00:01 is not the MAC of one host (expected a unicast MAC)"),
        (LAN + ']\nnodes: [{name: a, interfaces: [{mac: "02:00:00:00:00:01"}]}, {name: b, interfaces: [{mac: "02:00:00:00:00:01"}]}]', 7, "cluster.nodes[1].interfaces[0].mac: 02:00:00:00:00:01 is the MAC of a's eth0 (expected a MAC of its own)"),
        (LAN + "]\nnodes: [{name: a, interfaces: [{gateway: 192.168.5.77}]}]", 7, "cluster.nodes[0].interfaces[0].gateway: nothing on l has the address 192.168.5.77 (expected 192.168.5.1)"),
        (LAN + "]\nnodes: [{name: a, interfaces: [{gateway: 10.0.0.1}]}]", 7, "cluster.nodes[0].interfaces[0].gateway: 10.0.0.1 lies outside 192.168.5.0/24 (expected an address of 192.168.5.0/24)"),
        (LAN.replace("}", ", gateway: false}") + "]\nnodes: [{name: a, interfaces: [{gateway: true}]}]", 7, "cluster.nodes[0].interfaces[0].gateway: l has no gateway (expected the address of a machine there, or false)"),
        (LAN + "]\nnodes: [{name: a, interfaces: [{gateway: true}, {name: eth1, lan: l, gateway: true}]}]", 7, "cluster.nodes[0].interfaces[1].gateway: a has two default routes, by eth0 and eth1 (expected one, the other gateway: false)"),
        (LAN + "]\nnodes: [{name: a, interfaces: [{lan: l}], addresses: [{type: InternalIP, address: 192.168.5.9}]}]", 7, "cluster.nodes[0].addresses[0].address: no interface of a has 192.168.5.9 (expected 192.168.5.11)"),
        (LAN.replace("/24", "/30") + "]\nnodes: 2", 7, "cluster.nodes[1]: l 192.168.5.0/30 has no free address for node-2 (expected a larger subnet)"),
        ("external: [{name: node-1}]", 5, 'cluster.external[0].name: two hosts are called "node-1"'),
        ("external: [{name: x}, {name: x}]", 5, 'cluster.external[1].name: two hosts are called "x"'),
        ("external: [{name: underlay}]", 5, 'cluster.external: the underlay has a "underlay" of its own (expected another name)'),
        ("external: [{name: x, address: 203.0.113.7/24}]", 5, "cluster.external[0]: x/eth0 203.0.113.0/24 overlaps external/eth0 203.0.113.0/24 (expected subnets that do not overlap)"),
        ("external: [{name: x, address: 192.0.2.1/32}]", 5, "cluster.external[0].address: 192.0.2.1/32 leaves no address for the router (expected a length of up to 30, or a LAN that it lies in)"),
        ("external: [{name: x, apps: [http]}]", 5, "cluster.external[0].apps: cannot read 'http' (expected APP@PORT or APP@PORT/udp)"),
        ("external: [{name: x, apps: [http@70000]}]", 5, "cluster.external[0].apps: 70000 is not a port (expected 1 to 65535)"),
        ("routes: [10.244.1.0/24 via nod-1]", 5, 'cluster.routes[0]: no node or host is called "nod-1" (expected "node-1"?)'),
        ("routes: [10.244.1.0/24 by node-1]", 5, "cluster.routes[0]: "),
        ("routes: [10.9.0.0/24 via 1.2.3.4]", 5, "cluster.routes[0]: "),
        ("podSubnet: 10.0.0.0/8\nserviceSubnet: 172.16.0.0/16\nnodeCIDRMaskSize: 25", 7, "cluster.nodeCIDRMaskSize: the pod subnet 10.0.0.0/8 has more than 65536 parts of /25 (expected up to 24)"),
        ("podSubnet: 10.1.0.0/26\nnodeCIDRMaskSize: 25", 6, "cluster.nodeCIDRMaskSize: a /25 does not fit into 10.1.0.0/26 (expected 26 to 30)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_error_with_its_line(keys: str, line: int, what: str) -> None:
    with pytest.raises(InputError) as wrong:
        made(keys)
    text = str(wrong.value)
    assert text == f"shape.yaml:{line}: {what}" or (
        what.endswith(": ") and text.startswith(f"shape.yaml:{line}: {what}")
    )


PARTS = (
    kinds.ClusterPart,
    kinds.NodePart,
    kinds.LanPart,
    kinds.InterfacePart,
    kinds.AddressPart,
    kinds.ExternalPart,
    kinds.TaintPart,
)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_the_page_shows_every_key_of_a_clusters_shape(part: type[msgspec.Struct]) -> None:
    page = (Path(__file__).parents[2] / "emu" / "scenario" / "README.md").read_text()
    [block] = [
        text for text in re.findall(r"```yaml\n(.*?)```", page, re.S) if text.startswith("# file: reference.yaml")
    ]
    missing = [key for key in part.__struct_encode_fields__ if not re.search(rf"\b{key}:", block)]
    assert missing == []
