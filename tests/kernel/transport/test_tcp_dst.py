"""A connection keeps the route of its last packet for as long as routes and addresses stay the same (sk_dst_cache)."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest

from emu.kernel.net import ip_output
from emu.kernel.net.netns import Netns
from emu.kernel.transport.tcp_socket import TcpSocket
from emu.lab import Lab
from emu.wire.addr import ip4


def opened() -> tuple[Lab, Netns, TcpSocket, TcpSocket]:
    lab = Lab()
    client, server = lab.host("client"), lab.host("server")
    lab.cable(client, "10.0.0.1/24", server, "10.0.0.2/24")
    listener, socket = server.sockets.tcp(), client.sockets.tcp()
    listener.bind(("0.0.0.0", 80))
    listener.listen()
    socket.connect(("10.0.0.2", 80))
    return lab, client, socket, listener.accept()


@pytest.mark.pure("compiled code calls a function of its own past what replaces it")
def test_no_segment_looks_up_what_the_one_before_did() -> None:
    _lab, _client, socket, server = opened()
    with patch.object(ip_output, "route_output", side_effect=AssertionError):
        for _ in range(3):
            socket.send(b"ping")
            server.send(server.recv())
            assert socket.recv() == b"ping"


def test_a_route_that_changes_counts_for_the_next_segment() -> None:
    lab, client, socket, server = opened()
    fib = client.ipv4.fib
    socket.send(b"first")
    route = fib.lookup(ip4("10.0.0.2"))
    assert server.recv() == b"first" and route is not None and socket.dst is route
    fib.remove(route)
    socket.send(b"second")
    lab.run(0.01)
    assert not server.endpoint or not server.endpoint.readable
    other = replace(route, mtu=700)
    fib.add(other)
    lab.run(5)
    assert server.recv() == b"second" and socket.dst is other


def test_an_address_that_went_sends_no_more() -> None:
    lab, client, socket, server = opened()
    socket.send(b"first")
    assert server.recv() == b"first"
    device = client.device("eth0")
    client.ipv4.add_address(device, ip4("10.0.0.3"), 24)
    client.ipv4.remove_address(next(each for each in client.ipv4.addresses if each.addr == ip4("10.0.0.1")))
    sent = len(lab.frames("client/eth0"))
    socket.send(b"second")
    assert len(lab.frames("client/eth0")) == sent
