"""A tunnel's packets in words: the sentence and the line name what is inside; odd bytes give less, never an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from emu.capture.summary import between, line, phrase
from emu.wire.summary import read

INNER = IP(src="10.244.1.2", dst="10.244.2.2", ttl=63) / TCP(sport=40000, dport=80, flags="S", window=64240)
OUTER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="192.168.50.11", dst="192.168.50.12")
SYN = "a connection request (SYN) from 10.244.1.2 to 10.244.2.2:80"


def vxlan(vni: int, port: int, inner: Packet = INNER, flags: int = 0x08) -> bytes:
    frame = Ether(src="02:00:00:00:01:01", dst="02:00:00:00:01:02") / inner
    return bytes(OUTER / UDP(sport=50000, dport=port) / VXLAN(vni=vni, flags=flags) / frame)


@pytest.mark.parametrize("port", [4789, 8472])
def test_a_vxlan_packet_is_named_by_its_network_and_what_it_carries(port: int) -> None:
    seen = read(vxlan(7, port))
    assert phrase(seen) == f"a packet of VXLAN network 7 with {SYN}"
    assert between(seen) == f", from 192.168.50.11 to 192.168.50.12:{port}"
    assert line(vxlan(7, port)).endswith(
        f"UDP 50000>{port} len=62 VXLAN 7 {{10.244.1.2>10.244.2.2 ttl63 TCP 40000>80 [S] seq=0 win=64240 len=0}}"
    )


def test_arp_in_vxlan() -> None:
    data = vxlan(7, 8472, ARP(hwsrc="02:00:00:00:01:01", psrc="10.1.0.1", pdst="10.1.0.2"))
    assert "with the ARP request who has 10.1.0.2 (from 10.1.0.1)" in phrase(read(data))
    assert "VXLAN 7 {ARP who-has 10.1.0.2 tell 10.1.0.1 " in line(data)


def test_ip_in_ip() -> None:
    data = bytes(OUTER / INNER)
    assert phrase(read(data)) == f"an IP-in-IP packet with {SYN}"
    assert line(data).endswith("IPIP len=40 {10.244.1.2>10.244.2.2 ttl63 TCP 40000>80 [S] seq=0 win=64240 len=0}")


def test_a_datagram_to_the_port_that_has_no_vni_is_a_datagram() -> None:
    assert phrase(read(vxlan(7, 8472, flags=0))) == "a datagram of 62 bytes"
    assert phrase(read(vxlan(7, 5000))) == "a datagram of 62 bytes"


def test_a_tunnel_in_many_tunnels_is_named_by_the_outer_one() -> None:
    header = bytes(OUTER / IP(src="10.0.0.1", dst="10.0.0.2"))[14:34]
    data = bytes(12) + b"\x08\x00" + header * 3000
    assert phrase(read(data)).startswith("an IP-in-IP packet with a packet of IPIP")
    assert line(data)


@given(cut=st.integers(0, 120), at=st.integers(0, 119), byte=st.integers(0, 255))
def test_odd_bytes_raise_nothing(cut: int, at: int, byte: int) -> None:
    data = bytearray(vxlan(7, 8472))[:cut]
    if at < len(data):
        data[at] = byte
    seen = read(bytes(data))
    assert phrase(seen) and line(bytes(data))
