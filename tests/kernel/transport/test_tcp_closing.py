"""What waits for the end of close(): a second acknowledgement of the FIN finds a closed socket, and is dropped without a RST."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP

from emu.lab import Lab


@pytest.mark.parametrize("copies", [False, True])
def test_a_second_acknowledgement_of_the_fin_is_dropped(copies: bool) -> None:
    lab = Lab()
    one, middle, other = lab.host("one"), lab.router("middle"), lab.host("other")
    lab.cable(one, "10.0.0.1/24", middle, "10.0.0.2/24", default=True)
    lab.cable(other, "10.0.1.1/24", middle, "10.0.1.2/24", default=True)
    if copies:
        lab.iptables(middle, "-t mangle -A PREROUTING -d 10.0.1.1 -p tcp --tcp-flags FIN FIN -j TEE --gateway 10.0.1.1")
    listener, client = other.sockets.tcp(), one.sockets.tcp()
    listener.bind(("0.0.0.0", 80))
    listener.listen()
    client.connect(("10.0.1.1", 80))
    server = listener.accept()
    server.close()
    client.close()
    lab.run(0.1)
    seen = [each.packet()[TCP] for each in lab.frames("one/eth0") if each.packet().haslayer(TCP)]
    assert [str(each.flags) for each in seen[-2 - copies :]] == ["FA", "A", "A"][: 2 + copies]
    assert client.state == "CLOSE"
