"""How connections are opened and refused: errors that come inside connect(), and odd flags at a listener."""

from __future__ import annotations

import errno
from typing import NamedTuple

import pytest
from scapy.layers import inet

import emu
from emu import craft
from emu.kernel.net.netns import Netns
from emu.wire.frame import ICMP, TCP
from emu.wire.summary import read
from emu.wire.tcp import ACK, FIN, PSH, RST, SYN


class Bench(NamedTuple):
    lab: emu.Lab
    client: Netns
    server: Netns

    def protocols(self) -> list[tuple[int, str]]:
        return [
            (read(each.data).proto, each.direction)
            for each in self.lab.frames("client/eth0")
            if each.data[12:14] == b"\x08\0"
        ]


@pytest.fixture
def bench() -> Bench:
    lab = emu.Lab()
    client, server = lab.host("client"), lab.host("server")
    lab.cable(client, "10.0.0.1/24", server, "10.0.0.2/24")
    listener = server.sockets.tcp()
    listener.bind(("0.0.0.0", 80))
    listener.listen()
    return Bench(lab, client, server)


SYN_OUT, ERROR_IN = (TCP, "out"), (ICMP, "in")


@pytest.mark.parametrize(("blocking", "frames"), [(False, 1), (True, 2)])
def test_an_icmp_error_inside_connect(bench: Bench, blocking: bool, frames: int) -> None:
    """The call owns the socket, so that the error is a soft one: poll shows it, a call that waits does not."""
    bench.lab.iptables(bench.server, "-A INPUT -p tcp -j REJECT")
    socket = bench.client.sockets.tcp()
    socket.blocking = blocking
    socket.connect(("10.0.0.2", 81))
    assert socket.state == ("SYN_SENT" if blocking else "CLOSE")
    bench.lab.run(0.9)
    assert bench.protocols() == [SYN_OUT, ERROR_IN]
    bench.lab.run(5)
    assert bench.protocols() == [SYN_OUT, ERROR_IN] * frames
    assert (socket.state, socket.error) == ("CLOSE", errno.ECONNREFUSED)
    assert socket.port not in bench.client.sockets.tcp_table.ports.bound


def test_an_icmp_error_after_connect_fails_both_kinds_of_client(bench: Bench) -> None:
    """No neighbour: three seconds later the host is unreachable, and no call owns the socket."""
    for blocking in (False, True):
        socket = bench.client.sockets.tcp()
        socket.blocking = blocking
        socket.connect(("10.0.0.9", 80))
        bench.lab.run(3.5)
        assert (socket.state, socket.error) == ("CLOSE", errno.EHOSTUNREACH)


def test_a_soft_error_is_the_reason_when_nothing_else_comes(bench: Bench) -> None:
    bench.client.sysctl["net.ipv4.tcp_syn_retries"] = 1
    bench.client.sysctl["net.ipv4.tcp_syn_linear_timeouts"] = 0
    bench.lab.iptables(
        bench.server,
        "-A INPUT -p tcp -m statistic --mode nth --every 9 --packet 0 -j REJECT",
        "-A INPUT -p tcp -j DROP",
    )
    socket = bench.client.sockets.tcp()
    socket.blocking = True
    socket.connect(("10.0.0.2", 81))
    bench.lab.run(10)
    assert bench.protocols() == [SYN_OUT, ERROR_IN, SYN_OUT]
    assert (socket.state, socket.error) == ("CLOSE", errno.ECONNREFUSED)


@pytest.mark.parametrize(
    ("kind", "code", "error"),
    [
        (3, 0, "ENETUNREACH"),
        (3, 3, "ECONNREFUSED"),
        (3, 4, ""),
        (3, 15, "EHOSTUNREACH"),
        (3, 16, ""),
        (4, 0, ""),
        (5, 1, ""),
        (11, 0, "EHOSTUNREACH"),
        (11, 1, ""),
        (11, 2, "EHOSTUNREACH"),
        (12, 0, "EPROTO"),
    ],
)
def test_what_an_icmp_error_means_to_a_connection_that_opens(bench: Bench, kind: int, code: int, error: str) -> None:
    """Each row was asked of Linux 6.18: the error that quotes the SYN, then SO_ERROR."""
    bench.lab.iptables(bench.server, "-A INPUT -p tcp -j DROP")
    socket = bench.client.sockets.tcp()
    socket.blocking = False
    socket.connect(("10.0.0.2", 81))
    (syn,) = (each.data for each in bench.lab.frames("client/eth0") if each.direction == "out" and each.data[23] == TCP)
    quote = syn[14 : 14 + 28]
    bench.server.sockets.send_packet(inet.IP(dst="10.0.0.1") / inet.ICMP(type=kind, code=code) / quote)
    bench.lab.run(0.5)
    assert socket.error == (getattr(errno, error) if error else 0)
    assert socket.state == ("CLOSE" if error else "SYN_SENT")


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (SYN, SYN | ACK),
        (SYN | FIN, None),  # tcp_rcv_state_process, LISTEN: th->fin
        (SYN | FIN | PSH, None),
        (SYN | RST, None),
        (SYN | ACK, RST),
        (SYN | FIN | ACK, RST),
        (FIN, None),
        (0, None),
    ],
)
def test_flags_at_a_listener(bench: Bench, flags: int, answer: int | None) -> None:
    bench.client.sockets.send_packet(craft.expression(f"IP(dst='10.0.0.2')/TCP(sport=40001, dport=80, flags={flags})"))
    bench.lab.run(0.5)
    seen = [read(each.data) for each in bench.lab.frames("server/eth0") if each.direction == "out"]
    assert [each.flags for each in seen if each.proto == TCP] == ([] if answer is None else [answer])


@pytest.mark.parametrize(("code", "ends"), [("icmp-host-unreachable", True), ("icmp-port-unreachable", False)])
def test_a_request_ends_by_unreachable_hosts_alone(bench: Bench, code: str, ends: bool) -> None:
    """tcp_req_err: the SYN-ACK that a host on the way refuses is sent again, but that of an unreachable host is not."""
    bench.lab.iptables(bench.client, f"-A INPUT -p tcp -j REJECT --reject-with {code}")
    bench.client.sockets.send_packet(craft.expression("IP(dst='10.0.0.2')/TCP(sport=40001, dport=80, flags='S')"))
    bench.lab.run(2.5)
    sent = [read(each.data).flags for each in bench.lab.frames("server/eth0") if each.direction == "out"]
    assert sent.count(SYN | ACK) == (1 if ends else 2)
