"""NAT: what packets become in both directions, port choice, ICMP errors; Scapy recomputes every checksum."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, TCPerror, UDPerror
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from emu.clock import TICK_NS, Clock
from emu.kernel.netfilter.conn import attach, inverse
from emu.kernel.netfilter.conntrack import Conntrack
from emu.kernel.netfilter.conntrack_list import render
from emu.kernel.netfilter.hooks import (
    LOCAL_IN,
    LOCAL_OUT,
    POST_ROUTING,
    PRE_ROUTING,
    Drop,
    HookFn,
    HookState,
    Verdict,
)
from emu.kernel.netfilter.nat import Nat, masquerade, setup
from emu.kernel.netfilter.nat_ports import MANIP_DST, MANIP_SRC, PROTO_RANDOM_FULLY, NatRange, jhash2_ipv4
from emu.kernel.sysctl import Sysctls
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import Frame
from rules import FakeNetns

CLIENT, VIP, POD, NODE, ROUTER = "10.244.1.11", "10.96.0.10", "10.244.2.13", "192.168.50.11", "192.168.50.1"

# Seen on a Linux 6.18: DNAT to a range of 11 addresses, and with --persistent (no service)
SPREAD = [
    ("10.0.0.1", "10.96.0.20", 6),
    ("10.0.0.1", "", 3),
    ("10.0.0.2", "10.96.0.20", 3),
    ("10.0.0.2", "", 11),
    ("10.0.0.4", "10.96.0.20", 1),
    ("10.0.0.4", "", 3),
]


class Device:
    def __init__(self, name: str, ifindex: int) -> None:
        self.name, self.ifindex = name, ifindex


class Route:
    gateway = ip4(ROUTER)


class Net(FakeNetns):
    """A node with NAT rules given as functions, and whatever the hooks ask of a namespace."""

    def __init__(self, **rules: HookFn) -> None:
        super().__init__(Clock(seed=1), "node")
        self.conntrack = Conntrack("node", self.clock, Sysctls(), self.hooks)
        self.conntrack.enable()
        names = {"prerouting": 0, "input": 1, "output": 3, "postrouting": 4}
        self.rules = {names[name]: rule for name, rule in rules.items()}
        self.walks = 0
        self.asked: list[tuple[str, int]] = []
        self.nat = Nat(self.hooks, self)
        self.nat.enable()
        self.eth0 = Device("eth0", 2)

    def nat_chain(self, hook: int) -> HookFn | None:
        self.walks += 1
        return self.rules.get(hook)

    def select_addr(self, device: Any, towards: int) -> int:
        self.asked.append((device.name, towards))
        return ip4(NODE)

    def reroute(self, frame: Frame) -> str:
        self.rerouted += 1
        return ""

    def frame(self, packet: Packet) -> Frame:
        frame = Frame.parse(bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet), trail=[])
        frame.outdev = self.eth0
        frame.route = Route()
        return frame

    def pass_hooks(self, packet: Packet | Frame, *hooks: int) -> Frame:
        frame = packet if isinstance(packet, Frame) else self.frame(packet)
        for hook in hooks:
            assert self.hooks.run(hook, frame) is None
        return frame

    def forward(self, packet: Packet) -> Packet:
        return seen(self.pass_hooks(packet, PRE_ROUTING, POST_ROUTING))


def seen(frame: Frame) -> Packet:
    """The frame as Scapy reads it, after holding cache against bytes and every checksum against Scapy's."""
    again = Frame.parse(frame.buf)
    for name in ("src", "dst", "sport", "dport", "proto"):
        assert getattr(frame, name) == getattr(again, name), name
    packet: Packet = Ether(bytes(frame.buf))[IP]
    fresh = packet.copy()
    layers = [layer for layer in (IP, UDP, TCP, ICMP) if layer in fresh]
    kept = {layer: fresh[layer].chksum for layer in layers}
    for layer in layers:
        if layer is not UDP or kept[layer]:
            del fresh[layer].chksum
    fresh = IP(bytes(fresh))
    assert {layer: fresh[layer].chksum for layer in layers} == kept
    return packet


def dnat(to: str = POD, port: int = 8080, only: str = VIP) -> HookFn:
    def rule(frame: Frame, state: HookState) -> Verdict:
        if frame.dst != ip4(only):
            return None
        return setup(frame, state, MANIP_DST, NatRange.of(ip4(to), min_port=port))

    return rule


