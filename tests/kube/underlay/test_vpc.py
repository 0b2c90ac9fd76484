"""The VPC as an underlay: ARP for all, the TTL that stays, delivery by address, and each check with its reason and place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from emu.errors import InputError
from emu.kube.cluster import Cluster, ClusterConfig
from emu.kube.flow.flow import Flow
from emu.kube.underlay.shape import LanSettings, NicSettings
from emu.kube.underlay.vpc.cloud import RouteTable
from emu.kube.underlay.vpc.network_acl import NetworkAcl, parse_acl_rule
from emu.kube.underlay.vpc.security_group import SecurityGroup, parse_group_rule
from emu.kube.underlay.vpc.traffic import parse_traffic
from emu.kube.underlay.vpc.vpc import Vpc
from emu.wire.addr import Prefix, ip4, ip4_text, mac_text

# node-1 and node-3 are in subnet-a, node-2 is in subnet-b
ONE, TWO, THREE = "10.0.0.11", "10.0.16.11", "10.0.0.12"
PUBLIC = "192.0.2.11"


def cluster(nodes: int = 3, **settings: Any) -> Cluster:
    return Cluster(ClusterConfig.of(nodes, underlay="vpc", **settings))


@cache
def quiet() -> Cluster:
    """One that no test changes."""
    return cluster()


def vpc(made: Cluster) -> Vpc:
    assert isinstance(made.underlay, Vpc)
    return made.underlay


def seen(flow: Flow, interface: str, way: str) -> list[Packet]:
    """The packets of a flow at one interface, as Scapy has them."""
    return [each.packet() for each in flow.frames if each.interface == interface and each.way.startswith(way)]


def groups(made: Cluster, name: str, ingress: str, egress: str = "all 0.0.0.0/0") -> SecurityGroup:
    group = SecurityGroup(name, [parse_group_rule(ingress)] if ingress else [], [parse_group_rule(egress)])
    vpc(made).cloud.groups[name] = group
    return group


def guard(made: Cluster, node: str, *which: SecurityGroup) -> None:
    for eni in vpc(made).cloud.enis.values():
        if eni.instance == node:
            eni.groups = [*which]


def lost(flow: Flow) -> tuple[str, str, str]:
    assert flow.outcome.word == "dropped", flow.outcome
    return flow.outcome.detail, flow.outcome.place, flow.outcome.by


# -- ARP and delivery -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "whose"),
    [
        ("10.0.0.1", "vpc/port1"),  # the router
        (THREE, "node-3/eth0"),  # an interface of the same subnet
        (TWO, "vpc/port1"),  # of another subnet
        ("10.0.0.200", "vpc/port1"),  # none has it
        ("203.0.113.10", "vpc/port1"),
    ],
)
def test_arp_is_answered_for_every_address(asked: str, whose: str) -> None:
    made = quiet()
    node = made.nodes["node-1"].net
    mac = mac_text(node.device("eth0").mac)
    request = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=mac, psrc=ONE, pdst=asked)
    flow = made.send("node/node-1", request, device="eth0")
    (answer,) = [each[ARP] for each in seen(flow, "node-1/eth0", "in") if each.haslayer(ARP)]
    owner, _, device = whose.partition("/")
    assert (answer.op, answer.psrc) == (2, asked)
    assert answer.hwsrc == mac_text(made.namespaces[owner].device(device).mac)
    assert not [each for each in flow.frames if each.interface.startswith(("vpc/port2", "vpc/port3"))], "no other cable"


def test_an_interface_is_not_answered_for_its_own_address() -> None:
    made = quiet()
    mac = mac_text(made.nodes["node-1"].net.device("eth0").mac)
    announcement = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=mac, psrc=ONE, pdst=ONE)
    flow = made.send("node/node-1", announcement, device="eth0")
    assert not seen(flow, "node-1/eth0", "in")


@pytest.mark.parametrize("to", [TWO, THREE])
def test_the_vpc_lowers_no_ttl(to: str) -> None:
    flow = quiet().ping("node/node-1", to)
    assert flow.delivered
    node = "node-2" if to == TWO else "node-3"
    (request,) = [each for each in seen(flow, f"{node}/eth0", "in") if each.haslayer(ICMP)]
    assert request[IP].ttl == 64


def test_a_frame_reaches_the_interface_that_has_the_address_whatever_its_mac() -> None:
    made = quiet()
    node = made.nodes["node-1"].net
    frame = (
        Ether(src=mac_text(node.device("eth0").mac), dst="02:00:00:00:99:99")
        / IP(src=ONE, dst=THREE)
        / UDP(sport=1, dport=9)
        / Raw(b"x")
    )
    flow = made.send("node/node-1", frame, device="eth0")
    (found,) = [each for each in seen(flow, "node-3/eth0", "in") if each.haslayer(UDP)]
    assert found.dst == mac_text(made.nodes["node-3"].net.device("eth0").mac)
    assert found.src == mac_text(node.device("eth0").mac), "inside a subnet the sender's MAC stays"


def test_between_subnets_a_frame_comes_from_the_router() -> None:
    made = quiet()
    flow = made.ping("node/node-1", TWO)
    (found,) = [each for each in seen(flow, "node-2/eth0", "in") if each.haslayer(ICMP)]
    assert found.src == mac_text(vpc(made).net.device("port2").mac)


def test_an_address_that_no_interface_has_is_dropped_with_the_route_that_decided() -> None:
    reason, place, by = lost(quiet().udp("node/node-1", "10.0.16.77:9"))
    assert (reason, place) == ("NO_INTERFACE", "vpc/port1")
    assert by == "no interface has 10.0.16.77 (main: 10.0.0.0/16 -> local)"


@pytest.mark.parametrize("to", ["224.0.0.251", "255.255.255.255"])
def test_a_vpc_carries_no_multicast(to: str) -> None:
    made = quiet()
    flow = made.send("node/node-1", IP(src=ONE, dst=to) / UDP(sport=1, dport=9), device="eth0")
    assert [(each.reason, each.place) for each in flow.losses] == [("NO_MULTICAST", "vpc/port1")]


# -- source/destination check -----------------------------------------------------------------------------------------


def spoofed(made: Cluster) -> Flow:
    return made.send("node/node-1", IP(src="10.9.9.9", dst=TWO) / UDP(sport=1, dport=9), device="eth0")


def test_the_source_must_be_the_interfaces_own() -> None:
    flow = spoofed(cluster())
    (loss,) = flow.losses
    assert (loss.reason, loss.place) == ("SOURCE_DEST_CHECK", "vpc/port1")
    assert str(loss.by) == "source/destination check of eni-node-1-eth0: it does not have the source 10.9.9.9"


def test_without_the_check_any_source_leaves() -> None:
    made = cluster()
    vpc(made).cloud.enis["port1"].source_dest_check = False
    assert [loss.place for loss in spoofed(made).losses] != ["vpc/port1"]
    assert seen(made.flows[1], "node-2/eth0", "in")


def test_the_destination_must_be_the_interfaces_own() -> None:
    """A route of the table to an instance, as for a pod CIDR, with the check off at the sender only."""
    made = cluster()
    made.underlay.route(Prefix.parse("10.50.0.0/24"), ip4(TWO))
    reason, place, by = lost(made.udp("node/node-1", "10.50.0.9:9"))
    assert (reason, place) == ("SOURCE_DEST_CHECK", "vpc/port1")
    assert by == "source/destination check of eni-node-2-eth0: it does not have the destination 10.50.0.9"
    vpc(made).cloud.enis["port2"].source_dest_check = False
    assert seen(made.udp("node/node-1", "10.50.0.9:9", timeout_s=1), "node-2/eth0", "in")


# -- security groups --------------------------------------------------------------------------------------------------


def test_a_security_group_remembers_what_it_allowed() -> None:
    """Nothing may come in, and the answers do."""
    made = cluster()
    guard(made, "node-1", groups(made, "closed", ""))
    assert made.ping("node/node-1", TWO).delivered
    assert made.udp("node/node-1", "external:53", b"x").delivered
    reason, place, by = lost(made.udp("node/node-2", f"{ONE}:9"))
    assert (reason, place) == ("SECURITY_GROUP", "vpc/port2")
    assert by == "no inbound rule of the security group closed of eni-node-1-eth0 allows it"


def test_a_security_group_forgets() -> None:
    """A datagram's answer is allowed for 30 s (EC2: 30 s for a single one, 180 s for a stream)."""
    made = cluster()
    guard(made, "node-1", groups(made, "closed", ""))
    first = made.udp("node/node-1", f"{TWO}:9", b"x", port=5000, reply=False, timeout_s=1)
    assert seen(first, "node-2/eth0", "in")

    def answer() -> Flow:
        back = IP(src=TWO, dst=ONE) / UDP(sport=9, dport=5000)
        return made.send("node/node-2", back)

    made.wait(20)
    assert seen(answer(), "node-1/eth0", "in"), "known, and from now on a stream"
    made.wait(170)
    assert seen(answer(), "node-1/eth0", "in")
    made.wait(181)
    assert [loss.reason for loss in answer().losses] == ["SECURITY_GROUP"]


