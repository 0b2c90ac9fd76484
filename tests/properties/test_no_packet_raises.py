"""No packet raises an exception: any bytes on any interface, through every input path, and every packet still ends once.

A small network as a cluster has it: a bridge with br_netfilter, DNAT, masquerade and REJECT rules, hosts with sockets.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.packet import Raw

from emu.errors import SocketError
from emu.kernel.link.device import Device
from emu.kernel.link.veth import Veth
from emu.testing import invariants
from emu.testing.strategies import Network, Spot, Topology, addresses, arps, examples, frames, wild
from emu.wire.addr import BROADCAST_MAC, ip4, ip4_text
from emu.wire.frame import Frame
from sinks import pkt_type

TOPOLOGY = Topology(2, (Spot(0, True), Spot(0, True), Spot(0, False), Spot(1, True)), frozenset((1,)), mtus=(600,))
RULES = (
    "-t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.3:7",
    "-t nat -A PREROUTING -d 10.96.0.10 -p udp -j DNAT --to-destination 10.1.0.5:7",
    "-t nat -A PREROUTING -d 10.96.0.10 -p sctp -j DNAT --to-destination 10.1.0.5",
    "-t nat -A PREROUTING -d 10.96.0.10 -p icmp -j DNAT --to-destination 10.0.0.3",
    "-t nat -A POSTROUTING -s 10.0.0.2 -j MASQUERADE",
    "-t mangle -A PREROUTING -m mark ! --mark 7 -j MARK --set-xmark 0x4000/0x4000",
    "-A FORWARD -p tcp --dport 9 -j REJECT --reject-with tcp-reset",
    "-A FORWARD -p udp --dport 9 -j REJECT",
    "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
    "-A INPUT -p icmp -m icmp --icmp-type 13 -j DROP",
)
KNOWN = [ip4(text) for text in (
    "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.3.1", "10.0.3.2", "10.1.0.1", "10.1.0.5", "10.255.0.1", "10.255.0.2",
    "10.96.0.10", "10.0.0.250", "10.0.0.255", "255.255.255.255", "224.0.0.1", "127.0.0.1", "0.0.0.0", "192.0.2.1",
)]  # fmt: skip


def network(*, rules: bool = True, capture: bool = False) -> Network:
    made = TOPOLOGY.build(capture=capture)
    if rules:
        made.lab.iptables(made.routers[0], *RULES)
    return made


def cables(made: Network) -> list[Device]:
    """Every end of every cable."""
    return [each for net in made.lab.namespaces.values() for each in net.devices.values() if isinstance(each, Veth)]


MACS = sorted({device.mac for net in network().lab.namespaces.values() for device in net.devices.values()})
ADDRS = st.one_of(st.sampled_from(KNOWN), st.sampled_from(KNOWN), addresses())
DMACS = st.sampled_from([*MACS, *MACS, BROADCAST_MAC, b"\1\0\x5e\0\0\1", bytes.fromhex("0180c2000000"), bytes(6)])
SMACS = st.sampled_from([*MACS, b"\2\0\0\0\x99\x99", BROADCAST_MAC, bytes(6)])
GOOD = frames(ADDRS, ADDRS, DMACS, SMACS)
ANY = st.one_of(wild(GOOD), wild(GOOD), wild(GOOD), wild(arps(ADDRS, DMACS)), st.binary(min_size=14, max_size=80))


@st.composite
def pieces(draw: st.DrawFn) -> bytes:
    """Fragments of few datagrams, so that they meet: gaps, overlaps, doubles, ends that disagree."""
    data = bytearray(draw(frames(ADDRS, ADDRS, DMACS, SMACS, options=draw(st.booleans()))))
    offset = draw(st.sampled_from((0, 1, 2, 3, 5, 8190)))
    word = offset | draw(st.sampled_from((0x2000, 0x2000, 0)))
    data[18:22] = (draw(st.integers(1, 2)) << 16 | word).to_bytes(4, "big")
    data[26:34] = bytes((10, 0, 0, 2)) + draw(
        st.sampled_from((bytes((10, 1, 0, 5)), bytes((10, 0, 0, 3)), bytes((10, 0, 0, 1))))
    )
    end = 14 + (data[14] & 15) * 4
    data[24:26] = b"\0\0"
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(14, end, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    data[24:26] = (0xFFFF - total).to_bytes(2, "big")
    return bytes(data)


@given(st.binary(max_size=80))
@examples(200)
def test_parse_reads_anything(data: bytes) -> None:
    frame = Frame.parse(data)
    assert frame.buf == data
    assert frame.proto in range(-1, 256)


def inject(made: Network, sent: list[tuple[int, bytes]], *, gap_s: float = 0.001) -> None:
    """Let bytes come in on interfaces, as if from the cable."""
    ends = cables(made)
    for at, data in sent:
        device = ends[at % len(ends)]
        frame = Frame.parse(data, 1, [] if device.net.tracing else None)
        frame.pkt_type = pkt_type(frame.dmac, device.mac)
        device.net.born += 1
        device.clock.enqueue((device.receive, frame))
        made.lab.run(gap_s)


@given(st.lists(st.tuples(st.integers(0, 30), ANY), min_size=1, max_size=8), st.booleans())
@examples(500)
def test_any_bytes_on_any_interface(sent: list[tuple[int, bytes]], rules: bool) -> None:
    made = network(rules=rules)
    inject(made, sent)
    made.lab.run(40)
    invariants.one_outcome(made.lab)
    invariants.tuples_unique(made.lab)


@given(st.lists(st.tuples(st.sampled_from((0, 1, 2, 3)), pieces()), min_size=1, max_size=8), st.booleans())
@examples(250)
def test_any_pieces_of_datagrams(sent: list[tuple[int, bytes]], rules: bool) -> None:
    made = network(rules=rules)
    inject(made, sent)
    invariants.one_outcome(made.lab)
    made.lab.run(40)
    invariants.one_outcome(made.lab)
    assert sum(map(invariants.waiting, made.lab.namespaces.values())) == 0


@given(st.lists(st.tuples(st.integers(0, 30), ANY), min_size=1, max_size=4))
@examples(60)
def test_what_was_captured_can_be_put_into_words(sent: list[tuple[int, bytes]]) -> None:
    made = network(capture=True)
    inject(made, sent)
    for captured in made.lab.frames():
        assert captured.line()
        assert captured.comment()


@given(st.data())
@examples(200)
def test_answers_with_anything_in_them(data: st.DataObject) -> None:
    """Real flows are under way; bytes of their own frames come again, a little broken."""
    made = network(capture=True)
    host = made.hosts[0]
    datagram, stream = host.sockets.udp(1), host.sockets.tcp(2)
    datagram.connect(("10.96.0.10", 53))
    datagram.send(b"data")
    stream.connect(("10.96.0.10", 80))
    made.lab.run(0.01)
    seen = [frame.data for frame in made.lab.frames() if frame.direction == "in" and len(frame.data) > 42]
    again = wild(st.sampled_from(seen))
    inject(made, data.draw(st.lists(st.tuples(st.integers(0, 30), again), min_size=1, max_size=6)))
    made.lab.run(5)
    invariants.one_outcome(made.lab)


@given(
    st.sampled_from([ip4_text(addr) for addr in KNOWN]),
    st.fixed_dictionaries(
        {"proto": st.sampled_from((0, 1, 6, 17, 47, 132, 255))},
        optional={
            "ihl": st.integers(0, 15),
            "version": st.integers(0, 15),
            "len": st.integers(0, 65535),
            "frag": st.integers(0, 8191),
            "flags": st.integers(0, 7),
            "ttl": st.integers(0, 255),
            "chksum": st.just(1),
            "src": st.sampled_from([ip4_text(addr) for addr in KNOWN]),
            "options": st.binary(max_size=40),
        },
    ),
    st.binary(max_size=60),
    st.sampled_from((0, 4)),
)
@examples(200)
def test_a_users_odd_packets(dst: str, fields: dict[str, Any], data: bytes, sender: int) -> None:
    """Scapy builds them, so they are input; what no socket refuses is a packet, and packets do not raise."""
    made = network()
    net = [*made.hosts, *made.routers][sender]
    options = fields.pop("options", b"")
    packet = IP(dst=dst, **fields)
    if options:
        packet.options = [Raw(options)]
    with suppress(SocketError):
        net.sockets.send_packet(packet / Raw(data))
    made.lab.run(40)
    invariants.one_outcome(made.lab)