def snat(to: str = NODE, flags: int = 0, ports: tuple[int, int] = (0, 0)) -> HookFn:
    def rule(frame: Frame, state: HookState) -> Verdict:
        return setup(frame, state, MANIP_SRC, NatRange.of(ip4(to), 0, *ports, flags=flags))

    return rule


def masq(frame: Frame, state: HookState) -> Verdict:
    return masquerade(frame, state)


def tcp(sport: int = 40001, dport: int = 80, src: str = CLIENT, dst: str = VIP, flags: str = "S") -> Packet:
    return IP(src=src, dst=dst) / TCP(sport=sport, dport=dport, flags=flags, seq=100, ack=0) / b"odd"


def udp(sport: int = 40053, dport: int = 53, src: str = CLIENT, dst: str = VIP) -> Packet:
    return IP(src=src, dst=dst) / UDP(sport=sport, dport=dport) / b"odd"


def ends(packet: Packet) -> tuple[str, int, str, int]:
    return packet[IP].src, packet.sport, packet[IP].dst, packet.dport


def test_there_and_back_through_both_halves() -> None:
    net = Net(prerouting=dnat(), postrouting=snat())
    there = net.pass_hooks(tcp(), PRE_ROUTING)
    assert (there.dst, there.dport, there.src, there.route) == (ip4(POD), 8080, ip4(CLIENT), None)
    net.pass_hooks(there, POST_ROUTING)
    assert ends(seen(there)) == (NODE, 40001, POD, 8080)
    back = net.pass_hooks(tcp(8080, 40001, POD, NODE, "SA"), PRE_ROUTING)
    assert (back.src, back.dst) == (ip4(POD), ip4(CLIENT))  # the halves are separate in time
    net.pass_hooks(back, POST_ROUTING)
    assert ends(seen(back)) == (VIP, 80, CLIENT, 40001)
    assert [fact.kind for fact in there.trail or () if hasattr(fact, "kind")] == ["DNAT", "SNAT"]
    assert [fact.kind for fact in back.trail or () if hasattr(fact, "kind")] == ["un-SNAT", "un-DNAT"]
    un_dnat = (back.trail or [])[-1]
    assert (un_dnat.before, un_dnat.after) == ((ip4(POD), 8080), (ip4(VIP), 80))


def test_rules_are_walked_by_the_first_packet_only() -> None:
    net = Net(prerouting=dnat())
    net.forward(tcp())
    walks = net.walks
    net.rules.clear()
    assert net.forward(tcp())[IP].dst == POD
    net.forward(tcp(8080, 40001, POD, CLIENT, "SA"))
    assert net.walks == walks == 2


def test_the_line_of_a_translated_connection() -> None:
    net = Net(prerouting=dnat())
    net.forward(tcp())
    assert render(next(iter(net.conntrack)), net.clock.now + TICK_NS) == (
        "ipv4     2 tcp      6 119 SYN_SENT src=10.244.1.11 dst=10.96.0.10 sport=40001 dport=80 [UNREPLIED] "
        "src=10.244.2.13 dst=10.244.1.11 sport=8080 dport=40001 mark=0 use=1"
    )


def test_local_out_is_routed_anew_and_input_undoes_the_source() -> None:
    net = Net(output=dnat(), postrouting=masq)
    out = net.pass_hooks(udp(src=NODE), LOCAL_OUT, POST_ROUTING)
    assert ends(seen(out)) == (NODE, 40053, POD, 8080) and net.rerouted == 1
    answer = net.pass_hooks(udp(8080, 40053, POD, NODE), PRE_ROUTING, LOCAL_IN)
    assert ends(seen(answer)) == (VIP, 53, NODE, 40053)


def test_masquerade_asks_for_the_address_towards_the_next_hop() -> None:
    net = Net(postrouting=masq)
    assert ends(net.forward(udp(dst="203.0.113.10"))) == (NODE, 40053, "203.0.113.10", 53)
    assert net.asked == [("eth0", ip4(ROUTER))]
    other = net.frame(udp(dst="203.0.113.10"))
    other.outdev = Device("eth1", 3)  # the way out has changed
    assert net.hooks.run(PRE_ROUTING, other) is None
    assert isinstance(net.hooks.run(POST_ROUTING, other), Drop) and len(net.conntrack) == 0