def test_a_rule_may_name_a_group() -> None:
    made = cluster()
    guard(made, "node-1", groups(made, "web", "udp 53 group clients"))
    guard(made, "node-3", groups(made, "clients", "all 0.0.0.0/0"))
    sock = made.nodes["node-1"].net.sockets.udp()
    sock.bind((0, 53))
    assert lost(made.udp("node/node-2", f"{ONE}:53"))[0] == "SECURITY_GROUP"
    assert seen(made.udp("node/node-3", f"{ONE}:53", timeout_s=1), "node-1/eth0", "in")
    assert lost(made.udp("node/node-3", f"{ONE}:54"))[0] == "SECURITY_GROUP"


def test_an_outbound_rule_counts_at_the_sender() -> None:
    made = cluster()
    guard(made, "node-1", groups(made, "dns only", "all 0.0.0.0/0", "udp 53 0.0.0.0/0"))
    reason, place, by = lost(made.udp("node/node-1", f"{TWO}:54"))
    assert (reason, place) == ("SECURITY_GROUP", "vpc/port1") and "outbound" in by


def test_an_icmp_error_is_no_answer() -> None:
    """It needs a rule of its own: the sender does not learn that the port is closed."""
    made = cluster()
    guard(made, "node-1", groups(made, "closed", ""))
    assert lost(made.udp("node/node-1", f"{TWO}:9"))[:2] == ("SECURITY_GROUP", "vpc/port2")
    guard(made, "node-1", groups(made, "with icmp", "icmp 0.0.0.0/0"))
    assert made.udp("node/node-1", f"{TWO}:9").outcome.word == "rejected"


