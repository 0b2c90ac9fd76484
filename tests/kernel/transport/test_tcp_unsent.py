"""New data that the host itself cannot send: DF, and a way behind OUTPUT that is narrower than the route which the socket knows.

tcp_write_xmit leaves it in the send queue, tcp_write_wakeup tries it again, and tcp_send_fin adds the FIN to it.
"""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCPerror

from emu.lab import Lab


@pytest.mark.parametrize(
    ("size", "quoted"),
    [
        (1348, []),  # it fits
        (1349, [("PA", 0), ("PA", 0), ("FPA", 0)]),
        (1448, [("PA", 0), ("PA", 0), ("FPA", 0)]),
        # a burst is cut before its segments are refused, also those that would fit
        (2900, [("A", 0), ("A", 1448), ("PA", 2896), ("PA", 0), ("A", 0), ("A", 1448), ("FPA", 2896)]),
    ],
)
def test_the_fin_joins_what_did_not_leave(size: int, quoted: list[tuple[str, int]]) -> None:
    lab = Lab()
    node, other = lab.router("node"), lab.host("other")
    near, _far = lab.cable(node, "10.0.0.1/24", other, "10.0.0.9/24")
    near.mtu = 1400
    node.mtus_set += 1
    lab.iptables(node, "-t nat -A OUTPUT -d 10.0.0.1 -p tcp --dport 88 -j DNAT --to-destination 10.0.0.9:80")
    listener, client = other.sockets.tcp(), node.sockets.tcp()
    listener.bind(("0.0.0.0", 80))
    listener.listen()
    client.connect(("10.0.0.1", 88))
    server = listener.accept()
    client.send(b"y" * size)
    lab.run(0.3)
    client.close()
    lab.run(0.001)
    errors = [each.packet()[TCPerror] for each in lab.frames("node/lo") if each.packet().haslayer(TCPerror)]
    first = min((each.seq for each in errors), default=0)
    assert [(str(each.flags), each.seq - first) for each in errors] == quoted
    assert quoted or len(server.recv()) == size