@pytest.mark.parametrize(("port", "low", "high"), [(500, 1, 511), (700, 600, 1023), (40001, 1024, 65535)])
def test_a_taken_port_is_replaced_by_one_of_its_like(port: int, low: int, high: int) -> None:
    net = Net(postrouting=snat())
    first = net.forward(udp(port, dst=POD))
    second = net.forward(udp(port, src="10.244.1.12", dst=POD))
    assert first.sport == port != second.sport and low <= second.sport <= high
    assert ends(net.forward(udp(53, second.sport, POD, NODE))) == (POD, 53, "10.244.1.12", port)


def test_a_clash_without_any_rule_for_the_source() -> None:
    net = Net(prerouting=dnat())
    assert net.forward(tcp(dport=8080, dst=POD)).sport == 40001
    moved = net.forward(tcp())
    assert moved.sport != 40001 and moved.dport == 8080 and moved[IP].src == CLIENT
    assert ends(net.forward(tcp(8080, moved.sport, POD, CLIENT, "SA"))) == (VIP, 80, CLIENT, 40001)


def test_echo_ids_are_kept_or_drawn_and_given_back() -> None:
    net = Net(postrouting=snat())
    out = "203.0.113.10"
    first = net.forward(IP(src=CLIENT, dst=out) / ICMP(id=7, seq=1) / b"data")
    second = net.forward(IP(src="10.244.1.12", dst=out) / ICMP(id=7, seq=1) / b"data")
    assert first[ICMP].id == 7 != second[ICMP].id
    back = net.forward(IP(src=out, dst=NODE) / ICMP(type=0, id=second[ICMP].id, seq=1) / b"data")
    assert (back[IP].dst, back[ICMP].id) == ("10.244.1.12", 7)


def test_ports_of_a_range_and_random_ones() -> None:
    net = Net(postrouting=snat(ports=(5000, 5001)))
    taken = [net.forward(udp(40000 + n, dst=POD)).sport for n in range(2)]
    assert sorted(taken) == [5000, 5001]
    third = net.pass_hooks(udp(40002, dst=POD), PRE_ROUTING)
    assert isinstance(net.hooks.run(POST_ROUTING, third), Drop)  # none left: the clash shows at confirmation
    fully = Net(postrouting=snat(flags=PROTO_RANDOM_FULLY))
    assert fully.forward(udp(dst=POD)).sport != 40053


def test_one_source_keeps_its_mapping_for_other_destinations() -> None:
    net = Net(postrouting=snat())
    net.forward(udp(dst=POD))
    moved = net.forward(udp(src="10.244.1.12", dst=POD)).sport
    assert moved != 40053
    assert net.forward(udp(src="10.244.1.12", dst="10.244.2.14")).sport == moved


def test_ranges_spread_by_client() -> None:
    net = Net(prerouting=lambda f, s: setup(f, s, MANIP_DST, NatRange.of(ip4("10.0.0.1"), ip4("10.0.0.8"))))
    chosen = {net.forward(udp(port))[IP].dst for port in range(1, 20)}
    assert len(chosen) == 1


@pytest.mark.parametrize(("client", "service", "chosen"), SPREAD)
def test_the_address_of_a_range_is_the_kernels(client: str, service: str, chosen: int) -> None:
    spread = jhash2_ipv4(ip4(client), ip4(service) if service else 0)
    assert 1 + (spread * 11 >> 32) == chosen


@pytest.mark.parametrize("make", [tcp, udp])
@pytest.mark.parametrize("size", [8, 20, 500])
def test_errors_come_back_in_the_senders_terms(make: Any, size: int) -> None:
    net = Net(prerouting=dnat(), postrouting=snat())
    sent = make()
    there = net.forward(sent)
    quote = bytes(there)[: 20 + size]
    error = net.forward(IP(src=ROUTER, dst=NODE) / ICMP(type=11) / quote)
    assert (error[IP].src, error[IP].dst) == (VIP, CLIENT)  # even the outer source is the Service's
    inner = error[IPerror]
    assert (inner.src, inner.dst) == (CLIENT, VIP)
    assert bytes(error[ICMP])[28:32] == bytes(sent)[20:24]
    if size >= 20 or make is udp:
        assert bytes(error[ICMP])[8:] == bytes(sent)[: 20 + size]  # and every checksum in it is what was sent


