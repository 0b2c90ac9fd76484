"""The door to Scapy: every frame is built with sockets forbidden, expressions are read and never evaluated."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy import fields
from scapy.config import conf
from scapy.layers import inet
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot3, Ether
from scapy.layers.ntp import NTPHeader
from scapy.packet import Packet

from emu import craft
from emu.errors import InputError
from emu.lab import Lab
from emu.testing.strategies import examples
from emu.wire.addr import ip4

MAC = b"\2\0\0\0\0\1"
SOURCE = ip4("10.0.0.2")


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket can be made, no route of this host looked up, no name resolved, and no chance but the clock's."""

    def refuse(*args: Any, **rest: Any) -> NoReturn:
        raise AssertionError("Scapy looked at this host")

    for name in ("socket", "getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(conf.route.__class__, "route", refuse)
    monkeypatch.setattr(conf.netcache.__class__, "__getattr__", refuse, raising=False)
    monkeypatch.setattr(random, "random", refuse)


craft.destination(IP())  # imports every layer: as a module, Scapy may do as it likes


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (IP(dst="10.0.0.9") / UDP(sport=1, dport=53), {"src": "10.0.0.2", "dst": "10.0.0.9", "ttl": 7}),
        (IP(src="1.2.3.4", dst="10.0.0.9", ttl=3) / ICMP(), {"src": "1.2.3.4", "dst": "10.0.0.9", "ttl": 3}),
        (IP() / TCP(), {"src": "10.0.0.2", "dst": "0.0.0.0", "ttl": 7}),
        (IP(dst="10.0.0.9") / IP(dst="10.0.0.8") / UDP(), {"src": "10.0.0.2", "dst": "10.0.0.9", "ttl": 7}),
        (Ether() / IP(dst="10.0.0.9") / "data", {"src": "10.0.0.2", "dst": "10.0.0.9", "ttl": 7}),
    ],
)
def test_what_a_user_leaves_out_is_filled(packet: Packet, expected: dict[str, Any], sealed: None) -> None:
    before = packet.copy()
    made = craft.dissect(craft.build(packet, SOURCE, MAC, ttl=7))
    assert {name: getattr(made[IP], name) for name in expected} == expected
    assert made.src == "02:00:00:00:00:01"
    assert packet.fields == before.fields, "the user's packet is left as it was"
    inner = made[IP].payload.getlayer(IP)
    assert inner is None or (inner.src, inner.dst) == ("10.0.0.2", "10.0.0.8")


def test_arp_is_a_broadcast(sealed: None) -> None:
    made = craft.dissect(craft.build(ARP(pdst="10.0.0.9"), SOURCE, MAC))
    assert (made.dst, made.type, made[ARP].psrc, made[ARP].hwsrc) == (
        "ff:ff:ff:ff:ff:ff", 0x0806, "10.0.0.2", "02:00:00:00:00:01",
    )  # fmt: skip


def test_a_whole_lab_runs_sealed(sealed: None) -> None:
    lab = Lab()
    one, other = lab.host("one"), lab.host("other")
    lab.cable(one, "10.0.0.2/24", other, "10.0.0.3/24")
    one.sockets.send_packet(IP(dst="10.0.0.3") / ICMP(id=9))
    one.sockets.send_packet(ARP(pdst="10.0.0.3"))
    socket_of = one.sockets.tcp()
    socket_of.connect(("10.0.0.3", 80))
    lab.run(1)
    kinds = [frame.packet().lastlayer().__class__.__name__ for frame in lab.frames("other/eth0")]
    assert {"ARP", "ICMP", "TCP"} <= set(kinds)


# -- expressions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("IP(dst='10.96.0.10')/UDP(dport=53)/'payload'", ["IP", "UDP", "Raw"]),
        ("  Ether()/ARP(pdst='10.0.0.1') ", ["Ether", "ARP"]),
        ("IP(dst='10.0.0.1', options=[])/TCP(flags='S', options=[('MSS', 1400)])", ["IP", "TCP"]),
        (r"IP(dst='10.0.0.1')/ICMP()/b'\x00\xff'", ["IP", "ICMP", "Raw"]),
        ("IP(dst='10.0.0.1')/UDP()/DNS(qd=DNSQR(qname='web.default.svc'))", ["IP", "UDP", "DNS"]),
        ("'only data'", ["Raw"]),
    ],
)
def test_expressions(text: str, layers: list[str]) -> None:
    packet = craft.expression(text)
    assert [layer.__name__ for layer in packet.layers()][: len(layers)] == layers


