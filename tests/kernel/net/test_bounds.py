"""Memory of fragments, their distance, and the ICMP errors of a whole namespace: the figures are those of a kernel."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from emu.clock import MS, SECOND, Clock
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.lab import Lab
from emu.wire.addr import BROADCAST_MAC
from emu.wire.frame import ICMP, Frame
from sinks import sink

OWN, PEER = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"


class Host:
    """10.0.0.1 on one link, with a default route to a neighbour that is known."""

    def __init__(self, **sysctls: int) -> None:
        self.clock = Clock(seed=4)
        self.net: Netns = boot.namespace(self.clock, "host")
        for name, value in sysctls.items():
            self.net.sysctl[f"net.ipv4.{name}"] = value
        self.eth0 = sink(self.clock, "eth0", OWN)
        self.net.attach(self.eth0)
        boot.address(self.net, self.eth0, "10.0.0.1/24")
        boot.route(self.net, "default via 10.0.0.9")

    def receive(self, packet: IP) -> None:
        frame = Frame.parse(bytes(Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01") / packet))
        self.net.born += 1
        self.eth0.receive(frame)
        self.clock.drain()

    def fragment(self, source: str, ident: int, offset: int, length: int, *, more: bool) -> None:
        self.receive(
            IP(src=source, dst="10.0.0.1", id=ident, flags="MF" if more else 0, frag=offset // 8, proto=17)
            / bytes(length)
        )

    @property
    def memory(self) -> int:
        found: int = self.net.ipv4.reassembly.memory  # type: ignore[attr-defined]  # the one of IPv4
        return found


def test_fragments_cost_what_the_kernel_charges() -> None:
    """`FRAG: inuse N memory M` of /proc/net/sockstat after each of the same packets."""
    host = Host()
    seen = []
    for ident, offset, length in ((1, 0, 1480), (1, 1480, 1480), (2, 0, 8)):
        host.fragment("10.1.0.1", ident, offset, length, more=True)
        seen.append(host.memory)
    assert seen == [2504, 4808, 5840]
    host.fragment("10.1.0.1", 1, 2960, 8, more=False)
    assert host.memory == 1032, "a whole datagram is charged no more"
    host.clock.run_until(31 * SECOND)
    assert host.memory == 0


def test_no_datagram_begins_above_the_limit() -> None:
    host = Host(ipfrag_high_thresh=100_000)
    for number in range(60):
        host.fragment(f"10.1.0.{number}", number, 0, 1480, more=True)
    assert host.net.ipv4.reassembly.waiting == 40  # 2504 bytes each, until more than 100,000 are charged
    assert host.net.drops == {"NOT_SPECIFIED": 20}
    host.fragment("10.1.0.0", 0, 1480, 8, more=False)
    assert host.net.delivered + host.net.drops.total() == 20 + 1, "one that has begun becomes whole"


@pytest.mark.parametrize(
    ("between", "source", "whole"),
    [(0, "10.1.0.1", True), (63, "10.1.0.1", True), (64, "10.1.0.1", False), (100, "10.1.0.2", True)],
)
def test_too_many_other_fragments_part_a_datagram(between: int, source: str, whole: bool) -> None:
    host = Host()
    host.fragment("10.1.0.1", 1, 0, 1480, more=True)
    for number in range(between):
        host.fragment(source, 100 + number, 0, 8, more=True)
    host.fragment("10.1.0.1", 1, 1480, 100, more=False)
    assert host.net.drops["FRAG_TOO_FAR"] == (not whole)
    assert host.net.ipv4.reassembly.waiting == between + (not whole)


def test_the_distance_may_be_switched_off() -> None:
    host = Host(ipfrag_max_dist=0)
    host.fragment("10.1.0.1", 1, 0, 1480, more=True)
    for number in range(200):
        host.fragment("10.1.0.1", 100 + number, 0, 8, more=True)
    host.fragment("10.1.0.1", 1, 1480, 100, more=False)
    assert not host.net.drops["FRAG_TOO_FAR"]


def errors(host: Host, count: int) -> int:
    """The port-unreachables that `count` packets of different senders to a closed port bring, all at one time."""
    host.eth0.sent.clear()
    for number in range(count):
        host.receive(IP(src=f"10.2.{number // 250}.{number % 250 + 1}", dst="10.0.0.1") / UDP(sport=5, dport=9))
        for entry in list(host.net.neighbours):
            if entry.state == "INCOMPLETE":
                entry.update(PEER, "REACHABLE")
    return sum(frame.proto == ICMP for _, _, frame in host.eth0.sent)


def test_a_namespace_sends_so_many_errors_and_no_more() -> None:
    """Each costs 0, 1 or 2 of the burst; a kernel sent 48 to 82 of 1000 in 7 to 31 ms, of which each earns one more."""
    host = Host()
    first = errors(host, 400)
    assert 35 <= first <= 75
    assert errors(host, 50) == 0, "none is left at the same time"
    host.clock.run_until(host.clock.now + 16 * MS)
    assert errors(host, 50) == 0, "nor before 20 ms have passed"
    host.clock.run_until(host.clock.now + 4 * MS)
    assert 10 <= errors(host, 100) <= 35  # 20 ms earn 20
    host.clock.run_until(host.clock.now + 3 * SECOND)
    assert 35 <= errors(host, 400) <= 75


def test_the_limit_is_for_what_the_mask_names() -> None:
    host = Host(icmp_msgs_burst=1, icmp_ratelimit=0)
    assert errors(host, 40) <= 4
    host = Host(icmp_msgs_burst=1, icmp_ratemask=0)
    assert errors(host, 40) == 40


def test_one_sender_is_held_by_its_own_limit() -> None:
    host = Host()
    for _ in range(20):
        host.receive(IP(src="10.2.0.1", dst="10.0.0.1") / UDP(sport=5, dport=9))
        for entry in host.net.neighbours:
            if entry.state == "INCOMPLETE":
                entry.update(PEER, "REACHABLE")
    assert sum(frame.proto == ICMP for _, _, frame in host.eth0.sent) == 6


def test_a_bridge_forgets_strangers_whose_time_is_over() -> None:
    lab = Lab(capture=False)
    client, switch = lab.host("client"), lab.host("switch")
    bridge = lab.bridge(switch)
    lab.cable(client, "10.0.0.1/24", bridge, "")
    eth0 = client.device("eth0")

    def flood(first: int, count: int) -> None:
        for number in range(first, first + count):
            client.born += 1
            source = b"\2\1" + number.to_bytes(4, "big")
            eth0.transmit(Frame.parse(BROADCAST_MAC + source + b"\x88\xb5" + bytes(46)))
            lab.clock.drain()

    flood(0, 500)
    lab.run(200)
    flood(0, 5)  # seen again
    lab.run(101)
    flood(1000, 1)
    assert len([each for each in bridge.fdb.values() if not each.static]) == 6
    assert len(list(bridge.learned())) == 6
