"""Hypothesis strategy: odd packets, as the Scapy expressions of `send` steps: headers with fields that no program writes.

A packet starts out plain, and gets a few odd fields of each of its headers, so that what fails shrinks to the one that
matters. Must not know clusters: addresses and MACs are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

PORT = 4000  # the sender's, so that packets of one sender meet each other's connections
PORTS = (8080, 7, 99, 80, 53, 0, 4000, 8472, 4789, 30000, 30002)
NO_HOST = (
    "0.0.0.0", "127.0.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "10.244.1.255", "10.244.1.0", "192.0.2.1",
    "169.254.9.9", "1.2.3.4",
)  # fmt: skip
NO_MAC = ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "01:80:c2:00:00:00", "02:00:00:00:00:99", "00:00:00:00:00:00")
# The options of an IP header as bytes: NOP, end, record route, timestamps, source routes, router alert, and broken ones
OPTIONS = (
    r"\1\1\1\1", r"\0\0\0\0", r"\7\7\4\0\0\0\0\0", r"\7\13\4\0\0\0\0\0\0\0\0\0", r"\7\7\10\1\2\3\4\0", r"\7\3\4\0", r"\7\47\4\0",
    r"\104\10\5\0\0\0\0\0", r"\104\14\5\1\0\0\0\0\0\0\0\0", r"\104\14\5\3\12\364\1\1\0\0\0\0", r"\104\4\5\0", r"\104\10\11\360\0\0\0\0",
    r"\203\7\4\12\364\1\1\0", r"\211\7\4\12\364\2\2\0", r"\203\7\10\12\364\1\1\0", r"\224\4\0\0", r"\224\4\0\1", r"\202\13\0\0\0\0\0\0\0\0\0\0",
    r"\210\4\0\1", r"\206\6\0\0\0\1\0\0", r"\7\0\0\0", r"\7\1\0\0", r"\377\4\0\0", r"\31\4\0\0", r"\1\1\1\7",
)  # fmt: skip
IP_FIELDS: Mapping[str, Sequence[object]] = {
    "version": (0, 5, 6, 15), "ihl": (0, 4, 6, 15), "tos": (1, 2, 3, 0x10, 0x28, 0xFC, 0xFF), "len": (0, 19, 20, 21, 27, 28, 60, 65535),
    "id": (0, 7, 65535), "flags": ("DF", "MF", "evil", "DF+MF"), "frag": (1, 2, 185, 8191), "ttl": (0, 1, 2, 3, 255),
    "chksum": (0, 1, 0xFFFF),
}  # fmt: skip
TCP_FIELDS: Mapping[str, Sequence[object]] = {
    "flags": ("", "A", "F", "FA", "SA", "R", "RA", "PA", "FSRPAUEC", "SF", "SR", "U", "FPU", "SEC"), "dataofs": (0, 4, 6, 15),
    "reserved": (1, 7), "seq": (0, 8, 9, 0xFFFFFFF0, 0xFFFFFFFF), "ack": (0, 9, 0xFFFFFFFF), "window": (0, 1, 65535), "urgptr": (1, 100),
    "chksum": (0, 1, 0xFFFF),
    "options": (
        [("MSS", 0)], [("MSS", 40)], [("MSS", 65535)], [("WScale", 15)], [("Timestamp", (0, 0))], [("SAckOK", b"")], [("NOP", None)],
        [("SAck", (1, 2))], [(30, b"ab")], [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("WScale", 7)],
    ),
}  # fmt: skip
UDP_FIELDS: Mapping[str, Sequence[object]] = {"len": (0, 7, 8, 9, 200, 65535), "chksum": (0, 1, 0xFFFF)}
ICMP_FIELDS: Mapping[str, Sequence[object]] = {"chksum": (0, 1, 0xFFFF), "code": (1, 2, 3, 4, 5, 9, 13, 15, 16, 255)}
ERRORS: Mapping[int, tuple[str, Sequence[object]]] = {
    3: ("nexthopmtu", (0, 67, 68, 552, 1000, 1400, 65535)),
    4: ("unused", (0,)),
    5: ("gw", ("10.244.1.1", "10.244.1.3", "192.168.50.1", "0.0.0.0")),
    11: ("unused", (0,)),
    12: ("ptr", (0, 20, 255)),
}
# Of protocols for which Scapy has no layer here: IGMP, IPIP, EGP, DCCP, ESP, AH, SCTP, PIM, VRRP, UDP-Lite, without end ...
BARE = (0, 2, 3, 4, 6, 17, 33, 41, 46, 47, 50, 51, 58, 89, 94, 103, 108, 112, 132, 136, 137, 253)
BODIES = (
    "",
    "abcd",
    "abcdefgh",
    "abcdefghijkl",
    r"\21\0\356\377\0\0\0\0",
    r"\17\240\0\7\0\10\0\0",
    "abcdefghijklmnopqrstuvwxyz" * 2,
)


def _fields(draw: st.DrawFn, fields: Mapping[str, Sequence[object]], most: int, **plain: object) -> str:
    """The keywords of a layer: `plain`, with up to `most` of `fields` in their place or beside them."""
    names = draw(st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=most))
    values = {**plain, **{name: draw(st.sampled_from(fields[name])) for name in names}}
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _header(draw: st.DrawFn, addresses: tuple[str, ...], most: int = 2, **plain: object) -> str:
    """An IP layer to one of `addresses`, or to none that a host has; the source may be another's."""
    if draw(st.integers(0, 3)) == 3:
        plain["src"] = draw(st.sampled_from((*addresses, *NO_HOST)))
    plain["dst"] = draw(st.sampled_from((*addresses * 3, *NO_HOST)))
    words = _fields(draw, IP_FIELDS, most, **plain)
    if draw(st.integers(0, 5)) == 5:
        words += f", options=b'{draw(st.sampled_from(OPTIONS))}'"
    return f"IP({words})"


