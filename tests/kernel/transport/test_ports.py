"""Which ephemeral ports a kernel takes: connect() the even ones, bind() the odd ones, UDP any. Seen on a Linux 6.18."""

from __future__ import annotations

import errno

import pytest

import emu
from emu.errors import SocketError
from emu.kernel.net.netns import Netns


def two(ports: str = "32768 60999", reserved: str = "") -> tuple[Netns, Netns]:
    lab = emu.Lab(capture=False)
    client, server = lab.host("client"), lab.host("server")
    lab.cable(client, "10.0.0.1/24", server, "10.0.0.2/24")
    client.sysctl["net.ipv4.ip_local_port_range"] = ports
    client.sysctl["net.ipv4.ip_local_reserved_ports"] = reserved
    listener = server.sockets.tcp()
    listener.bind(("0.0.0.0", 80))
    listener.listen()
    return client, server


def connected(client: Netns) -> object:
    socket = client.sockets.tcp()
    socket.connect(("10.0.0.2", 80))
    return socket.port


def test_connect_takes_even_ports() -> None:
    client, _ = two()
    assert all(connected(client) in range(32768, 61000, 2) for _ in range(50))


@pytest.mark.parametrize(
    ("ports", "reserved", "first", "then"),
    [
        ("40000 40007", "", {40000, 40002, 40004, 40006}, {40001, 40003, 40005, 40007}),
        ("40001 40004", "", {40001, 40003}, {40002, 40004}),  # even is the distance from the first
        ("40000 40004", "", {40000, 40002}, {40001, 40003}),  # of an odd count the last is never taken
        ("40000 40000", "", {40000}, set()),
        ("40000 40007", "40002,40004-40005", {40000, 40006}, {40001, 40003, 40007}),
    ],
)
def test_the_others_come_when_those_are_taken(ports: str, reserved: str, first: set[int], then: set[int]) -> None:
    client, _ = two(ports, reserved)
    assert {connected(client) for _ in first} == first
    assert {connected(client) for _ in then} == then
    with pytest.raises(SocketError) as refused:
        connected(client)
    assert refused.value.errno == errno.EADDRNOTAVAIL


def test_bind_takes_odd_ones() -> None:
    client, _ = two()
    for _ in range(50):
        socket = client.sockets.tcp()
        socket.bind(("0.0.0.0", 0))
        assert socket.port % 2


def test_udp_takes_any_but_reserved_ones() -> None:
    client, _ = two("40000 40004", "40003")
    ports = set()
    for _ in range(4):
        socket = client.sockets.udp()
        socket.bind(("0.0.0.0", 0))
        ports.add(socket.port)
    assert ports == {40000, 40001, 40002, 40004}