# -- network ACLs -----------------------------------------------------------------------------------------------------


def acl(made: Cluster, subnet: str, ingress: list[str], egress: list[str]) -> None:
    rules = ([parse_acl_rule(each) for each in some] for some in (ingress, egress))
    vpc(made).cloud.subnets[subnet].acl = NetworkAcl("acl-test", *rules)


ALLOW = "100 allow all 0.0.0.0/0"


def test_a_network_acl_is_stateless() -> None:
    """Only what leaves is allowed: the answer is denied where it comes in."""
    made = cluster()
    acl(made, "subnet-a", [], [ALLOW])
    reason, place, by = lost(made.ping("node/node-1", TWO))
    assert (reason, place, by) == ("NETWORK_ACL", "vpc/port2", "inbound rule * of acl-test of subnet-a")
    acl(made, "subnet-a", ["90 allow icmp 10.0.16.0/20"], [ALLOW])
    assert made.ping("node/node-1", TWO).delivered


def test_the_first_rule_by_number_decides() -> None:
    made = cluster()
    acl(made, "subnet-b", [ALLOW, "50 deny udp 9 10.0.0.0/16"], [ALLOW])
    assert (
        lost(made.udp("node/node-1", f"{TWO}:9"))[2] == "inbound rule 50 deny udp 9 10.0.0.0/16 of acl-test of subnet-b"
    )
    assert made.udp("node/node-1", f"{TWO}:10").outcome.word == "rejected", "the port is closed, and ICMP passes"


def test_an_acl_does_not_see_what_stays_in_the_subnet() -> None:
    made = cluster()
    acl(made, "subnet-a", [], [])
    assert made.ping("node/node-1", THREE).delivered
    assert lost(made.ping("node/node-1", TWO))[2] == "outbound rule * of acl-test of subnet-a"


# -- gateways ---------------------------------------------------------------------------------------------------------


def test_the_internet_gateway_swaps_one_address_and_no_port() -> None:
    made = quiet()
    flow = made.udp("node/node-1", "external:53", b"x", port=5000)
    (out,) = [each for each in seen(flow, "internet/igw", "in") if each.haslayer(UDP)]
    (back,) = [each for each in seen(flow, "node-1/eth0", "in") if each.haslayer(UDP)]
    assert (out[IP].src, out[UDP].sport, out[IP].ttl) == (PUBLIC, 5000, 64)
    assert (back[IP].dst, back[UDP].dport) == (ONE, 5000)
    for packet in (out, back):
        again = packet.__class__(bytes(packet))
        del again[IP].chksum, again[UDP].chksum
        assert bytes(again.__class__(bytes(again))) == bytes(packet), "the checksums are right"


def test_the_internet_gateway_is_stateless() -> None:
    assert quiet().ping("external", PUBLIC).at == "node-1"


def test_the_internet_gateway_translates_what_an_icmp_error_quotes() -> None:
    """The outside refuses a datagram: the node's socket gets the error, so the quote has the private address."""
    made = quiet()
    flow = made.udp("node/node-1", "203.0.113.10:9", b"x", port=5000)
    assert (flow.outcome.word, flow.outcome.detail) == ("rejected", "port-unreachable")
    (error,) = [each for each in seen(flow, "node-1/eth0", "in") if each.haslayer(ICMP)]
    assert error[ICMP].payload.src == ONE