def _ports(draw: st.DrawFn) -> dict[str, object]:
    return {"sport": draw(st.sampled_from((PORT, PORT, 7, 0))), "dport": draw(st.sampled_from(PORTS))}


def _transport(draw: st.DrawFn, most: int = 2) -> str:
    """A TCP segment, a datagram, or an echo request."""
    kind = draw(st.sampled_from(("udp", "tcp", "icmp")))
    if kind == "udp":
        layer = f"UDP({_fields(draw, UDP_FIELDS, min(most, 1), **_ports(draw))})"
    elif kind == "tcp":
        layer = f"TCP({_fields(draw, TCP_FIELDS, most, **_ports(draw), flags='S', seq=7)})"
    else:
        kinds = st.sampled_from((8, 8, 0, 13, 14, 15, 17, 10, 9, 30, 42, 43, 255))
        layer = f"ICMP({_fields(draw, ICMP_FIELDS, min(most, 1), type=draw(kinds), id=9, seq=1)})"
    body = draw(st.sampled_from(("", "", "x", "abcdefgh", "y" * 40)))
    return f"{layer}/'{body}'" if body else layer


def _error(draw: st.DrawFn, addresses: tuple[str, ...]) -> str:
    """An ICMP error, with the packet that it is about: whole, cut short, or nonsense."""
    kind = draw(st.sampled_from(sorted(ERRORS)))
    name, values = ERRORS[kind]
    plain = {
        "type": kind,
        "code": draw(st.sampled_from((0, 0, 1, 2, 3, 4, 4, 13, 16))),
        name: draw(st.sampled_from(values)),
    }
    head = f"ICMP({_fields(draw, {'chksum': (0, 1)}, draw(st.integers(0, 1)), **plain)})"
    if draw(st.integers(0, 5)) == 5:
        return f"{head}/'{draw(st.sampled_from(BODIES))}'"
    source, target = (draw(st.sampled_from(addresses)) for _ in range(2))
    quoted = _fields(draw, IP_FIELDS, 1, src=source, dst=target)
    return f"{head}/IP({quoted})/{_transport(draw, 1)}"


def _tunnel(draw: st.DrawFn, addresses: tuple[str, ...]) -> str:
    """A packet in a packet: IPIP, GRE, VXLAN."""
    kind = draw(st.sampled_from(("ipip", "gre", "vxlan")))
    inner = f"{_header(draw, addresses, 1)}/{_transport(draw, 1)}"
    if kind == "ipip":
        return inner
    if kind == "gre":
        return f"GRE({_fields(draw, {'version': (1, 2), 'chksum_present': (1,), 'key_present': (1,), 'proto': (0, 0x880B)}, 2)})/{inner}"
    port, vni, flags = (
        draw(st.sampled_from(each)) for each in ((8472, 4789), (1, 4096, 0, 7), ("'Instance'", "0", "0xFF"))
    )
    macs = f"src='02:00:00:00:00:98', dst='{draw(st.sampled_from(NO_MAC))}'"
    return f"UDP(sport={PORT}, dport={port}, chksum=0)/VXLAN(vni={vni}, flags={flags})/Ether({macs})/{inner}"