def test_an_expression_gives_the_packet_that_python_would() -> None:
    text = "IP(dst='10.96.0.10', ttl=3)/TCP(dport=80, flags='SA', options=[('MSS', 1400)])/'x'"
    ours = craft.build(craft.expression(text), SOURCE, MAC)
    packet = IP(dst="10.96.0.10", ttl=3) / TCP(dport=80, flags="SA", options=[("MSS", 1400)]) / "x"
    assert ours == craft.build(packet, SOURCE, MAC)


EVIL = [
    "__import__('os').system('touch {}')",
    "IP(dst=__import__('os').system('touch {}'))",
    "IP(dst=open('{}', 'w'))",
    "IP(dst='1.1.1.1').__class__",
    "[IP() for _ in open('{}', 'w')]",
    "(lambda: open('{}', 'w'))()",
    "IP(**{{'dst': open('{}', 'w')}})",
    "IP(open('{}', 'w'))",
    "IP() if open('{}', 'w') else IP()",
    "f\"{{open('{}', 'w')}}\"",
    "IP(dst=(x := open('{}', 'w')))",
    "send(IP())",
    "IP(dst='1.1.1.1') * 3",
]


@pytest.mark.parametrize("text", EVIL)
def test_nothing_is_evaluated(text: str, tmp_path: Any) -> None:
    path = tmp_path / "touched"
    with pytest.raises(InputError):
        craft.expression(text.format(path))
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "error_text"),
    [
        ("IP(dst=", "cannot read the Scapy expression"),
        ("", "cannot read the Scapy expression"),
        ("Nothing(dst=1)", "no layer 'Nothing'"),
        ("IP(destination='1.1.1.1')", "no field 'destination'"),
        ("IP(ttl='many')", "cannot build"),
        ("IP(ttl=-1)", "cannot build"),
        ("IP(dst='10.0.0.1')/5", "not allowed"),
        ("IP", "not allowed"),
        ("x = 1", "cannot read"),
    ],
)
def test_bad_expressions_report_what_is_wrong(text: str, error_text: str) -> None:
    with pytest.raises(InputError, match=error_text):
        craft.expression(text)


@pytest.mark.parametrize(
    ("text", "error_text"),
    [
        ("IP(dst='localhost')", "'localhost' is not an address"),
        ("IP(src='localhost')", "names are not resolved"),
        ("IP(dst=b'localhost')", "'localhost' is not an address"),
        ("BOOTP(ciaddr='localhost')", "'localhost' is not an address"),
        ("DNSRR(type='A', rdata='localhost')", "'localhost' is not an address"),
        ("DNSRR(type='AAAA', rdata='localhost')", "'localhost' is not an address"),
        ("DHCP(options=[('router', 'localhost')])", "'localhost' is not an address"),
        ("ARP(pdst='localhost')", "'localhost' is not an address"),
        ("IPv6(dst='localhost')", "'localhost' is not an address"),
        ("ICMP(type=5, gw='localhost')", "'localhost' is not an address"),
        ("IP(options=IPOption_RR(routers=['localhost']))", "'localhost' is not an address"),
        ("Ether(dst='localhost')", "'localhost' is not a MAC address"),
        ("IP(dst='10.1')", "'10.1' is not an IPv4 address"),
        ("IP(dst='1.2.3.4 and more')", "is not an IPv4 address"),
        ("IP(dst='10.244.0.0/16')", "'10.244.0.0/16' is many addresses"),
        ("IP(dst=('10.0.0.1', '10.0.0.9'))", "'10.0.0.1 to 10.0.0.9' is many addresses"),
        ("IP(dst=['10.0.0.1', '10.0.0.9'])", "IP.dst has several values"),
        ("ARP(psrc='10.0.0.0/24')", "is many addresses"),
        ("UDP(dport=(1, 65535))", r"UDP.dport has several values: \(1, 65535\)"),
        ("IP(ttl=[1, 2])", "IP.ttl has several values"),
        ("IP()/UDP()/DNS(qd=DNSQR(qtype=[1, 28]))", "DNSQR.qtype has several values"),
        (r"'\ud800'", "surrogate"),
        (r"DNSQR(qname='\ud800')", "cannot build"),
        ("IP(dst={[]: 1})", "not allowed"),
        ("IP(dst=IP())", "is not an IPv4 address"),
        (f"IP(dst='1.1.1.1')/'{'a' * 65516}'", "cannot build"),
        (f"'{'a' * 65536}'", "65,536 bytes"),
        ("/".join(["IP()"] * 65), "more than 64 layers"),
        ("'" + "a" * (1 << 20) + "'", "at most 1,048,576"),
    ],
    ids=lambda text: text[:40],
)
def test_what_the_host_or_a_frame_cannot_hold_is_refused(text: str, error_text: str, sealed: None) -> None:
    with pytest.raises(InputError, match=error_text) as error:
        craft.expression(text)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    ("text", "layer", "expected"),
    [
        ("Raw(load=IP())", IP, {"src": "10.0.0.2"}),
        ("IPerror()", IP, {"src": "10.0.0.2"}),
        ("IP(src=None, dst=None)", IP, {"src": "10.0.0.2"}),
        ("Dot3()/LLC()/IP(dst='9.9.9.9')", Dot3, {"src": "02:00:00:00:00:01", "dst": "00:00:00:00:00:00"}),
        ("IP(dst='10.0.0.9')/ICMP(type='timestamp-request')", ICMP, {"ts_ori": 0, "ts_rx": 0, "ts_tx": 0}),
        ("IP(dst='10.0.0.9')/UDP(sport=1, dport=123)/NTP()", NTPHeader, {"sent": 0x83AA7E80}),
    ],
)
def test_what_scapy_would_ask_the_host_for(
    text: str, layer: type[Packet], expected: dict[str, Any], sealed: None
) -> None:
    data = craft.build(craft.expression(text), SOURCE, MAC)
    made = craft.dissect(data)[layer]
    assert {name: getattr(made, name) for name in expected} == expected