def test_an_interface_without_a_public_address_reaches_nothing_outside() -> None:
    made = cluster()
    cloud = vpc(made).cloud
    del cloud.private[cloud.public.pop(ip4(ONE))]
    reason, place, by = lost(made.ping("node/node-1", "external"))
    assert (reason, place, by) == (
        "NO_PUBLIC_ADDRESS", "vpc/port1", "the internet gateway knows no public address of 10.0.0.11",
    )  # fmt: skip
    assert lost(made.ping("external", PUBLIC))[:2] == ("NO_PUBLIC_ADDRESS", "vpc/igw")


def test_a_nat_gateway_translates_ports() -> None:
    made = cluster()
    cloud = vpc(made).cloud
    table = cloud.tables["private"] = RouteTable("private")
    table.put(cloud.cidrs[0], "local")
    table.put(Prefix(0, 0), "nat-gateway")
    cloud.subnets["subnet-b"].table = table
    flow = made.udp("node/node-2", "external:53", b"x", port=5000)
    assert flow.delivered
    (out,) = [each for each in seen(flow, "internet/igw", "in") if each.haslayer(UDP)]
    assert out[IP].src == "192.0.2.5" and out[UDP].sport != 5000
    assert "10.0.16.11:5000 -> 10.0.15.254:" in flow.snat


def test_a_subnet_without_a_default_route_reaches_nothing_outside() -> None:
    made = cluster()
    cloud = vpc(made).cloud
    table = cloud.tables["inside"] = RouteTable("inside")
    table.put(cloud.cidrs[0], "local")
    cloud.subnets["subnet-a"].table = table
    assert lost(made.ping("node/node-1", "external")) == (
        "NO_VPC_ROUTE", "vpc/port1", "inside has no route to 203.0.113.10",
    )  # fmt: skip


def test_what_is_too_long_for_the_internet_is_reported_to_the_sender() -> None:
    """9001 bytes inside the VPC, 1500 behind the gateway: path MTU discovery works through it."""
    made = cluster()
    assert made.ping("node/node-1", TWO, size=8000).delivered
    flow = made.tcp("node/node-1", "external:80", b"GET / HTTP/1.0\r\n\r\n" + b"x" * 20000)
    assert flow.delivered
    first = made.udp("node/node-1", "external:53", b"x" * 3000)
    errors = [each for each in seen(first, "node-1/eth0", "in") if each.haslayer(ICMP)]
    assert [(each[ICMP].type, each[ICMP].code, each[ICMP].nexthopmtu) for each in errors] == [(3, 4, 1500)]


# -- shapes -----------------------------------------------------------------------------------------------------------


def test_lans_of_a_scenario_are_subnets() -> None:
    nodes = [
        ClusterConfig.of(1).nodes[0].__class__(name, interfaces=(NicSettings(lan=lan),))
        for name, lan in (("a", "one"), ("b", "two"))
    ]
    lans = (LanSettings("one", "172.31.0.0/20", mtu=9001), LanSettings("two", "172.31.16.0/20", mtu=9001))
    made = Cluster(ClusterConfig(nodes=tuple(nodes), lans=lans, underlay="vpc"))
    assert [str(each.cidr) for each in vpc(made).cloud.subnets.values()] == ["172.31.0.0/20", "172.31.16.0/20"]
    assert made.ping("node/a", "node/b").delivered
    assert made.ping("node/b", "external").delivered


def test_nodes_take_turns_in_two_zones_and_many_fit() -> None:
    made = vpc(quiet())
    assert [ip4_text(each.ip) for each in made.layout.nodes] == [ONE, TWO, THREE]
    assert Vpc.default_address(4999, 5000) in Vpc.default_lan(4999, 5000).subnet


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_group_rule, "tcp 80 0.0.0.0/0"),
        (parse_group_rule, "udp 1024-65535 10.0.0.0/8"),
        (parse_group_rule, "all group nodes"),
        (parse_group_rule, "icmp 10.0.0.0/8"),
        (parse_acl_rule, "100 allow tcp 80 0.0.0.0/0"),
        (parse_acl_rule, "32766 deny all 0.0.0.0/0"),
    ],
)
def test_a_rule_is_written_as_it_is_read(parse: Callable[[str], object], text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_group_rule, ""),
        (parse_group_rule, "tcp"),
        (parse_group_rule, "tcp 80-79 0.0.0.0/0"),
        (parse_group_rule, "tcp 80 10.0.0.1/8"),
        (parse_group_rule, "igmp 0.0.0.0/0"),
        (parse_acl_rule, "allow all 0.0.0.0/0"),
        (parse_acl_rule, "0 allow all 0.0.0.0/0"),
        (parse_acl_rule, "100 permit all 0.0.0.0/0"),
        (parse_acl_rule, "100 allow all group nodes"),
        (lambda text: parse_traffic(text.split()), "tcp 99999"),
    ],
)
def test_a_rule_that_is_none_is_an_input_error(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(InputError):
        parse(text)