def test_errors_about_answers_reach_the_server() -> None:
    net = Net(prerouting=dnat(), postrouting=snat())
    net.forward(udp())
    answer = net.forward(udp(8080, 40053, POD, NODE))
    error = net.forward(IP(src=CLIENT, dst=VIP) / ICMP(type=3, code=3) / bytes(answer))
    assert (error[IP].src, error[IP].dst) == (NODE, POD)
    assert (error[IPerror].src, error[UDPerror].sport, error[IPerror].dst) == (POD, 8080, NODE)
    assert TCPerror not in error


def test_an_error_made_here_takes_the_services_address() -> None:
    net = Net(prerouting=dnat())
    there = net.pass_hooks(udp(), PRE_ROUTING, POST_ROUTING)
    error = net.frame(IP(src=NODE, dst=CLIENT) / ICMP(type=11) / bytes(there.buf[14:]))
    attach(error, there)
    net.pass_hooks(error, LOCAL_OUT, POST_ROUTING)
    assert (error.src, error.dst) == (ip4(VIP), ip4(CLIENT)) and seen(error)[IPerror].dst == VIP


def test_redirects_need_a_decided_and_untranslated_connection() -> None:
    net = Net(prerouting=dnat())
    plain = net.pass_hooks(udp(dst=POD), PRE_ROUTING)

    def redirect(cause: Frame) -> Verdict:
        frame = net.frame(IP(src=NODE, dst=CLIENT) / ICMP(type=5) / bytes(cause.buf[14:]))
        attach(frame, cause)
        return net.hooks.run(LOCAL_OUT, frame)

    assert isinstance(redirect(plain), Drop)  # the source half is still open
    net.pass_hooks(plain, POST_ROUTING)
    assert redirect(plain) is None
    assert isinstance(redirect(net.pass_hooks(udp(), PRE_ROUTING, POST_ROUTING)), Drop)


def test_a_broken_error_is_not_translated() -> None:
    net = Net(prerouting=dnat())
    there = net.pass_hooks(udp(), PRE_ROUTING, POST_ROUTING)
    error = net.frame(IP(src=NODE, dst=CLIENT) / ICMP(type=11, chksum=1) / bytes(there.buf[14:]))
    attach(error, there)
    net.pass_hooks(error, LOCAL_OUT)
    assert isinstance(net.hooks.run(POST_ROUTING, error), Drop)


def test_a_verdict_of_the_chain_stands() -> None:
    net = Net(prerouting=lambda f, s: Drop("NETFILTER_DROP", "rule"))
    assert isinstance(net.hooks.run(PRE_ROUTING, net.frame(udp())), Drop)


def test_a_half_is_decided_once_and_a_confirmed_connection_never() -> None:
    net = Net()
    frame = net.pass_hooks(udp(dst=POD), PRE_ROUTING)
    state = net.hooks.states[PRE_ROUTING]
    assert isinstance(setup(frame, state, MANIP_DST, NatRange.of(ip4(VIP))), Drop)
    net.pass_hooks(frame, POST_ROUTING)
    assert setup(frame, state, MANIP_SRC, NatRange.of(ip4(NODE))) is None
    assert frame.ct.reply == inverse(frame.ct.orig)


ADDR = st.integers(0x01000000, 0xDFFFFFFF)
PORT = st.integers(1, 65535)


@settings(deadline=None)
@given(ADDR, ADDR, ADDR, ADDR, PORT, PORT, PORT, st.binary(max_size=9), st.sampled_from([TCP, UDP]))
def test_there_and_back_is_identity(
    client: int, vip: int, pod: int, node: int, sport: int, dport: int, port: int, data: bytes, layer: Any
) -> None:
    net = Net(
        prerouting=lambda f, s: setup(f, s, MANIP_DST, NatRange.of(pod, min_port=port)),
        postrouting=lambda f, s: setup(f, s, MANIP_SRC, NatRange.of(node)),
    )

    def packet(src: int, sport: int, dst: int, dport: int, flags: str) -> Packet:
        upper = layer(sport=sport, dport=dport, **({"flags": flags} if layer is TCP else {}))
        return IP(src=ip4_text(src), dst=ip4_text(dst)) / upper / data

    there = net.pass_hooks(packet(client, sport, vip, dport, "S"), PRE_ROUTING, POST_ROUTING)
    seen(there)
    assert (there.src, there.dst, there.dport) == (node, pod, port)
    back = net.pass_hooks(packet(pod, port, node, there.sport, "SA"), PRE_ROUTING, POST_ROUTING)
    seen(back)
    # as without NAT: the very bytes that the Service itself would have sent
    assert back.buf[14:] == bytes(packet(vip, dport, client, sport, "SA"))
