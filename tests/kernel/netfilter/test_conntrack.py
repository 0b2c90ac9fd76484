"""Connection tracking of UDP, ICMP and other protocols: states, deadlines, confirmation, the printed line."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from emu.clock import SECOND, Clock
from emu.kernel.netfilter.conn import ASSURED, IP_CT_UNTRACKED, SEEN_REPLY, Conn, attach, inverse
from emu.kernel.netfilter.conntrack import Conntrack
from emu.kernel.netfilter.conntrack_list import render
from emu.kernel.netfilter.hooks import LOCAL_IN, LOCAL_OUT, POST_ROUTING, PRE_ROUTING, Drop
from emu.kernel.sysctl import Sysctls
from emu.wire.addr import ip4
from emu.wire.frame import Frame
from rules import FakeNetns, ct_state

A, B, R = "10.0.0.1", "10.0.0.2", "10.0.0.254"


class Net:
    """A namespace that only tracks: a packet in, through PREROUTING, and out or not."""

    def __init__(self, **sysctls: int) -> None:
        self.name = "n"
        self.clock = Clock()
        self.sysctl = Sysctls({f"net.netfilter.nf_conntrack_{name}": value for name, value in sysctls.items()})
        self.hooks = FakeNetns(self.clock, self.name).hooks
        self.ct = Conntrack("n", self.clock, self.sysctl, self.hooks)
        self.ct.enable()

    def frame(self, packet: Packet, *, valid: bool = True, trail: list[object] | None = None) -> Frame:
        frame = Frame.parse(bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet), trail=trail)
        frame.valid = valid
        return frame

    def send(self, packet: Packet, *, dropped: bool = False, valid: bool = True) -> Frame:
        """Forward the packet; `dropped` lets it die between the hooks."""
        frame = self.frame(packet, valid=valid)
        assert self.hooks.run(PRE_ROUTING, frame) is None
        if not dropped:
            assert self.hooks.run(POST_ROUTING, frame) is None
        return frame

    def wait(self, seconds: float) -> None:
        self.clock.now += int(seconds * SECOND)

    def left(self, frame: Frame) -> float:
        conn = frame.ct
        assert isinstance(conn, Conn)
        return (conn.expires_ns - self.clock.now) / SECOND


@pytest.fixture
def net() -> Net:
    return Net()


def udp(sport: int = 1000, dport: int = 53, src: str = A, dst: str = B) -> Packet:
    return IP(src=src, dst=dst) / UDP(sport=sport, dport=dport) / b"hey"


def udp_back(sport: int = 1000, dport: int = 53) -> Packet:
    return udp(dport, sport, B, A)


def ping(kind: int = 8, ident: int = 7, src: str = A, dst: str = B) -> Packet:
    return IP(src=src, dst=dst) / ICMP(type=kind, id=ident, seq=1) / b"data"


def error(quoted: Packet, kind: int = 3, code: int = 3, src: str = R, dst: str = A) -> Packet:
    return IP(src=src, dst=dst) / ICMP(type=kind, code=code) / bytes(quoted)


def test_udp_states_and_deadlines(net: Net) -> None:
    first = net.send(udp())
    assert (ct_state(first), net.left(first)) == ("NEW", 30)
    again = net.send(udp())
    assert again.ct is first.ct and ct_state(again) == "NEW"
    answer = net.send(udp_back())
    assert (answer.ct, answer.ctdir, ct_state(answer)) == (first.ct, 1, "ESTABLISHED")
    assert first.ct.status & SEEN_REPLY and net.left(first) == 30
    net.wait(2)  # not yet more than two seconds
    assert ct_state(net.send(udp())) == "ESTABLISHED"
    assert not first.ct.status & ASSURED
    net.wait(0.1)
    net.send(udp())
    assert first.ct.status & ASSURED and net.left(first) == 120


def test_dropped_before_the_end_leaves_no_entry(net: Net) -> None:
    net.send(udp(), dropped=True)
    assert len(net.ct) == 0
    assert net.send(udp()).ct.number == 2


def test_expiry_needs_no_timer(net: Net) -> None:
    first = net.send(udp())
    net.wait(30)
    assert list(net.ct) == [] and net.ct.find(first.ct.orig) is None
    second = net.send(udp())
    assert second.ct is not first.ct and ct_state(second) == "NEW"


def test_sweep_removes_what_expired(net: Net) -> None:
    net.send(udp(1))
    net.wait(29)
    net.send(udp(2))
    net.wait(2)
    assert net.ct.sweep() == 1 and [c.orig[3] for c in net.ct] == [2]


def test_icmp_queries(net: Net) -> None:
    assert ct_state(net.send(ping(0))) == "INVALID"  # an answer opens nothing
    first = net.send(ping())
    assert (ct_state(first), net.left(first)) == ("NEW", 30)
    answer = net.send(ping(0, src=B, dst=A))
    assert answer.ct is first.ct and ct_state(answer) == "ESTABLISHED"
    assert ct_state(net.send(ping(ident=8))) == "NEW"
    assert ct_state(net.send(ping(9))) == "INVALID"  # router advertisement


@pytest.mark.parametrize(("kind", "code"), [(3, 1), (3, 4), (4, 0), (5, 1), (11, 0), (12, 0)])
def test_icmp_errors_belong_to_what_they_quote(net: Net, kind: int, code: int) -> None:
    first = net.send(udp())
    related = net.send(error(udp(), kind, code))
    assert related.ct is first.ct and related.ctdir == 1 and ct_state(related) == "RELATED" and related.ctinfo == 4
    assert not first.ct.status & SEEN_REPLY
    net.send(udp_back())
    other_way = net.send(error(udp_back(), kind, code, dst=B))
    assert other_way.ctdir == 0 and other_way.ctinfo == 1


@pytest.mark.parametrize(
    "packet",
    [
        error(udp(1001)),  # quotes a packet that was never sent
        error(udp(), dst="10.0.0.9"),  # goes to another host than the quoted packet's sender
        IP(src=R, dst=A) / ICMP(type=3, code=3) / bytes(udp())[:20],  # quotes no ports
        IP(src=R, dst=A) / ICMP(type=42),
        IP(src=A, dst=B, frag=10) / UDP(),
        IP(src=A, dst=B, flags="MF") / UDP(),
    ],
    ids=["unknown", "elsewhere", "short", "type", "fragment", "first fragment"],
)
def test_invalid(net: Net, packet: Packet) -> None:
    net.send(udp())
    frame = net.send(packet)
    assert ct_state(frame) == "INVALID" and frame.ct is None and net.ct.stat.invalid == 1


@pytest.mark.parametrize(
    "packet",
    [
        IP(src=A, dst=B) / UDP(sport=1, dport=2, chksum=1) / b"x",
        IP(src=A, dst=B) / ICMP(type=8, chksum=1),
        IP(src=A, dst=B) / TCP(flags="S", chksum=1),
    ],
)
def test_checksums_are_verified_at_prerouting(packet: Packet) -> None:
    net = Net()
    assert ct_state(net.send(packet, valid=False)) == "INVALID"
    local = net.frame(packet, valid=False)
    net.hooks.run(LOCAL_OUT, local)
    assert ct_state(local) == "NEW"
    net.sysctl["net.netfilter.nf_conntrack_checksum"] = 0
    assert ct_state(net.send(packet, valid=False)) == "NEW"


@pytest.mark.parametrize(
    "packet",
    [
        IP(src=A, dst=B) / UDP(sport=1, dport=2, len=0) / b"x",
        IP(src=A, dst=B) / UDP(sport=1, dport=2, len=7) / b"x",
        IP(src=A, dst=B) / UDP(sport=1, dport=2, len=700) / b"x",
        IP(src=A, dst=B, proto=17) / b"1234567",
        IP(src=A, dst=B, proto=1) / b"\x08\x00\xf7\xff",
        IP(src=A, dst=B, proto=136) / bytes((0, 1, 0, 2, 0, 8, 0, 0)),  # UDP-Lite must have a checksum
        IP(src=A, dst=B, proto=136) / bytes((0, 1, 0, 2, 0, 7, 1, 1)),
        IP(src=A, dst=B, proto=47) / bytes((0x30, 1, 8, 0, 0, 0, 0, 7)),  # version 1 without PPP
        IP(src=A, dst=B, proto=132) / bytes(11),
    ],
)
def test_lengths_are_verified_everywhere(packet: Packet) -> None:
    net = Net()
    net.sysctl["net.netfilter.nf_conntrack_checksum"] = 0
    assert ct_state(net.send(packet, valid=False)) == "INVALID"
    local = net.frame(packet, valid=False)
    net.hooks.run(LOCAL_OUT, local)
    assert ct_state(local) == "INVALID"


@pytest.mark.parametrize("packet", [udp(), ping(), IP(src=A, dst=B) / TCP(flags="S"), udp() / b"odd"])
def test_good_checksums_pass(net: Net, packet: Packet) -> None:
    assert ct_state(net.send(packet, valid=False)) == "NEW"
    without = IP(src=A, dst=B) / UDP(sport=5, dport=5, chksum=0) / b"x"
    assert ct_state(net.send(without, valid=False)) == "NEW"


def test_other_protocols(net: Net) -> None:
    first = net.send(IP(src=A, dst=B, proto=99) / b"12345678")
    assert net.left(first) == 600
    answer = net.send(IP(src=B, dst=A, proto=99) / b"12345678")
    assert answer.ct is first.ct and ct_state(answer) == "ESTABLISHED"


def test_known_frames_are_left_alone(net: Net) -> None:
    frame = net.send(udp())
    frame.ctinfo = 7
    frame.ct = None
    net.hooks.run(PRE_ROUTING, frame)
    assert ct_state(frame) == "UNTRACKED" and frame.ctinfo == IP_CT_UNTRACKED
    over_lo = net.frame(udp(9))
    net.hooks.run(LOCAL_OUT, over_lo)
    net.hooks.run(POST_ROUTING, over_lo)
    conn = over_lo.ct
    net.hooks.run(PRE_ROUTING, over_lo)
    net.hooks.run(LOCAL_IN, over_lo)
    assert over_lo.ct is conn and over_lo.ctinfo == 2


def test_two_packets_under_way_share_the_first_entry(net: Net) -> None:
    one, two = net.frame(udp()), net.frame(udp())
    for hook in (PRE_ROUTING, POST_ROUTING):
        for frame in (one, two):
            assert net.hooks.run(hook, frame) is None
    assert one.ct is two.ct and len(net.ct) == 1 and net.ct.stat.clash_resolve == 1


def test_a_clash_of_tuples_drops_the_later_packet(net: Net) -> None:
    one, two = net.frame(udp(1)), net.frame(udp(2))
    net.hooks.run(PRE_ROUTING, one)
    net.hooks.run(PRE_ROUTING, two)
    two.ct.reply = one.ct.reply
    assert net.hooks.run(POST_ROUTING, one) is None
    assert isinstance(net.hooks.run(POST_ROUTING, two), Drop)
    assert net.ct.stat.insert_failed == 1 and len(net.ct) == 1


def test_a_full_table_gives_up_the_oldest_unassured(net: Net) -> None:
    net.sysctl["net.netfilter.nf_conntrack_max"] = 2
    for port in (1, 2, 3):
        net.send(udp(port))
    assert [conn.orig[3] for conn in net.ct] == [2, 3] and net.ct.stat.early_drop == 1
    for conn in net.ct:
        conn.status |= ASSURED
    assert isinstance(net.hooks.run(PRE_ROUTING, net.frame(udp(4))), Drop)


def test_sysctls_are_read_when_they_change(net: Net) -> None:
    net.sysctl["net.netfilter.nf_conntrack_udp_timeout"] = 10
    assert net.left(net.send(udp())) == 10


def test_delete_flush_and_acct() -> None:
    net = Net(acct=1)
    frames = [net.send(udp(port)) for port in (1, 2, 3)]
    net.send(udp_back(1))
    assert frames[0].ct.packets == [1, 1] and frames[0].ct.bytes == [31, 31]
    assert net.ct.delete(lambda conn: conn.orig[3] == 2) == 1 and len(net.ct) == 2
    net.ct.flush()
    assert len(net.ct) == 0 and net.ct.stat.delete == 3


def test_what_is_not_enabled_costs_nothing() -> None:
    hooks = FakeNetns().hooks
    Conntrack("n", Clock(), Sysctls(), hooks)
    assert not any(hooks.fns)


def test_attach(net: Net) -> None:
    frame = net.send(udp())
    answer = net.frame(error(udp()))
    attach(answer, frame)
    assert answer.ct is frame.ct and answer.ctinfo == 4
    again = net.frame(udp())
    attach(again, answer)
    assert (again.ctdir, again.ctinfo) == (0, 1)


def test_the_trail_names_a_connection_once(net: Net) -> None:
    trail: list[object] = []
    net.hooks.run(PRE_ROUTING, net.frame(udp(), trail=trail))
    assert len(trail) == 1 and trail[0].new and trail[0].conn.number == 1  # type: ignore[attr-defined]  # Tracked
    net.send(udp())
    trail.clear()
    net.hooks.run(PRE_ROUTING, net.frame(udp(), trail=trail))
    assert trail == []


@pytest.mark.parametrize(
    ("packet", "line"),
    [
        (
            ping(ident=1209),
            (
                "ipv4     2 icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1209 [UNREPLIED] "
                "src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=1209 mark=0 use=1"
            ),
        ),
        (
            udp(40053, 54),
            (
                "ipv4     2 udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=40053 dport=54 [UNREPLIED] "
                "src=10.0.0.2 dst=10.0.0.1 sport=54 dport=40053 mark=0 use=1"
            ),
        ),
        (
            IP(src=A, dst=B, proto=99) / b"x",
            "ipv4     2 unknown  99 599 src=10.0.0.1 dst=10.0.0.2 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 mark=0 use=1",
        ),
        (
            IP(src=A, dst=B) / TCP(sport=40001, dport=80, flags="S"),
            (
                "ipv4     2 tcp      6 119 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=40001 dport=80 [UNREPLIED] "
                "src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40001 mark=0 use=1"
            ),
        ),
    ],
    ids=["icmp", "udp", "unknown", "tcp"],
)
def test_render(net: Net, packet: Packet, line: str) -> None:
    frame = net.send(packet)
    net.wait(0.004)  # a tick
    assert render(frame.ct, net.clock.now) == line


def test_inverse_twice_is_the_same() -> None:
    for t in [(17, 1, 2, 3, 4), (1, 1, 2, 7, 8 << 8), (1, 1, 2, 7, 14 << 8), (99, 1, 2, 0, 0)]:
        back = inverse(t)
        assert back is not None and inverse(back) == t
    assert inverse((1, ip4(A), ip4(B), 0, 3 << 8)) is None
