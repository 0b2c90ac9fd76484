"""Live frames: cached fields equal the bytes and every checksum holds after any rewrites; what is stamped from a
template is what Scapy builds. Scapy, which shares no code with `wire`, is the judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scapy.layers.inet import ICMP, IP, TCP, UDP, in4_chksum
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum as sum_of

from emu.testing.strategies import ANY_ADDRESS, ANY_MAC, examples, frames
from emu.wire import arp, icmp, tcp, templates, udp
from emu.wire import frame as wire
from emu.wire.addr import ZERO_MAC, ip4_text, mac_text
from emu.wire.checksum import adjust, checksum, ones_sum
from emu.wire.frame import Frame
from emu.wire.rewrite import (
    clear_tcp_flags,
    decrease_ttl,
    insert_mss,
    insert_options,
    replace,
    set_destination,
    set_dmac,
    set_ethernet,
    set_payload,
    set_smac,
    set_source,
    set_tos,
    set_ttl,
    strip_options,
    trim,
)

WORD, LONG, BYTE = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 255)
DATA = st.binary(max_size=60)
CACHED = (
    "dmac",
    "smac",
    "ethertype",
    "family",
    "proto",
    "tot_len",
    "ttl",
    "frag",
    "src",
    "dst",
    "sport",
    "dport",
    "l4",
)
CHECK_AT = {wire.UDP: 6, wire.TCP: 16, wire.ICMP: 2}


def recomputed(data: bytes) -> bytes:
    """The frame with every checksum made by Scapy's functions (a UDP checksum of 0 means none and is kept).

    Over the bytes as they are: building a packet anew, Scapy would write its own reading of the TCP options.
    """
    l4, proto = 14 + (data[14] & 15) * 4, data[23]
    header = data[14:24] + b"\0\0" + data[26:l4]
    made: bytes = data[:24] + sum_of(header).to_bytes(2, "big") + data[26:]
    at = l4 + CHECK_AT.get(proto, 0)
    if at == l4 or (proto == wire.UDP and not any(data[at : at + 2])):
        return made
    upper = made[l4:at] + b"\0\0" + made[at + 2 :]
    if not any(upper):
        return made  # of all zeros: 0 and 0xFFFF are the same sum, and an incremental update cannot distinguish them (RFC 1624)
    value = sum_of(upper) if proto == wire.ICMP else in4_chksum(proto, IP(data[14:l4]), upper)
    whole: bytes = made[:at] + (value or 0xFFFF * (proto == wire.UDP)).to_bytes(2, "big") + made[at + 2 :]
    return whole


class Rewrites(RuleBasedStateMachine):
    """One frame, rewritten by everything that `rewrite` has."""

    @initialize(data=frames())
    def born(self, data: bytes) -> None:
        self.frame = Frame.parse(data)
        if self.frame.proto == wire.TCP and not self.frame.frag:
            self.frame.plain = tcp.plain_of(self.frame)  # as a host does that built it

    def keeps_ports(self) -> bool:
        """Protocols without ports, and ICMP errors without an id, keep what they have."""
        frame = self.frame
        return frame.proto not in (wire.TCP, wire.UDP, wire.SCTP) and not (
            frame.proto == wire.ICMP and frame.dport >> 8 in wire.ICMP_QUERY and len(frame.buf) >= frame.l4 + 8
        )

    @rule(addr=ANY_ADDRESS, port=WORD)
    def source(self, addr: int, port: int) -> None:
        set_source(self.frame, addr, self.frame.sport if self.keeps_ports() else port)

    @rule(addr=ANY_ADDRESS, port=WORD)
    def destination(self, addr: int, port: int) -> None:
        set_destination(self.frame, addr, self.frame.dport if self.keeps_ports() else port)

    @precondition(lambda self: self.frame.ttl > 0)
    @rule()
    def ttl(self) -> None:
        before = self.frame.ttl
        decrease_ttl(self.frame)
        assert self.frame.ttl == before - 1

    @rule(tos=BYTE, ttl=BYTE)
    def header(self, tos: int, ttl: int) -> None:
        set_tos(self.frame, tos)
        set_ttl(self.frame, ttl)
        assert (self.frame.tos, self.frame.ttl) == (tos, ttl)

    @rule(mac=ANY_MAC, other=ANY_MAC, both=st.booleans())
    def ethernet(self, mac: bytes, other: bytes, both: bool) -> None:
        if both:
            set_ethernet(self.frame, mac + other + b"\x08\0", mac, other)
        else:
            set_dmac(self.frame, mac)
            set_smac(self.frame, other)

    @rule(data=frames())
    def other_bytes(self, data: bytes) -> None:
        replace(self.frame, data)

    @rule(data=frames())
    def other_packet(self, data: bytes) -> None:
        """Overwritten in place, from the Ethernet header on: what is longer stays behind as padding, so cut it."""
        if len(data) == len(self.frame.buf):
            set_payload(self.frame, 0, data)

    @rule()
    def copied(self) -> None:
        copy = self.frame.clone()
        set_smac(self.frame, b"\2\2\2\2\2\2")  # the copy has bytes of its own
        self.frame = copy

    @invariant()
    def the_cache_is_the_bytes(self) -> None:
        if hasattr(self, "frame"):
            again = Frame.parse(self.frame.buf)
            assert {name: getattr(self.frame, name) for name in CACHED} == {n: getattr(again, n) for n in CACHED}
            assert self.frame.plain is None or self.frame.plain == tcp.plain_of(again)

    @invariant()
    def checksums_are_what_scapy_computes(self) -> None:
        if hasattr(self, "frame") and self.frame.proto != wire.SCTP:
            assert bytes(self.frame.buf) == recomputed(bytes(self.frame.buf))


TestRewrites = Rewrites.TestCase
TestRewrites.settings = examples(300, stateful_step_count=12)


@given(st.binary(min_size=2, max_size=80).filter(any), st.data())
@examples(200)
def test_incremental_is_the_whole_checksum(data: bytes, draw: st.DataObject) -> None:
    """A field changes; the mended checksum and the one made anew verify alike (0 and 0xFFFF are the same sum)."""
    data = data[: len(data) & ~1]
    size = draw.draw(st.sampled_from([each for each in (2, 4) if each <= len(data)]))
    at = 2 * draw.draw(st.integers(0, (len(data) - size) // 2))
    new = draw.draw(st.binary(min_size=size, max_size=size))
    after = data[:at] + new + data[at + size :]
    if any(data) and any(after):
        mended = adjust(checksum(data), int.from_bytes(data[at : at + size]), int.from_bytes(new))
        assert mended == checksum(after)
        assert ones_sum(after + mended.to_bytes(2, "big")) == 0


CHANGES: tuple[Callable[[Frame], None], ...] = (
    lambda frame: clear_tcp_flags(frame, tcp.PSH | tcp.ECE),
    lambda frame: strip_options(frame, frozenset({8})),
    lambda frame: trim(frame, len(frame.buf)),
    lambda frame: insert_options(frame, bytes(4)),
    lambda frame: insert_mss(frame, 1000),
    lambda frame: set_source(frame, 1, 2),
)
NUMBERS: dict[str, st.SearchStrategy[Any]] = {"ident": WORD, "ttl": BYTE, "tos": BYTE}
REST: dict[str, Any] = {"flow": 0, "trail": None}


def head(src: int, dst: int, ident: int, ttl: int, tos: int, flags: str) -> Packet:
    packet: Packet = Ether(dst="00:00:00:00:00:00", src="00:00:00:00:00:00", type=0x0800)
    return packet / IP(src=ip4_text(src), dst=ip4_text(dst), id=ident, ttl=ttl, tos=tos, flags=flags)


def same(made: Frame, packet: Packet) -> None:
    assert bytes(made.buf) == bytes(packet)
    again = Frame.parse(made.buf)
    assert {name: getattr(made, name) for name in CACHED} == {name: getattr(again, name) for name in CACHED}


@given(ANY_ADDRESS, ANY_ADDRESS, WORD, WORD, DATA, st.fixed_dictionaries(NUMBERS), st.booleans())
@examples(150)
def test_stamped_udp(src: int, dst: int, sport: int, dport: int, data: bytes, n: dict[str, Any], df: bool) -> None:
    made = udp.build(templates.UDP, src, dst, sport, dport, data, frag=wire.IP_DF if df else 0, **n, **REST)
    same(made, head(src, dst, **n, flags="DF" if df else "") / UDP(sport=sport, dport=dport) / data)
    assert udp.checksum_ok(made)


@given(
    ANY_ADDRESS, ANY_ADDRESS, WORD, WORD, DATA, st.fixed_dictionaries(NUMBERS),
    st.fixed_dictionaries({"seq": LONG, "ack": LONG, "flags": BYTE, "window": WORD}), st.integers(0, 10), st.data(),
)  # fmt: skip
@examples(150)
def test_stamped_tcp(
    src: int,
    dst: int,
    sport: int,
    dport: int,
    data: bytes,
    n: dict[str, Any],
    t: dict[str, Any],
    words: int,
    draw: st.DataObject,
) -> None:
    options = draw.draw(st.binary(min_size=4 * words, max_size=4 * words))
    made = tcp.build(templates.TCP, src, dst, sport, dport, options=options, payload=data, **t, **n, **REST)
    # options as they are: Scapy would write its own reading of them
    fields = {name: t[name] for name in ("seq", "ack", "flags", "window")}
    upper = TCP(sport=sport, dport=dport, dataofs=5 + words, **fields)
    packet = head(src, dst, **n, flags="DF") / upper / Raw(options + data)
    same(made, packet)
    assert tcp.checksum_ok(made)


@given(
    ANY_ADDRESS, ANY_ADDRESS, WORD, WORD, DATA, st.fixed_dictionaries(NUMBERS), st.tuples(LONG, LONG, BYTE, WORD),
    st.none() | st.tuples(LONG, LONG), st.sampled_from(CHANGES),
)  # fmt: skip
@examples(150)
def test_a_plain_segment_is_the_one_with_its_options(
    src: int,
    dst: int,
    sport: int,
    dport: int,
    data: bytes,
    n: dict[str, Any],
    t: tuple[int, int, int, int],
    ts: tuple[int, int] | None,
    change: Callable[[Frame], None],
) -> None:
    seq, ack, flags, window = t
    options = b"" if ts is None else tcp.TIMESTAMP_ONLY + ts[0].to_bytes(4, "big") + ts[1].to_bytes(4, "big")
    plain = (seq, ack, flags, window, data, ts)
    made = tcp.build_plain(templates.TCP, src, dst, sport, dport, plain, **n, flow=0, trail=None, frag=wire.IP_DF)
    whole = tcp.build(
        templates.TCP, src, dst, sport, dport, seq=seq, ack=ack, flags=flags, window=window, options=options, payload=data,
        **n, **REST,
    )  # fmt: skip
    assert bytes(made.buf) == bytes(whole.buf)
    assert made.plain == plain == tcp.plain_of(whole)
    change(made)
    assert made.plain in (None, tcp.plain_of(Frame.parse(made.buf)))


@given(
    st.sampled_from(("echo_request", "echo_reply")),
    ANY_ADDRESS,
    ANY_ADDRESS,
    WORD,
    WORD,
    DATA,
    st.fixed_dictionaries(NUMBERS),
)
@examples(150)
def test_stamped_echo(name: str, src: int, dst: int, ident: int, seq: int, data: bytes, n: dict[str, Any]) -> None:
    kind, df = (icmp.ECHO, True) if name == "echo_request" else (icmp.ECHO_REPLY, False)
    frag = wire.IP_DF if df else 0
    template = templates.ECHO_REQUEST if df else templates.ECHO_REPLY
    made = icmp.build(template, src, dst, kind, 0, ident << 16 | seq, data, frag=frag, **n, **REST)
    zeros = not df and not ident | seq and not any(data)  # Linux writes the sum of zeros so that no receiver takes it
    wanted = ICMP(type=kind, id=ident, seq=seq, **({"chksum": 0} if zeros else {}))
    same(made, head(src, dst, **n, flags="DF" if df else "") / wanted / data)
    assert made.valid is icmp.checksum_ok(made) is not zeros


@given(
    ANY_ADDRESS, ANY_ADDRESS, st.sampled_from(((3, 0), (3, 1), (3, 3), (3, 13), (11, 0), (11, 1))), frames(),
    st.fixed_dictionaries(NUMBERS),
)  # fmt: skip
@examples(150)
def test_stamped_icmp_error(src: int, dst: int, what: tuple[int, int], about: bytes, n: dict[str, Any]) -> None:
    kind, code = what
    made = icmp.build(templates.ICMP_ERROR, src, dst, kind, code, 0, about[14:], frag=0, **n, **REST)
    same(made, head(src, dst, **n, flags="") / ICMP(type=kind, code=code) / about[14:])
    assert icmp.checksum_ok(made)


@given(ANY_ADDRESS, ANY_ADDRESS, st.integers(68, 0xFFFF), frames(), st.fixed_dictionaries(NUMBERS))
@examples(50)
def test_stamped_fragmentation_needed(src: int, dst: int, mtu: int, about: bytes, n: dict[str, Any]) -> None:
    made = icmp.build(templates.ICMP_ERROR, src, dst, 3, 4, mtu, about[14:42], frag=0, **n, **REST)
    same(made, head(src, dst, **n, flags="") / ICMP(type=3, code=4, nexthopmtu=mtu) / about[14:42])


@given(st.sampled_from((1, 2)), ANY_MAC, ANY_MAC, ANY_ADDRESS, st.one_of(ANY_MAC, st.just(ZERO_MAC)), ANY_ADDRESS)
@examples(100)
def test_stamped_arp(op: int, dmac: bytes, smac: bytes, spa: int, tha: bytes, tpa: int) -> None:
    template = templates.ARP_REQUEST if op == arp.REQUEST else templates.ARP_REPLY
    made = arp.build(template, dmac, smac, spa, tha, tpa, 0, None)
    who = {"hwsrc": mac_text(smac), "psrc": ip4_text(spa), "hwdst": mac_text(tha), "pdst": ip4_text(tpa)}
    same(made, Ether(dst=mac_text(dmac), src=mac_text(smac), type=0x0806) / ARP(op=op, **who))
    assert arp.parse(made) == arp.Arp(op, smac, spa, tha, tpa)
