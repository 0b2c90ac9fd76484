"""A listener under many SYNs: how many requests it keeps, and cookies; the figures are a kernel's for the same SYNs."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from emu.clock import MS, SECOND, Clock
from emu.kernel import boot
from emu.kernel.transport import syncookies
from emu.kernel.transport.tcp_options import Segment, parse_segment
from emu.kernel.transport.tcp_socket import TcpSocket
from emu.wire.addr import ip4
from emu.wire.frame import Frame
from emu.wire.tcp import ACK, RST, SYN
from sinks import sink

PORT = 80
OPTIONS = [("MSS", 1200), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]


class Server:
    def __init__(self, backlog: int, **sysctls: int) -> None:
        self.clock = Clock(seed=2)
        self.net = boot.namespace(self.clock, "server")
        for name, value in sysctls.items():
            self.net.sysctl[f"net.ipv4.{name}"] = value
        self.eth0 = sink(self.clock, "eth0", b"\2\0\0\0\0\1")
        self.net.attach(self.eth0)
        boot.address(self.net, self.eth0, "10.0.0.1/24")
        boot.route(self.net, "default via 10.0.0.9 dev eth0")
        self.listener: TcpSocket = self.net.sockets.tcp()
        self.listener.bind(("10.0.0.1", PORT))
        self.listener.listen(backlog)

    def receive(self, packet: IP) -> list[tuple[IP, Segment]]:
        """What the server sends for a packet: to whom, and the segment."""
        self.eth0.sent.clear()
        self.net.born += 1
        self.eth0.receive(Frame.parse(bytes(Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01") / packet)))
        self.clock.drain()
        for entry in list(self.net.neighbours):
            if entry.state == "INCOMPLETE":
                entry.update(b"\2\0\0\0\0\2", "PERMANENT")
        self.clock.drain()
        return self.answers()

    def answers(self) -> list[tuple[IP, Segment]]:
        return [
            (IP(bytes(each.buf[14:])), parse_segment(each.payload)) for _, _, each in self.eth0.sent if each.proto == 6
        ]

    def syn(self, number: int, options: list[tuple[str, object]] | None = None) -> list[tuple[IP, Segment]]:
        source = f"10.1.{number // 250}.{number % 250 + 1}"
        tcp = TCP(sport=1000, dport=PORT, seq=100, flags="S", options=OPTIONS if options is None else options)
        return self.receive(IP(src=source, dst="10.0.0.1") / tcp)

    def ack(self, answered: IP, seq: int, ts: tuple[int, int] | None, data: bytes = b"") -> list[tuple[IP, Segment]]:
        options = [] if ts is None else [("NOP", None), ("NOP", None), ("Timestamp", ts)]
        tcp = TCP(sport=1000, dport=PORT, seq=101, ack=seq, flags="A", window=500, options=options)
        return self.receive(IP(src=answered.dst, dst="10.0.0.1") / tcp / data)


@pytest.mark.parametrize(
    ("cookies", "backlog", "most", "answered", "kept"),
    [
        (1, 5, 2048, 40, 6), (1, 128, 2048, 200, 129), (0, 5, 2048, 6, 6), (0, 128, 2048, 129, 129), (2, 5, 2048, 40, 0),
        (0, 4096, 64, 49, 49), (1, 4096, 64, 200, 200), (1, 0, 2048, 40, 1),
    ],
)  # fmt: skip
def test_requests_that_are_kept_and_answers(cookies: int, backlog: int, most: int, answered: int, kept: int) -> None:
    server = Server(backlog, tcp_syncookies=cookies, tcp_max_syn_backlog=most)
    count = 40 if backlog == 5 or backlog == 0 else 200
    sent = [each for number in range(count) for each in server.syn(number)]
    assert len(sent) == (answered if cookies else kept)
    assert all(segment.flags == SYN | ACK for _, segment in sent)
    assert server.listener.half_open == kept == len(server.net.sockets.tcp_table.connections)
    server.eth0.sent.clear()
    server.clock.run_until(server.clock.now + 1300 * MS)
    assert len(server.answers()) == kept, "only what is kept is sent again"


def test_a_cookie_becomes_a_connection_with_its_options() -> None:
    server = Server(5)
    for number in range(6):
        server.syn(number)
    ((packet, answer),) = server.syn(6)
    assert (answer.mss, answer.wscale, answer.sack_ok) == (1460, 10, True)
    assert answer.ts is not None
    assert answer.ts[1] == 1
    assert server.ack(packet, answer.seq + 1, (5, answer.ts[0]), b"hello") != []
    child = server.listener.accept()
    assert child.peer == ("10.1.0.7", 1000)
    assert child.recv() == b"hello"
    child.send(b"x" * 3000)
    sizes = [len(segment.payload) for _, segment in server.answers() if segment.payload]
    assert sizes[0] % (536 - 12) == 0, "the largest of the four sizes that is not above 1200"
    assert server.listener.half_open == 6


def test_a_cookie_without_timestamps_keeps_no_options() -> None:
    server = Server(0, tcp_syncookies=2)
    ((packet, answer),) = server.syn(1, [("MSS", 1460), ("SAckOK", b""), ("NOP", None), ("WScale", 7)])
    assert (answer.mss, answer.wscale, answer.sack_ok, answer.ts) == (1460, None, False, None)
    server.ack(packet, answer.seq + 1, None)
    assert server.listener.accept().state == "ESTABLISHED"


@pytest.mark.parametrize(
    ("later_s", "wrong", "taken"), [(0, 0, True), (59, 0, True), (125, 0, False), (0, 1000, False)]
)
def test_what_is_no_cookie_is_reset(later_s: int, wrong: int, taken: bool) -> None:
    server = Server(0, tcp_syncookies=2)
    ((packet, answer),) = server.syn(1)
    assert answer.ts is not None
    server.clock.run_until(server.clock.now + later_s * SECOND)
    sent = server.ack(packet, answer.seq + 1 + wrong, (5, answer.ts[0]))
    assert [segment.flags & RST for _, segment in sent] == ([] if taken else [RST])
    assert len(server.listener.accepted) == taken


def test_without_an_overflow_no_cookie_is_looked_for() -> None:
    server = Server(5)
    ((packet, answer),) = server.syn(1)
    server.clock.run_until(server.clock.now + 200 * SECOND)  # the request is given up
    assert server.listener.half_open == 0
    sent = server.ack(packet, answer.seq + 1, None)
    assert [segment.flags for _, segment in sent] == [RST]


def test_a_full_queue_of_connections_takes_no_more() -> None:
    server = Server(0)
    ((packet, answer),) = server.syn(1)
    assert answer.ts is not None
    server.ack(packet, answer.seq + 1, (5, answer.ts[0]))
    assert len(server.listener.accepted) == 1
    assert server.syn(2) == []
    assert server.net.drops["TCP_LISTEN_OVERFLOW"] == 1


@pytest.mark.parametrize(("mss", "size"), [(1, 536), (536, 536), (1299, 536), (1300, 1300), (1440, 1440), (9000, 1460)])
def test_the_sizes_that_a_cookie_holds(mss: int, size: int) -> None:
    def hashed(*words: int) -> int:
        return hash(words) & 0xFFFFFFFF

    key = (ip4("10.0.0.1"), 80, ip4("10.0.0.2"), 1000)
    cookie, held = syncookies.sequence(hashed, key, 77, mss, 61 * SECOND)
    assert held == size
    assert syncookies.segment_size(hashed, key, 77, cookie, 179 * SECOND) == size
    assert syncookies.segment_size(hashed, key, 77, cookie, 181 * SECOND) == 0
    assert syncookies.segment_size(hashed, key, 1077, cookie, 61 * SECOND) == 0


@pytest.mark.parametrize("now", [0, 63, 64, 1000, 123456])
@pytest.mark.parametrize("kept", [(None, False), (0, True), (14, False), (7, True)])
def test_the_options_that_a_timestamp_holds(now: int, kept: tuple[int | None, bool]) -> None:
    value = syncookies.stamp(now, *kept)
    assert now - 64 < value <= now
    assert syncookies.options(value) == kept
