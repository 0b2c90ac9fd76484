"""Whose packet an ICMP error must be about, for the path MTU in it to count (icmp_err, raw_err, udp_err)."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Packet

from emu.lab import Lab

BIG = bytes(1200)
ECHO = IP(dst="10.1.0.2", flags="DF") / ICMP(id=7) / BIG
DATAGRAM = IP(dst="10.1.0.2", flags="DF") / UDP(sport=4000, dport=9) / BIG


@pytest.mark.parametrize(
    ("packet", "open_", "learned"),
    [
        (ECHO, "", 0),
        (ECHO, "udp", 0),
        (ECHO, "ping", 1000),  # any raw socket of ICMP will do
        (DATAGRAM, "", 0),
        (DATAGRAM, "ping", 0),
        (DATAGRAM, "udp", 1000),
        (DATAGRAM, "udp connected elsewhere", 0),
    ],
)
def test_the_path_mtu_that_a_host_learns(packet: Packet, open_: str, learned: int) -> None:
    lab = Lab()
    host, router, server = lab.host("host"), lab.router("router"), lab.host("server")
    lab.cable(host, "10.0.0.2/24", router, "10.0.0.1/24", default=True)
    lab.cable(server, "10.1.0.2/24", router, "10.1.0.1/24", default=True, mtu=1000)
    if open_ == "ping":
        host.sockets.ping(ident=9)
    elif open_:
        socket = host.sockets.udp()
        socket.bind(("0.0.0.0", 4000))
        if open_ != "udp":
            socket.connect(("10.1.0.3", 9))
    host.sockets.send_packet(packet)
    lab.run(0.1)
    assert [each.pmtu for each in host.ipv4.exceptions.values()] == ([learned] if learned else [])
