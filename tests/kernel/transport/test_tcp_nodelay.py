"""TCP_NODELAY of a socket that is connected: what Nagle held back leaves at once (__tcp_sock_set_nodelay)."""

from __future__ import annotations

import pytest

from emu.clock import MS
from emu.kernel.link.netem import Netem
from emu.lab import Lab


@pytest.mark.parametrize(("nodelay", "arrived"), [(False, b"a"), (True, b"abb")])
def test_switching_it_on_sends_what_waits(nodelay: bool, arrived: bytes) -> None:
    lab = Lab()
    one, other = lab.host("one"), lab.host("other")
    near, _far = lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    listener, client = other.sockets.tcp(), one.sockets.tcp()
    listener.bind(("0.0.0.0", 80))
    listener.listen()
    client.connect(("10.0.0.2", 80))
    server = listener.accept()
    near.netem = Netem(delay_ns=5 * MS)
    client.send(b"a")
    client.send(b"bb")
    client.nodelay = nodelay
    lab.run(0.007)
    assert server.recv() == arrived
