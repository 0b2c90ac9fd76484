"""The templates are what Scapy builds: each is composed here, and held equal."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from emu.wire import templates

ZERO, UNSPECIFIED, BROADCAST = "00:00:00:00:00:00", "0.0.0.0", "ff:ff:ff:ff:ff:ff"


def arp(op: int, dst: str) -> Packet:
    body = ARP(op=op, hwsrc=ZERO, psrc=UNSPECIFIED, hwdst=ZERO, pdst=UNSPECIFIED)
    return Ether(dst=dst, src=ZERO, type=0x0806) / body


def ipv4(payload: Packet, flags: str) -> Packet:
    header = IP(src=UNSPECIFIED, dst=UNSPECIFIED, id=0, flags=flags, ttl=64)
    return Ether(dst=ZERO, src=ZERO, type=0x0800) / header / payload


COMPOSED = {
    "ARP_REQUEST": arp(1, BROADCAST),
    "ARP_REPLY": arp(2, ZERO),
    "UDP": ipv4(UDP(sport=0, dport=0, chksum=0), "DF"),
    "TCP": ipv4(TCP(sport=0, dport=0, flags="A", window=0, chksum=0), "DF"),
    "ECHO_REQUEST": ipv4(ICMP(type="echo-request", id=0, seq=0, chksum=0), "DF"),
    "ECHO_REPLY": ipv4(ICMP(type="echo-reply", id=0, seq=0, chksum=0), ""),
    "ICMP_ERROR": ipv4(ICMP(type="dest-unreach", code=3, unused=0, chksum=0), ""),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_a_template_is_what_scapy_builds(name: str) -> None:
    assert getattr(templates, name).hex(" ") == bytes(COMPOSED[name]).hex(" ")


def test_every_template_is_composed_here() -> None:
    frames = {
        name
        for name, value in vars(templates).items()
        if name.isupper() and isinstance(value, bytes) and len(value) > 20
    }
    assert frames == set(COMPOSED)
