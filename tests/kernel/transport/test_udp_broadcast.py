"""Broadcasts need SO_BROADCAST: without it the call fails with EACCES (udp_sendmsg, ip4_datagram_connect)."""

from __future__ import annotations

import pytest

from emu.errors import SocketError
from emu.lab import Lab


@pytest.mark.parametrize("call", ["sendto", "connect"])
def test_a_broadcast_needs_leave(call: str) -> None:
    lab = Lab()
    one, other = lab.host("one"), lab.host("other")
    lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    socket = one.sockets.udp()
    to = ("10.0.0.255", 9)
    with pytest.raises(SocketError, match="Permission denied") as caught:
        socket.sendto(b"all", to) if call == "sendto" else socket.connect(to)
    assert caught.value.name == "EACCES"
    socket.broadcast = True
    listener = other.sockets.udp()
    listener.bind(("0.0.0.0", 9))
    socket.sendto(b"all", to)
    assert listener.recvfrom()[0] == b"all"
