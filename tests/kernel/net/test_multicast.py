"""Multicast and broadcast: route, MAC and TTL, the copy that the sender receives, and who takes a packet (seen on Linux 6.18)."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether

from emu.errors import SocketError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kernel.net.route_get import route_get
from emu.lab import Lab
from emu.testing import invariants
from emu.wire.addr import ip4


def pair() -> tuple[Lab, Netns, Netns]:
    """`one` has two addresses on eth0, a default route by the second, and a route of its own for some groups."""
    lab = Lab()
    one, other = lab.host("one"), lab.host("other")
    lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    boot.address(one, "eth0", "10.0.9.1/24")
    boot.route(one, "default via 10.0.9.2")
    boot.route(one, "239.1.0.0/16 via 10.0.0.2")
    return lab, one, other


@pytest.mark.parametrize(
    ("dst", "src", "first", "second"),
    [
        ("224.0.0.251", "", "multicast 224.0.0.251 dev eth0 src 10.0.9.1 uid 0", "cache <mc>"),
        ("224.0.0.1", "", "multicast 224.0.0.1 dev eth0 src 10.0.9.1 uid 0", "cache <local,mc>"),
        ("239.1.2.3", "", "multicast 239.1.2.3 via 10.0.0.2 dev eth0 src 10.0.0.1 uid 0", "cache <mc>"),
        ("255.255.255.255", "", "broadcast 255.255.255.255 dev eth0 src 10.0.9.1 uid 0", "cache <local,brd>"),
        ("10.0.0.255", "", "broadcast 10.0.0.255 dev eth0 src 10.0.0.1 uid 0", "cache <local,brd>"),
        ("224.0.0.251", "10.0.0.1", "multicast 224.0.0.251 from 10.0.0.1 dev eth0 uid 0", "cache <mc>"),
        ("255.255.255.255", "127.0.0.1", "broadcast 255.255.255.255 from 127.0.0.1 dev lo uid 0", "cache <local,brd>"),
    ],
)
def test_the_way_out(dst: str, src: str, first: str, second: str) -> None:
    _lab, one, _other = pair()
    assert route_get(one, ip4(dst), ip4(src) if src else 0) == [first, second]


def test_without_a_route_a_bound_source_decides() -> None:
    lab = Lab()
    one = lab.host("one")
    lab.cable(one, "10.0.0.1/24", lab.host("other"), "")
    assert route_get(one, ip4("224.0.0.5")) == ["RTNETLINK answers: Network is unreachable"]
    assert route_get(one, ip4("224.0.0.5"), ip4("10.0.0.1"))[0] == "multicast 224.0.0.5 from 10.0.0.1 dev eth0 uid 0"


@pytest.mark.parametrize(
    ("dst", "mac", "ttl"),
    [
        ("224.0.0.251", "01:00:5e:00:00:fb", 1),
        ("239.129.2.3", "01:00:5e:01:02:03", 1),
        ("10.0.0.255", "ff:ff:ff:ff:ff:ff", 64),
        ("255.255.255.255", "ff:ff:ff:ff:ff:ff", 64),
    ],
)
def test_a_datagram_on_the_link(dst: str, mac: str, ttl: int) -> None:
    lab, one, _other = pair()
    socket = one.sockets.udp()
    socket.broadcast = True
    socket.sendto(b"x", (dst, 9))
    lab.run(0.1)
    (sent,) = [Ether(each.data) for each in lab.frames("one/eth0")]
    assert (sent.dst, sent[IP].ttl) == (mac, ttl)
    invariants.hold(lab)


@pytest.mark.parametrize("dst", ["224.0.0.1", "224.0.0.251", "10.0.0.255", "255.255.255.255"])
def test_tcp_has_no_peers_there(dst: str) -> None:
    _lab, one, _other = pair()
    with pytest.raises(SocketError, match="Network is unreachable"):
        one.sockets.tcp().connect((dst, 80))


@pytest.mark.parametrize(
    ("dst", "received"), [("224.0.0.1", True), ("224.0.0.251", False), ("10.0.0.255", True), ("255.255.255.255", True)]
)
def test_what_a_host_receives_of_its_own(dst: str, received: bool) -> None:
    lab, one, other = pair()
    kind = "multicast" if dst.startswith("224") else "broadcast"
    listeners = [each.sockets.udp() for each in (one, other)]
    for listener in listeners:
        listener.bind(("0.0.0.0", 9))
    lab.iptables(one, "-A INPUT -i eth0", f"-A INPUT -m pkttype --pkt-type {kind}", "-t mangle -A POSTROUTING -o eth0")
    socket = one.sockets.udp()
    socket.broadcast = True
    socket.sendto(b"x", (dst, 9))
    lab.run(0.1)
    assert [len(each.inbox) for each in listeners] == [received, received]
    counters = {rule.spec: count for rule, (count, _) in one.ipv4.tables.counters.items()}
    assert counters.get("-i eth0", 0) == counters.get(f"-m pkttype --pkt-type {kind}", 0) == received
    assert counters["-o eth0"] == 1 + received
    assert [each.direction for each in lab.frames("one/eth0")] == ["out"], "no tap sees the copy"
    assert not one.drops
    invariants.hold(lab)


def test_a_ttl_of_zero_stays_in_the_host() -> None:
    lab, one, _other = pair()
    one.sockets.send_packet(IP(dst="224.0.0.1", ttl=0) / UDP(sport=1, dport=9))
    assert lab.frames("one/eth0") == []
    assert one.drops == {"NOT_SPECIFIED": 1}
    invariants.hold(lab)


@pytest.mark.parametrize(
    ("src", "dst", "reason"),
    [
        ("10.0.0.1", "224.0.0.1", ""),
        ("203.0.113.5", "224.0.0.1", ""),
        ("0.0.0.0", "224.0.0.1", ""),
        ("10.0.0.1", "224.0.0.251", "NOT_SPECIFIED"),
        ("10.0.0.2", "224.0.0.1", "IP_LOCAL_SOURCE"),
        ("127.0.0.1", "224.0.0.1", "IP_LOCALNET"),
        ("224.0.0.1", "224.0.0.1", "IP_INVALID_SOURCE"),
        ("255.255.255.255", "224.0.0.1", "IP_INVALID_SOURCE"),
    ],
)
@pytest.mark.parametrize("rp_filter", [0, 1])
def test_who_takes_a_groups_packet(src: str, dst: str, reason: str, rp_filter: int) -> None:
    lab, one, other = pair()
    other.sysctl["net.ipv4.conf.eth0.rp_filter"] = rp_filter
    lab.iptables(other, "-A INPUT -j ACCEPT")
    frame = Ether(dst="01:00:5e:00:00:01", src="02:00:00:00:00:99") / IP(src=src, dst=dst, ttl=1) / UDP(dport=9)
    one.sockets.send_packet(frame)
    if rp_filter and src == "203.0.113.5":
        reason = "IP_RPFILTER"
    assert dict(other.drops) == ({reason: 1} if reason else {})
    (count,) = other.ipv4.tables.counters.values() or [[0, 0]]
    assert count[0] == (not reason)
    invariants.hold(lab)


def test_an_echo_request_to_all_hosts_is_ignored() -> None:
    _lab, one, other = pair()
    one.sockets.send_packet(IP(dst="224.0.0.1", ttl=1) / ICMP())
    assert one.drops == other.drops == {"INVALID_PROTO": 1}