def _sctp(draw: st.DrawFn) -> str:
    chunks = (
        "SCTPChunkInit()",
        "SCTPChunkData(data='abcd')",
        "SCTPChunkAbort()",
        "SCTPChunkShutdown()",
        "SCTPChunkCookieEcho()",
    )
    fields = _fields(draw, {"chksum": (0, 1), "tag": (0, 1)}, 1, **_ports(draw))
    return f"SCTP({fields})/{draw(st.sampled_from(chunks))}"


def _ip(draw: st.DrawFn, addresses: tuple[str, ...]) -> str:
    kind = draw(st.sampled_from(("plain", "plain", "plain", "error", "error", "tunnel", "sctp", "bare", "bare")))
    if kind == "bare":
        header = _header(draw, addresses, 1, proto=draw(st.sampled_from(BARE)))
        body = draw(st.sampled_from(BODIES))
        return f"{header}/b'{body}'" if body else header
    header = _header(draw, addresses)
    if kind == "error":
        return f"{header}/{_error(draw, addresses)}"
    if kind == "tunnel":
        return f"{header}/{_tunnel(draw, addresses)}"
    return f"{header}/{_sctp(draw) if kind == 'sctp' else _transport(draw)}"


def _frame(draw: st.DrawFn, addresses: tuple[str, ...], macs: tuple[str, ...]) -> str:
    """An Ethernet frame: IP as above, ARP, a VLAN's, spanning tree, or of a type that no one takes."""
    ether = f"dst='{draw(st.sampled_from((*macs * 2, *NO_MAC)))}'"
    if draw(st.integers(0, 5)) == 5:
        ether += f", src='{draw(st.sampled_from((*macs, *NO_MAC)))}'"
    kind = draw(st.sampled_from(("ip", "ip", "ip", "arp", "arp", "vlan", "stp", "type")))
    if kind == "arp":
        words = _fields(
            draw, {"hwtype": (6, 0), "hwlen": (0, 7), "hwsrc": (*macs, *NO_MAC), "hwdst": (*macs, *NO_MAC)}, 1,
            op=draw(st.sampled_from((1, 1, 1, 2, 2, 0, 3, 8))),
            psrc=draw(st.sampled_from((*addresses, *NO_HOST))), pdst=draw(st.sampled_from((*addresses * 2, *NO_HOST))),
        )  # fmt: skip
        return f"Ether({ether})/ARP({words})"
    if kind == "vlan":
        return f"Ether({ether})/Dot1Q(vlan={draw(st.sampled_from((0, 1, 5, 4095)))})/{_ip(draw, addresses)}"
    if kind == "stp":
        return f"Dot3({ether})/LLC()/STP()"
    if kind == "type":
        number = draw(st.sampled_from((0x0800, 0x0806, 0x86DD, 0x88CC, 0x8847, 0x9000, 0x0060, 0x0600, 0xFFFF)))
        return f"Ether({ether}, type={number})/b'{draw(st.sampled_from(BODIES))}'"
    return f"Ether({ether})/{_ip(draw, addresses)}"


@st.composite
def odd_packets(draw: st.DrawFn, addresses: tuple[str, ...], macs: tuple[str, ...]) -> str:
    """The Scapy expression of one odd packet: an IPv4 packet, or an Ethernet frame. `addresses` and `macs` are some that hosts have."""
    return _frame(draw, addresses, macs) if draw(st.integers(0, 3)) == 3 else _ip(draw, addresses)


@st.composite
def odd_segments(draw: st.DrawFn, address: str, port: int) -> str:
    """The Scapy expression of a segment that a connection from `PORT` gets besides its own."""
    # with ACK or RST, conntrack's verdict would depend on how far the connection's own number, which is drawn, is away
    others = {name: values for name, values in TCP_FIELDS.items() if name not in ("flags", "seq")}
    fields = _fields(draw, others, 2, sport=PORT, dport=port, flags=draw(st.sampled_from(("S", "S", ""))), seq=7)
    body = draw(st.sampled_from(("", "x", "abcdefgh")))
    return f"IP(dst='{address}')/TCP({fields})" + (f"/'{body}'" if body else "")
