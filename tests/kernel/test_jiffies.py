"""What the kernel counts in jiffies: two times within one tick are one, wherever in the tick they are.

Each row starts something at a time in a tick, and asks whether its time has come later. Kernel files: net/ipv4/route.c,
inetpeer.c, nf_conntrack_core.c, nf_conntrack_proto_udp.c, ip_set_timeout.h, xt_recent.c, tcp_input.c, tcp_output.c, arp.c.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scapy.layers.l2 import ARP, Ether

from emu.clock import MS, SECOND, TICK_NS, Clock
from emu.kernel.net import neighbour
from emu.kernel.net.exceptions import RouteExceptions
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.peer import Peer
from emu.kernel.netfilter.conn import ASSURED
from emu.kernel.netfilter.conntrack import Conntrack
from emu.kernel.netfilter.conntrack_list import seconds_left
from emu.kernel.netfilter.hooks import POST_ROUTING, PRE_ROUTING
from emu.kernel.netfilter.ipset_text import add, parse_ipset
from emu.kernel.sysctl import Sysctls
from emu.kernel.transport.tcp import TcpConfig, TcpEndpoint
from emu.kernel.transport.tcp_data import estimate_ato
from emu.kernel.transport.tcp_output import ack_limited, restart_after_idle, send_delayed_ack
from emu.lab import Lab
from emu.wire.addr import Prefix, ip4
from emu.wire.frame import UDP, Frame
from rules import FakeNetns, packet, ruleset

Changed = Callable[[int, int], bool]


def a_redirect(start_ns: int, now_ns: int) -> bool:
    peer = Peer(start_ns)
    assert peer.redirect(start_ns, 9, 5, 5120)
    return peer.redirect(now_ns, 9, 5, 5120)


def an_icmp_error(start_ns: int, now_ns: int) -> bool:
    peer = Peer(start_ns)
    assert [peer.allows(start_ns, 250) for _ in range(7)] == [True] * 6 + [False]
    return peer.allows(now_ns, 250)


class Tracked:
    """A UDP flow that a namespace tracks."""

    def __init__(self, start_ns: int) -> None:
        self.net = FakeNetns()
        self.net.clock.now = start_ns
        self.ct = Conntrack("n", self.net.clock, Sysctls({}), self.net.hooks)
        self.ct.enable()
        self.send("10.0.0.1", "10.0.0.2")

    def send(self, src: str, dst: str) -> None:
        frame = packet(src=src, dst=dst, proto=UDP, sport=7, dport=7)
        for hook in (PRE_ROUTING, POST_ROUTING):
            assert self.net.hooks.run(hook, frame) is None


def a_connection(start_ns: int, now_ns: int) -> bool:
    flow = Tracked(start_ns)
    flow.net.clock.now = now_ns
    return not list(flow.ct)


def a_stream(start_ns: int, now_ns: int) -> bool:
    flow = Tracked(start_ns)
    flow.send("10.0.0.2", "10.0.0.1")
    flow.net.clock.now = now_ns
    flow.send("10.0.0.1", "10.0.0.2")
    (conn,) = flow.ct
    return bool(conn.status & ASSURED)


def an_element(start_ns: int, now_ns: int) -> bool:
    sets = parse_ipset("create s hash:ip family inet timeout 30\n")
    add(sets, "s", "10.0.0.2", ("timeout", "5"), start_ns)
    return not sets.test("s", packet(dst="10.0.0.2"), ["dst"], now_ns)[0]


def a_recent_source(start_ns: int, now_ns: int) -> bool:
    net = FakeNetns()
    net.clock.now = start_ns
    net.tables.replace(
        ruleset(
            "filter",
            "-A FORWARD -m recent --rcheck --seconds 10 --name l -j DROP",
            "-A FORWARD -m recent --set --name l",
        )
    )
    assert net.run("FORWARD", packet()) is None
    net.clock.now = now_ns
    return net.run("FORWARD", packet()) is None


def a_path_mtu(start_ns: int, now_ns: int) -> bool:
    clock = Clock()
    clock.now = start_ns
    known, route = RouteExceptions(clock), Route(Prefix.parse("10.0.0.0/8"))
    known.learn(route, 1, 600 * SECOND, pmtu=1400)
    clock.now = now_ns
    return known.find(route, 1) is None


def a_locked_neighbour(start_ns: int, now_ns: int) -> bool:
    """Its MAC is learned; a request for a third host comes later from another MAC of it."""
    lab = Lab()
    net, peer = lab.host("net"), lab.host("peer")
    lab.cable(net, "10.0.0.1/24", peer, "10.0.0.2/24")
    device, old, new = net.device("eth0"), bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
    lab.clock.now = start_ns
    entry = neighbour.lookup(net.ipv4, device, ip4("10.0.0.2"))
    assert entry is not None
    entry.update(old, neighbour.STALE)
    lab.clock.now = now_ns
    request = Ether(src=new, dst=b"\xff" * 6) / ARP(op=1, hwsrc=new, psrc="10.0.0.2", pdst="10.0.0.9")
    device.receive(Frame.parse(bytes(request)))
    assert entry.lladdr in (old, new)
    return entry.lladdr == new


def connection(start_ns: int) -> TcpEndpoint:
    tp = TcpEndpoint.connect(TcpConfig(), 1460, 1, start_ns)[0]
    tp.state, tp.rtx_queue = "ESTABLISHED", type(tp.rtx_queue)()
    return tp


def an_answer(start_ns: int, now_ns: int) -> bool:
    tp = connection(start_ns)
    assert not ack_limited(tp, start_ns)
    return not ack_limited(tp, now_ns)


def a_late_delayed_ack(start_ns: int, now_ns: int) -> bool:
    """The timer of the first ACK is near enough that the next one is sent at once: within a quarter of 40 ms, two ticks."""
    tp = connection(start_ns)
    tp.ato_ns = 40 * MS
    send_delayed_ack(tp, start_ns)
    tp.out.clear()
    send_delayed_ack(tp, now_ns)
    return bool(tp.out)


def an_idle_window(start_ns: int, now_ns: int) -> bool:
    tp = connection(start_ns)
    tp.lsndtime, tp.rto_ns, tp.cwnd = start_ns, 200 * MS, 40
    restart_after_idle(tp, now_ns)
    return tp.cwnd < 40


def a_slow_sender(start_ns: int, now_ns: int) -> bool:
    """Data that comes more slowly than every 20 ms makes ACKs wait for longer."""
    tp = connection(start_ns)
    tp.ato_ns, tp.lrcvtime = 40 * MS, start_ns - start_ns % TICK_NS
    estimate_ato(tp, now_ns)
    return tp.ato_ns > 40 * MS


AT, PAST = 0, TICK_NS  # time_after_eq and time_after
ROWS: list[tuple[Changed, int, int]] = [
    (a_redirect, 40 * MS, PAST),
    (an_icmp_error, SECOND, AT),
    (a_connection, 30 * SECOND, AT),
    (a_stream, 2 * SECOND, PAST),
    (an_element, 5 * SECOND, PAST),
    (a_recent_source, 10 * SECOND, PAST),
    (a_path_mtu, 600 * SECOND, PAST),
    (a_locked_neighbour, SECOND, PAST),
    (an_answer, 500 * MS, AT),
    (a_late_delayed_ack, 32 * MS, AT),
    (an_idle_window, 200 * MS, PAST),
    (a_slow_sender, 20 * MS, PAST),
]


@pytest.mark.parametrize("phase_ns", [0, 1, 2 * MS, TICK_NS - 1])
@pytest.mark.parametrize(("changed", "after_ns", "when"), ROWS, ids=[row[0].__name__ for row in ROWS])
def test_a_time_comes_with_a_tick(changed: Changed, after_ns: int, when: int, phase_ns: int) -> None:
    tick_ns = 100 * SECOND
    due_ns = tick_ns + after_ns + when
    assert not changed(tick_ns + phase_ns, due_ns - 1)
    assert changed(tick_ns + phase_ns, due_ns)


def test_seconds_that_are_left_are_counted_from_the_tick() -> None:
    flow = Tracked(SECOND + 3 * MS)
    (conn,) = flow.ct
    shown = [
        seconds_left(conn, SECOND + later_ns) for later_ns in (3 * MS, TICK_NS - 1, TICK_NS, SECOND, SECOND + TICK_NS)
    ]
    assert shown == [30, 30, 29, 29, 28]
