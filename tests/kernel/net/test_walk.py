"""Tables of what one router between two hosts does with a packet: errors, their sources and quotes, drops, the FIB's kinds."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror
from scapy.packet import Packet

from emu.capture.capture import Captured
from emu.errors import InputError, SocketError
from emu.kernel import boot
from emu.lab import Lab
from emu.testing import invariants

HERE, THERE = "10.0.0.2", "10.1.0.2"


class Bench:
    """host -- router -- server."""

    def __init__(self, mtu: int = 1500) -> None:
        self.lab = Lab()
        self.host, self.router, self.server = self.lab.host("host"), self.lab.router("router"), self.lab.host("server")
        self.lab.cable(self.host, f"{HERE}/24", self.router, "10.0.0.1/24", default=True)
        self.lab.cable(self.server, f"{THERE}/24", self.router, "10.1.0.1/24", default=True, mtu=mtu)

    def send(self, packet: Packet, seconds: float = 0.1) -> list[Packet]:
        """Send from the host; gives the ICMP messages that come back to it."""
        self.host.sockets.send_packet(packet, 1)
        self.lab.run(seconds)
        invariants.hold(self.lab, "one_outcome", "checksums_hold")
        seen = [f.packet() for f in self.seen("host/eth0") if f.direction == "in"]
        return [each[IP] for each in seen if ICMP in each]

    def seen(self, interface: str) -> list[Captured]:
        return self.lab.frames(interface)


def datagram(dst: str = THERE, size: int = 8, **fields: Any) -> Packet:
    return IP(src=HERE, dst=dst, **fields) / UDP(sport=4000, dport=9) / bytes(size)


@pytest.mark.parametrize(
    ("route", "packet", "error", "source", "quoted_ttl"),
    [
        ("", datagram(), (3, 3), THERE, 63),
        ("", datagram(ttl=1), (11, 0), "10.0.0.1", 1),
        ("", datagram("10.9.0.1"), (3, 0), "10.0.0.1", 64),
        ("unreachable 10.9.0.0/16", datagram("10.9.0.1"), (3, 1), "10.0.0.1", 64),
        ("prohibit 10.9.0.0/16", datagram("10.9.0.1"), (3, 13), "10.0.0.1", 64),
        ("blackhole 10.9.0.0/16", datagram("10.9.0.1"), None, "", 0),
        ("", IP(src=HERE, dst=THERE, proto=200) / b"data", (3, 2), THERE, 63),
        ("", datagram("10.0.0.1"), (3, 3), "10.0.0.1", 64),
        ("", datagram(flags="MF"), None, "", 0),
        ("", IP(src=HERE, dst=THERE, ttl=1) / ICMP(type=3, code=1) / datagram(), None, "", 0),
        ("", datagram("224.0.0.5"), None, "", 0),
        ("", datagram("10.0.0.255"), None, "", 0),
    ],
)
def test_errors(route: str, packet: Packet, error: tuple[int, int] | None, source: str, quoted_ttl: int) -> None:
    bench = Bench()
    if route:
        boot.route(bench.router, route)
    came = bench.send(packet)
    if error is None:
        assert came == []
        return
    (message,) = came
    assert (message[ICMP].type, message[ICMP].code, message.src, message.dst) == (*error, source, HERE)
    assert (message.tos, str(message.flags), message[IPerror].ttl) == (0xC0, "", quoted_ttl)
    assert message.id, "an error has an IP id"


def test_an_absent_neighbour_costs_three_questions_and_three_seconds() -> None:
    bench = Bench()
    came = bench.send(datagram("10.1.0.99"), seconds=2.9)
    assert came == []
    bench.lab.run(0.3)
    asked = [f for f in bench.seen("router/eth1") if f.direction == "out"]
    assert [round((f.time_ns - asked[0].time_ns) / 1e9, 3) for f in asked] == [0, 1.024, 2.048]  # slots are 32 ms wide
    errors = [f.packet()[IP] for f in bench.seen("host/eth0") if f.direction == "in" and f.packet().haslayer(ICMP)]
    assert [(e[ICMP].type, e[ICMP].code, e.src, e[IPerror].ttl) for e in errors] == [(3, 1, "10.0.0.1", 63)]
    assert bench.router.drops == {"NEIGH_FAILED": 1}


@pytest.mark.parametrize(("size", "quoted"), [(0, 28), (100, 128), (520, 548), (521, 548), (1400, 548)])
def test_a_quote_is_as_long_as_576_bytes_allow(size: int, quoted: int) -> None:
    bench = Bench()
    bench.send(datagram(size=size, flags="DF"))
    # bytes: Scapy takes what follows the first 128 for extensions (RFC 4884)
    (error,) = [
        each.data[42:] for each in bench.seen("host/eth0") if each.direction == "in" and each.data[23:24] == b"\1"
    ]
    assert len(error) == quoted
    assert error[20:] == bytes(datagram(size=size, flags="DF"))[20:quoted]


def test_errors_are_rate_limited_for_each_destination() -> None:
    bench = Bench()
    for _ in range(20):
        came = bench.send(datagram(), seconds=0.001)
    assert len(came) == 6
    bench.lab.run(1)
    assert len(bench.send(datagram())) == 7, "one token a second"


@pytest.mark.parametrize(
    ("size", "flags", "mtu", "pieces", "error"),
    [
        (1472, "DF", 1500, [(0, 1500)], None),
        (1472, "DF", 1450, [], 1450),
        (1472, "", 1450, [(0, 1444), (178, 76)], None),
        (548, "", 576, [(0, 576)], None),
        (549, "", 576, [(0, 572), (69, 25)], None),
        (1400, "", 576, [(0, 572), (69, 572), (138, 324)], None),
    ],
)
def test_fragments_at_the_exit(
    size: int, flags: str, mtu: int, pieces: list[tuple[int, int]], error: int | None
) -> None:
    bench = Bench(mtu)
    came = bench.send(IP(src=HERE, dst=THERE, id=7, flags=flags) / UDP(sport=4000, dport=9) / bytes(size))
    got = [f.packet()[IP] for f in bench.seen("server/eth0") if f.direction == "in" and f.packet().haslayer(IP)]
    assert [(p.frag, p.len) for p in got] == pieces
    assert {p.id for p in got} <= {7}
    assert [bool(p.flags.MF) for p in got] == [True] * (len(got) - 1) + [False] * bool(got)
    if error is not None:
        assert [(m[ICMP].type, m[ICMP].code, m[ICMP].nexthopmtu, m.src) for m in came] == [(3, 4, error, "10.0.0.1")]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_pieces_are_put_together_in_any_order(order: tuple[int, ...]) -> None:
    bench = Bench()
    listening = bench.server.sockets.udp()
    listening.bind(("0.0.0.0", 9))
    whole = IP(src=HERE, dst=THERE, id=7) / UDP(sport=4000, dport=9) / bytes(range(200))
    upper = bytes(whole)[20:]
    parts = [upper[0:80], upper[80:160], upper[160:]]
    for number in order:
        piece = (
            IP(src=HERE, dst=THERE, id=7, proto=17, frag=10 * number, flags="MF" if number < 2 else "") / parts[number]
        )
        bench.host.sockets.send_packet(piece)
    assert listening.recv() == bytes(range(200))
    invariants.hold(bench.lab)


def test_a_datagram_that_stays_in_pieces_is_given_up_after_thirty_seconds() -> None:
    bench = Bench()
    piece = IP(src=HERE, dst=THERE, id=7, proto=17, flags="MF") / bytes(80)
    bench.router.ipv4.tables.restore("*raw\n-A PREROUTING -j CT --notrack\nCOMMIT\n")
    bench.host.sockets.send_packet(piece, 1)
    bench.lab.run(29.9)
    assert sum(map(invariants.waiting, bench.lab.namespaces.values())) == 1
    bench.lab.run(1)
    assert sum(map(invariants.waiting, bench.lab.namespaces.values())) == 0
    assert sum(net.drops["FRAG_REASM_TIMEOUT"] for net in bench.lab.namespaces.values()) == 1


@pytest.mark.parametrize(
    ("with_", "code", "source"),
    [
        ("icmp-net-unreachable", 0, "10.0.0.1"),
        ("icmp-host-unreachable", 1, "10.0.0.1"),
        ("icmp-proto-unreachable", 2, "10.0.0.1"),
        ("icmp-port-unreachable", 3, "10.0.0.1"),
        ("icmp-net-prohibited", 9, "10.0.0.1"),
        ("icmp-host-prohibited", 10, "10.0.0.1"),
        ("icmp-admin-prohibited", 13, "10.0.0.1"),
    ],
)
def test_reject_in_forward(with_: str, code: int, source: str) -> None:
    bench = Bench()
    bench.lab.iptables(bench.router, f"-A FORWARD -p udp -j REJECT --reject-with {with_}")
    (message,) = bench.send(datagram())
    assert (message[ICMP].type, message[ICMP].code, message.src, message[IPerror].ttl) == (3, code, source, 63)
    assert bench.router.drops == {"NETFILTER_DROP": 1}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("S", ("RA", 0, 101)),
        ("A", ("R", 500, 0)),
        ("SA", ("R", 500, 0)),
        ("F", ("RA", 0, 104)),
        ("R", None),
        ("RA", None),
    ],
)
def test_reject_with_a_reset(flags: str, expected: tuple[str, int, int] | None) -> None:
    bench = Bench()
    bench.lab.iptables(bench.router, "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset")
    data = b"abc" if flags == "F" else b""
    packet = IP(src=HERE, dst=THERE) / TCP(sport=4000, dport=80, seq=100, ack=500, flags=flags) / data
    bench.send(packet)
    resets = [f.packet() for f in bench.seen("host/eth0") if f.direction == "in" and f.packet().haslayer(TCP)]
    if expected is None:
        assert resets == []
    else:
        (reset,) = resets
        assert (str(reset[TCP].flags), reset[TCP].seq, reset[TCP].ack) == expected
        assert (reset[IP].src, reset[IP].id, reset[TCP].window, reset[IP].ttl) == (THERE, 0, 0, 64)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (datagram(chksum=1), "IP_CSUM"),
        (IP(src=HERE, dst=THERE, ihl=4) / UDP(), "IP_INHDR"),
        (IP(src=HERE, dst=THERE, len=2000) / UDP(), "PKT_TOO_SMALL"),
        (IP(src=HERE, dst=THERE, len=19) / UDP(), "IP_INHDR"),
        (IP(src="224.0.0.1", dst=THERE) / UDP(), "IP_INVALID_SOURCE"),
        (IP(src="255.255.255.255", dst=THERE) / UDP(), "IP_INVALID_SOURCE"),
        (IP(src="0.0.0.0", dst=THERE) / UDP(), "IP_INVALID_SOURCE"),
        (IP(src="127.0.0.1", dst=THERE) / UDP(), "IP_LOCALNET"),
        (IP(src=HERE, dst="127.0.0.1") / UDP(), "IP_LOCALNET"),
        (IP(src=HERE, dst="0.0.0.0") / UDP(), "IP_INVALID_DEST"),
        (IP(src="10.1.0.1", dst=THERE) / UDP(), "IP_LOCAL_SOURCE"),
        (IP(src=HERE, dst="10.9.9.9") / UDP(), "IP_INNOROUTES"),
    ],
)
def test_what_a_router_drops_at_its_door(packet: Packet, reason: str) -> None:
    from scapy.layers.l2 import Ether

    bench = Bench()
    dst, src = (device.mac.hex(":") for device in (bench.router.devices["eth0"], bench.host.devices["eth0"]))
    bench.host.sockets.send_packet(bytes(Ether(dst=dst, src=src) / packet))
    bench.lab.run(0.1)
    assert bench.router.drops == {reason: 1}
    invariants.one_outcome(bench.lab)


QUOTE = bytes(IP(src=THERE, dst=HERE) / UDP(sport=7, dport=9))


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        (3, b"", "NOT_SPECIFIED"),
        (11, QUOTE[:19], "NOT_SPECIFIED"),
        (5, b"", "PKT_TOO_SMALL"),
        (5, QUOTE[:19], "PKT_TOO_SMALL"),
        (3, b"\x44" + QUOTE[1:], "IP_INHDR"),
        (4, b"\x40" + QUOTE[1:], "IP_INHDR"),
        (12, b"\x44" + QUOTE[1:], "IP_INHDR"),
        (5, b"\x44" + QUOTE[1:], ""),
        (3, QUOTE[:27], ""),  # too short to name a socket
        (3, QUOTE, ""),
    ],
    ids=lambda value: f"{value[0]:x}-{len(value)}" if isinstance(value, bytes) and value else None,
)
def test_an_icmp_error_needs_the_header_that_it_is_about(kind: int, data: bytes, reason: str) -> None:
    bench = Bench()
    bench.host.sockets.send_packet(IP(src=HERE, dst="10.1.0.1") / ICMP(type=kind) / data)
    bench.lab.run(0.1)
    assert bench.router.drops == ({reason: 1} if reason else {})


@pytest.mark.parametrize(
    ("mode", "back", "dropped"),
    [(0, "eth1", False), (1, "eth1", True), (2, "eth1", False), (2, "", True), (1, "eth0", False)],
)
def test_reverse_path_filter(mode: int, back: str, dropped: bool) -> None:
    bench = Bench()
    bench.router.sysctl["net.ipv4.conf.all.rp_filter"] = mode
    if back:
        boot.route(bench.router, f"172.16.0.0/16 dev {back}")
    bench.host.sockets.send_packet(IP(src="172.16.0.1", dst=THERE) / UDP(sport=1, dport=9))
    bench.lab.run(0.1)
    assert (bench.router.drops["IP_RPFILTER"] == 1) is dropped


@pytest.mark.parametrize(
    ("route", "error"),
    [
        ("unreachable 10.9.0.0/16", "EHOSTUNREACH"), ("prohibit 10.9.0.0/16", "EACCES"), ("blackhole 10.9.0.0/16", "EINVAL"),
        ("throw 10.9.0.0/16", ""),
    ],
)  # fmt: skip
def test_the_error_that_a_socket_gets_for_its_own_route(route: str, error: str) -> None:
    bench = Bench()
    boot.route(bench.host, route)
    socket = bench.host.sockets.udp()
    if error:
        with pytest.raises(SocketError) as refused:
            socket.sendto(b"", ("10.9.0.1", 9))
        assert refused.value.name == error
    else:
        with pytest.raises(SocketError) as refused:  # main has the throw: no other table knows more
            socket.sendto(b"", ("10.9.0.1", 9))
        assert refused.value.name == "ENETUNREACH"


@pytest.mark.parametrize(
    ("text", "error_text"),
    [
        ("", "has no prefix"),
        ("10.0.0.0/8", "no way out"),
        ("10.0.0.0/33 dev eth0", "not a CIDR"),
        ("default via 1.2.3.4", "gateway is not on a link"),
        ("default dev eth9", "no device 'eth9'"),
        ("10.0.0.0/24 dev eth0", "File exists"),
        ("default via 10.0.0.9 metirc 5", "cannot read 'metirc'"),
    ],
)
def test_routes_that_cannot_be(text: str, error_text: str) -> None:
    bench = Bench()
    with pytest.raises(InputError, match=error_text):
        boot.route(bench.router, text)


@pytest.mark.parametrize(
    ("keys", "asks", "answered"),
    [
        ({}, "10.1.0.1", True),
        ({"arp_ignore": 1}, "10.1.0.1", False),
        ({"arp_ignore": 1}, "10.0.0.1", True),
        ({"arp_ignore": 8}, "10.0.0.1", False),
        ({}, "10.1.0.2", False),
        ({"proxy_arp": 1}, "10.1.0.2", True),
        ({"proxy_arp": 1}, "10.0.0.77", False),
    ],
)
def test_who_answers_arp(keys: dict[str, int], asks: str, answered: bool) -> None:
    from scapy.layers.l2 import ARP

    bench = Bench()
    for key, value in keys.items():
        bench.router.sysctl[f"net.ipv4.conf.eth0.{key}"] = value
    bench.host.sockets.send_packet(ARP(pdst=asks))
    bench.lab.run(2)
    replies = [f.packet()[ARP] for f in bench.seen("host/eth0") if f.direction == "in"]
    assert [(r.op, r.psrc, r.hwsrc) for r in replies] == [
        (2, asks, bench.router.devices["eth0"].mac.hex(":"))
    ] * answered
    invariants.one_outcome(bench.lab)
