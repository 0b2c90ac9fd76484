"""Frames in a line and in a phrase: a table of Scapy's frames, and that odd bytes never raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from emu.capture.summary import between, line, phrase
from emu.wire.addr import ip4, ip4_text
from emu.wire.summary import read

A, B, TO_ALL = "02:00:00:00:00:01", "02:00:00:00:00:02", "ff:ff:ff:ff:ff:ff"
ROLES = {bytes.fromhex("020000000001"): "p1", bytes.fromhex("020000000002"): "cbr0", b"\xff" * 6: "bcast"}
NAMES = {ip4("10.0.0.1"): "default/client", ip4("10.96.0.10"): "svc/web.default"}
ETHER = Ether(src=A, dst=B)
TO_SERVICE = IP(src="10.0.0.1", dst="10.96.0.10", flags="DF")
SYN_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
QUOTE = IP(src="10.0.0.1", dst="10.96.0.10", ttl=63) / UDP(sport=1000, dport=53) / Raw(b"abc")


def role(mac: bytes) -> str:
    return ROLES.get(mac, "?")


def name(addr: int) -> str:
    return NAMES.get(addr) or ip4_text(addr)


CASES: list[tuple[Packet, str, str]] = [
    (
        Ether(src=A, dst=TO_ALL) / ARP(op=1, hwsrc=A, psrc="10.0.0.1", pdst="10.0.0.9"),
        "[p1>bcast] ARP who-has 10.0.0.9 tell 10.0.0.1 (p1)",
        "the ARP request who has 10.0.0.9 (from default/client)",
    ),
    (
        Ether(src=B, dst=A) / ARP(op=2, hwsrc=B, psrc="10.0.0.9", hwdst=A, pdst="10.0.0.1"),
        "[cbr0>p1] ARP 10.0.0.9 is-at cbr0 -> 10.0.0.1",
        "the ARP reply that gives the MAC of 10.0.0.9",
    ),
    (
        Ether(src=A, dst=TO_ALL) / ARP(op=1, hwsrc=A, psrc="10.0.0.1", pdst="10.0.0.1"),
        "[p1>bcast] ARP who-has 10.0.0.1 tell 10.0.0.1 (p1)",
        "the announcement of default/client (gratuitous ARP)",
    ),
    (
        Ether(src=A, dst=TO_ALL) / ARP(op=1, hwsrc=A, psrc="0.0.0.0", pdst="10.0.0.1"),
        "[p1>bcast] ARP who-has 10.0.0.1 tell 0.0.0.0 (p1)",
        "the ARP probe whether default/client is taken",
    ),
    (
        ETHER / TO_SERVICE / TCP(sport=40001, dport=80, flags="S", seq=1000, window=64240, options=SYN_OPTIONS),
        "[p1>cbr0] 10.0.0.1>10.96.0.10 ttl64 DF TCP 40001>80 [S] seq=0 win=64240 len=0 <mss=1460,sackOK,TS,nop,wscale=7>",
        "a connection request (SYN) from default/client to svc/web.default:80",
    ),
    (
        ETHER / IP(src="10.96.0.10", dst="10.0.0.1") / TCP(sport=80, dport=40001, flags="SA", seq=70000, ack=1001),
        "[p1>cbr0] 10.96.0.10>10.0.0.1 ttl64 TCP 80>40001 [SA] seq=0 ack=1 win=8192 len=0",
        "the acceptance of the connection (SYN, ACK) from svc/web.default to default/client:40001",
    ),
    (
        ETHER / TO_SERVICE / TCP(sport=40001, dport=80, flags="PA", seq=1001, ack=70001) / Raw(b"hello"),
        "[p1>cbr0] 10.0.0.1>10.96.0.10 ttl64 DF TCP 40001>80 [PA] seq=1 ack=1 win=8192 len=5",
        "5 bytes of data from default/client to svc/web.default:80",
    ),
    (
        ETHER / TO_SERVICE / TCP(sport=40001, dport=80, flags="FA", seq=1006, ack=70001) / Raw(b"!"),
        "[p1>cbr0] 10.0.0.1>10.96.0.10 ttl64 DF TCP 40001>80 [FA] seq=6 ack=1 win=8192 len=1",
        "1 byte of data and the end of the stream (FIN) from default/client to svc/web.default:80",
    ),
    (
        ETHER / TO_SERVICE / TCP(sport=40001, dport=80, flags="R", seq=900_000_000),
        "[p1>cbr0] 10.0.0.1>10.96.0.10 ttl64 DF TCP 40001>80 [R] seq=900000000 win=8192 len=0",
        "a reset (RST) from default/client to svc/web.default:80",
    ),
    (
        ETHER / IP(src="10.0.0.1", dst="8.8.8.8", tos=0x10, ttl=3) / UDP(sport=1000, dport=53) / Raw(b"abc"),
        "[p1>cbr0] 10.0.0.1>8.8.8.8 ttl3 tos=0x10 UDP 1000>53 len=3",
        "a datagram of 3 bytes from default/client to 8.8.8.8:53",
    ),
    (
        ETHER / TO_SERVICE / ICMP(type=8, id=7, seq=2) / Raw(b"x" * 56),
        "[p1>cbr0] 10.0.0.1>10.96.0.10 ttl64 DF ICMP echo-request id=7 seq=2 len=56",
        "ping number 2 from default/client to svc/web.default",
    ),
    (
        ETHER / IP(src="10.96.0.10", dst="10.0.0.1") / ICMP(type=3, code=3) / QUOTE,
        (
            "[p1>cbr0] 10.96.0.10>10.0.0.1 ttl64 ICMP port unreachable quote(31B)"
            "{10.0.0.1>10.96.0.10 ttl63 UDP 1000>53 len=3}"
        ),
        (
            'the ICMP error "port unreachable" about a datagram of 3 bytes to svc/web.default (10.96.0.10:53), '
            "from svc/web.default to default/client"
        ),
    ),
    (
        ETHER / IP(src="10.0.0.9", dst="10.0.0.1") / ICMP(type=3, code=4, nexthopmtu=1400) / bytes(QUOTE)[:28],
        (
            "[p1>cbr0] 10.0.0.9>10.0.0.1 ttl64 ICMP fragmentation needed mtu=1400 quote(28B)"
            "{10.0.0.1>10.96.0.10 ttl63 UDP 1000>53 len=3}"
        ),
        (
            'the ICMP error "fragmentation needed" about a datagram of 3 bytes to svc/web.default (10.96.0.10:53), '
            "from 10.0.0.9 to default/client"
        ),
    ),
    (
        ETHER / fragment(IP(src="10.0.0.1", dst="10.0.0.9") / UDP(sport=1, dport=2) / Raw(b"x" * 2000), 1480)[1],
        "[p1>cbr0] 10.0.0.1>10.0.0.9 ttl64 frag=1480 UDP len=528",
        "a fragment (bytes 1480 and on) of a datagram from default/client to 10.0.0.9",
    ),
    (
        ETHER / IP(src="10.0.0.1", dst="10.0.0.9", proto=47) / Raw(b"gre!"),
        "[p1>cbr0] 10.0.0.1>10.0.0.9 ttl64 GRE len=4",
        "a packet of GRE from default/client to 10.0.0.9",
    ),
    (
        Ether(src=A, dst=B, type=0x88CC) / Raw(b"lldp"),
        "[p1>cbr0] ethertype 0x88cc len=4",
        "a frame of type 0x88cc",
    ),
]


@pytest.mark.parametrize(("packet", "text", "words"), CASES, ids=[words for _, _, words in CASES])
def test_lines_and_phrases(packet: Packet, text: str, words: str) -> None:
    data = bytes(packet)
    seen = read(data)
    assert line(data, role, firsts=(1000, 70000)) == text
    assert phrase(seen, name) + between(seen, name) == words


@given(
    st.one_of(
        st.binary(max_size=80),
        st.sampled_from([bytes(packet) for packet, _, _ in CASES]).flatmap(
            lambda data: st.tuples(
                st.integers(0, len(data)),
                st.dictionaries(st.integers(12, len(data) - 1), st.integers(0, 255), max_size=4),
            ).map(lambda cut: bytes(cut[1].get(at, byte) for at, byte in enumerate(data))[: cut[0]])
        ),
    )
)
def test_odd_bytes_have_a_summary(data: bytes) -> None:
    seen = read(data)
    assert phrase(seen)
    assert line(data).startswith("[")
    assert seen.kind == "IPv4" or between(seen) == ""