def test_what_scapy_draws_is_refused() -> None:
    with pytest.raises(InputError, match=r"SCTPChunkParamRandom\.random is drawn at random"):
        craft.expression("SCTPChunkParamRandom()")


def test_the_longest_packet_is_built() -> None:
    text = f"IP(dst='1.1.1.1')/'{'a' * (65535 - 20)}'"
    assert len(craft.build(craft.expression(text), SOURCE, MAC)) == 14 + 65535


def test_as_many_layers_as_are_allowed_take_no_time() -> None:
    craft.expression("IP()")
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        packet = craft.expression("/".join(["IP()"] * 64))
    finally:
        sys.setprofile(None)
    assert len(packet.layers()) == 64
    assert calls < 64 * 64 * 64, "joined layer by layer, not copied for each"


def test_a_packet_of_several_is_refused_when_it_is_sent() -> None:
    for packet in (
        IP(dst="10.0.0.0/30") / ICMP(),
        IP(dst="10.0.0.1") / UDP(dport=(1, 9)),
        IP(dst="10.0.0.1", ttl=[1, 2]),
    ):
        with pytest.raises(InputError, match="several values"):
            craft.build(packet, SOURCE, MAC)


def test_scapy_is_as_it_was_afterwards() -> None:
    before = conf.route, conf.route6, conf.neighbor, fields.Net, fields.Net6, inet.time
    craft.expression("IP(dst='10.0.0.1')/UDP()")
    with pytest.raises(InputError):
        craft.expression("IP(dst='localhost')")
    assert (conf.route, conf.route6, conf.neighbor, fields.Net, fields.Net6, inet.time) == before


@given(st.text(max_size=40) | st.text("IPUDP()/'=,[]{}.dst01 \n\\\0", max_size=40))
@examples(200)
def test_any_text_is_a_packet_or_an_input_error(text: str) -> None:
    try:
        packet = craft.expression(text)
    except InputError:
        return
    assert isinstance(packet, Packet)


@pytest.mark.parametrize("text", ["(" * 5000 + ")" * 5000, "-" * 5000 + "1", "/".join(["IP()"] * 3000), "[" * 300])
def test_deep_expressions_are_input_errors(text: str) -> None:
    with pytest.raises(InputError) as error:
        craft.expression(text)
    assert len(str(error.value)) < 500, "the message is for people"


@pytest.mark.parametrize("name", ["destination", "source"])
def test_addresses_that_a_packet_names(name: str) -> None:
    ask = getattr(craft, name)
    field = "dst" if name == "destination" else "src"
    assert ask(IP(**{field: "10.0.0.1"}) / UDP()) == "10.0.0.1"
    assert ask(Ether() / IP(**{field: "10.0.0.1"})) == "10.0.0.1"
    assert ask(IP() / UDP()) is None
    assert ask(ARP()) is None


def test_scapy_comes_with_the_first_packet_only() -> None:
    code = (
        "import sys; import emu; lab = emu.Lab(); a, b = lab.host('a'), lab.host('b'); "
        "lab.cable(a, '10.0.0.1/24', b, '10.0.0.2/24'); a.sockets.ping(1).send('10.0.0.2'); "
        "frames = lab.frames('b/eth0'); assert len(frames) > 3 and 'scapy' not in sys.modules; "
        "frames[0].packet(); assert 'scapy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
