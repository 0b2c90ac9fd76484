"""Segments for a listener's request: what acknowledges another number is the listener's (tcp_check_req, tcp_rcv_state_process)."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP

from emu.lab import Lab


@pytest.mark.parametrize(
    ("flags", "reason", "left"),
    [
        ("A", "TCP_FLAGS", 1),
        ("RA", "TCP_FLAGS", 1),  # and not a reset of the request
        ("SA", "TCP_FLAGS", 1),
        ("FA", "TCP_FLAGS", 1),
        ("R", "", 0),
    ],
)
def test_a_wrong_number_is_the_listeners(flags: str, reason: str, left: int) -> None:
    lab = Lab()
    client, server = lab.host("client"), lab.host("server")
    lab.cable(client, "10.0.0.1/24", server, "10.0.0.2/24")
    listener = server.sockets.tcp()
    listener.bind(("10.0.0.2", 80))
    listener.listen()
    source = "10.0.0.9"  # a host that does not answer: nothing resets the request
    client.sockets.send_packet(IP(src=source, dst="10.0.0.2") / TCP(sport=5, dport=80, flags="S", seq=7))
    lab.run(0.1)
    assert listener.half_open == 1
    client.sockets.send_packet(IP(src=source, dst="10.0.0.2") / TCP(sport=5, dport=80, flags=flags, seq=8, ack=9))
    lab.run(0.1)
    assert (listener.half_open, server.drops["TCP_FLAGS"]) == (left, 1 if reason else 0)
