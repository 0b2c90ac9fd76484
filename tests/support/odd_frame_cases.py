"""The odd frames: packets with options, unusual TOS, padding, odd addresses, odd ICMP messages and odd pieces.

Plain struct code, so that a packet may be as broken as a case needs it. Without words this file records all cases;
see `odd_frames.py`.
"""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping

from emu.twin.normalise import checksum
from odd_frames import CLIENT, POD, Case, Setup, write

NAT = """*nat
-A PREROUTING -d 10.0.9.9/32 -p udp -m udp --dport 80 -j DNAT --to-destination 10.0.2.2:8080
-A PREROUTING -d 10.0.9.9/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.2.2:8080
-A POSTROUTING -o eth1 -j MASQUERADE
COMMIT
*filter
-A FORWARD -m conntrack --ctstate INVALID
COMMIT
"""
REJECTS = (
    "net-unreachable", "host-unreachable", "proto-unreachable", "port-unreachable", "net-prohibited",
    "host-prohibited", "admin-prohibited",
)  # fmt: skip
REJECT = (
    "*filter\n"
    + "".join(
        f"-A {chain} -p udp -m udp --dport {2000 + number} -j REJECT --reject-with icmp-{name}\n"
        for number, name in enumerate(REJECTS)
        for chain in ("FORWARD", "INPUT")
    )
    + "".join(
        f"-A {chain} -p {proto} -j REJECT --reject-with icmp-port-unreachable\n"
        for chain in ("FORWARD", "INPUT")
        for proto in (99, "udplite")
    )
    + "-A FORWARD -p tcp -m tcp --dport 2100 -j REJECT --reject-with tcp-reset\n"
    + "-A INPUT -p tcp -m tcp --dport 2100 -j REJECT --reject-with tcp-reset\n"
    + "COMMIT\n"
)
TRACKED = "*filter\n-A FORWARD -m conntrack --ctstate INVALID\nCOMMIT\n"
SOURCE_ROUTE = {
    "net.ipv4.conf.all.accept_source_route": "1",
    "net.ipv4.conf.default.accept_source_route": "1",
}
SETUPS = {
    "routed": Setup(rules=NAT),
    "bridge": Setup(bridge=True, rules=NAT),
    "narrow": Setup(
        mtu=500,
        routes=("unreachable 10.9.1.0/24", "prohibit 10.9.2.0/24", "10.8.0.0/16 via 10.0.2.2"),
        sysctls={"net.ipv4.ipfrag_time": "1"},
    ),
    "tracked": Setup(mtu=500, rules=TRACKED),
    "rejecting": Setup(rules=REJECT),
    "rejecting-bridge": Setup(bridge=True, rules=REJECT),
    "redirecting": Setup(
        sysctls={"net.ipv4.conf.all.send_redirects": "1"},
        routes=("10.7.0.0/16 via 10.0.1.3",),
    ),
    "source-route": Setup(routes=("10.8.0.0/16 via 10.0.2.2",), sysctls=SOURCE_ROUTE),
}
TOSES = (0, 0x10, 0x28, 0xB8, 0xFF)
DF, MF = 0x4000, 0x2000
ME, ROUTER, SERVER, OTHER = "10.0.1.2", "10.0.1.1", "10.0.2.2", "10.0.1.3"


def packet(
    dst: str, proto: int, body: bytes, *, src: str = ME, options: bytes = b"", tos: int = 0, ttl: int = 64, word: int = DF,
    ident: int = 7,
) -> bytes:  # fmt: skip
    """An IPv4 packet; `word` is DF, MF and the offset in units of 8."""
    head = 20 + len(options)
    header = bytearray(
        struct.pack("!BBHHHBBH", 0x40 | head // 4, tos, head + len(body), ident, word, ttl, proto, 0)
        + socket.inet_aton(src)
        + socket.inet_aton(dst)
        + options
    )
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + body


def transport(proto: int, body: bytes, at: int, src: str, dst: str, length: int) -> bytes:
    """`body` with its checksum at `at`, over `length` bytes."""
    pseudo = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!BBH", 0, proto, length)
    return body[:at] + checksum(pseudo + body[:length]).to_bytes(2, "big") + body[at + 2 :]


def udp(
    dst: str = SERVER, port: int = 53, data: bytes = b"hello-emu", *, length: int = 0, src: str = ME, **k: object
) -> bytes:
    """A datagram; `length` (0: what is right) is its own length field."""
    length = length or 8 + len(data)
    body = transport(17, struct.pack("!HHHH", 5000 + port % 1000, port, length, 0) + data, 6, src, dst, length)
    return packet(dst, 17, body, src=src, **k)  # type: ignore[arg-type]


def tcp(
    dst: str = SERVER, port: int = 22, flags: int = 2, data: bytes = b"", *, words: int = 5, src: str = ME, **k: object
) -> bytes:
    """A segment; `words` is the length of its header in units of 4 bytes, `data` follows the first five."""
    ack = 0x01020304 if flags & 16 else 0
    body = struct.pack("!HHIIBBHHH", 5002, port, 1000, ack, words << 4, flags, 1000, 0, 0) + data
    return packet(dst, 6, transport(6, body, 16, src, dst, len(body)), src=src, **k)  # type: ignore[arg-type]


def icmp(
    dst: str = ROUTER, kind: int = 8, code: int = 0, rest: int = 0x70001, data: bytes = bytes(40), **k: object
) -> bytes:
    body = bytearray(struct.pack("!BBHI", kind, code, 0, rest) + data)
    body[2:4] = checksum(bytes(body)).to_bytes(2, "big")
    return packet(dst, 1, bytes(body), **k)  # type: ignore[arg-type]


def igmp(kind: int, dst: str = ROUTER) -> bytes:
    body = bytearray((kind, 100, 0, 0, 0, 0, 0, 0))
    body[2:4] = checksum(bytes(body)).to_bytes(2, "big")
    return packet(dst, 2, bytes(body))


def record_route(slots: int, pointer: int = 4, filled: bytes = b"") -> bytes:
    return padded(bytes((7, 3 + 4 * slots, pointer)) + filled + bytes(4 * slots - len(filled)))


def timestamp(kind: int, size: int, pointer: int = 5, values: bytes = b"", overflow: int = 0) -> bytes:
    return padded(bytes((68, size, pointer, overflow << 4 | kind)) + values + bytes(size - 4 - len(values)))


def source_route(kind: int, *hops: str, pointer: int = 4) -> bytes:
    return padded(bytes((kind, 3 + 4 * len(hops), pointer)) + b"".join(map(socket.inet_aton, hops)))


def padded(options: bytes) -> bytes:
    return options + b"\1" * (-len(options) % 4)


LSRR, SSRR, SECURITY, STREAM, CIPSO, ALERT = 131, 137, 130, 136, 134, bytes((148, 4, 0, 0))
BROKEN = {
    "length 0": b"\7\0\0\0",
    "length 1": b"\7\1\0\0",
    "longer than the header": b"\7\x28\4\1",
    "no length": b"\1\1\1\7",
    "record route without a pointer": b"\7\2\1\1",
    "record route, pointer 3": b"\7\7\3" + bytes(5),
    "record route, half an address": b"\7\6\4" + bytes(5),
    "record route, pointer in an address": b"\7\x0b\x0a" + bytes(9),
    "record route twice": record_route(1) + record_route(1),
    "record route, then broken": record_route(2) + b"\7\0\0\0",
    "timestamp of 3 bytes": b"\x44\3\5\1",
    "timestamp, pointer 4": b"\x44\x08\4\0" + bytes(4),
    "timestamp, half a time": b"\x44\6\5\0" + bytes(4),
    "timestamp with address, no room for the time": b"\x44\x08\5\1" + bytes(4),
    "timestamp prespecified, no room for the time": b"\x44\x08\5\3" + bytes(4),
    "timestamp twice": timestamp(0, 8) + timestamp(0, 8),
    "timestamp, overflow full": timestamp(0, 8, 9, overflow=15),
    "source route without a pointer": bytes((LSRR, 2, 1, 1)),
    "source route, pointer 3": bytes((LSRR, 7, 3)) + bytes(5),
    "source route twice": source_route(LSRR, SERVER) + source_route(SSRR, SERVER),
    "router alert of 3 bytes": bytes((148, 3, 0, 0)),
    "CIPSO": bytes((CIPSO, 8, 0, 0, 0, 1, 1, 2)),
    "CIPSO of 6 bytes": bytes((CIPSO, 6, 0, 0, 0, 1, 1, 1)),
}
SOUND = {
    "record route, 1 place": record_route(1),
    "record route, 2 places": record_route(2),
    "record route, 5 places": record_route(5),
    "record route, 9 places": record_route(9),
    "record route, one used": record_route(3, 8, bytes((1, 2, 3, 4))),
    "record route, full": record_route(1, 8, bytes((1, 2, 3, 4))),
    "record route behind padding": b"\1\1\1" + record_route(2),
    "timestamp, 1 place": timestamp(0, 8),
    "timestamp, 2 places": timestamp(0, 12),
    "timestamp, 4 places": timestamp(0, 20),
    "timestamp, full": timestamp(0, 8, 9),
    "timestamp with address, 1 place": timestamp(1, 12),
    "timestamp with address, 3 places": timestamp(1, 28),
    "timestamp prespecified, the router": timestamp(3, 12, 5, socket.inet_aton(ROUTER)),
    "timestamp prespecified, the router and the server": timestamp(
        3, 20, 5, socket.inet_aton(ROUTER) + bytes(4) + socket.inet_aton(SERVER)
    ),
    "timestamp prespecified, another host": timestamp(3, 12, 5, socket.inet_aton("10.0.2.9")),
    "timestamp prespecified, full": timestamp(3, 12, 13, socket.inet_aton(ROUTER)),
    "timestamp of no kind": timestamp(7, 12),
    "both": record_route(2) + timestamp(0, 12),
    "both, timestamp first": timestamp(1, 20) + record_route(2),
    "router alert": ALERT,
    "security and stream": bytes((SECURITY, 3, 1, STREAM, 4, 0, 1, 1)),
    "unknown": bytes((94, 4, 1, 2)),
    "no operation": b"\1\1\1\1",
    "end, then bytes": b"\0\7\7\4",
}
FEW = (
    {label: SOUND[label] for label in ("record route, 2 places", "timestamp with address, 3 places", "router alert")},
    {label: BROKEN[label] for label in ("length 0", "longer than the header")},
)
SOURCE_ROUTED = {
    "loose, of the router": (ROUTER, source_route(LSRR, SERVER)),
    "loose, of the router, 2 hops": (ROUTER, source_route(LSRR, SERVER, "10.0.2.9")),
    "loose, by the router's other address": (ROUTER, source_route(LSRR, "10.0.2.1", SERVER)),
    "loose, used up": (ROUTER, source_route(LSRR, SERVER, pointer=8)),
    "loose, used up, 2 hops": (ROUTER, source_route(LSRR, "10.0.1.9", SERVER, pointer=12)),
    "loose, half an address left": (ROUTER, bytes((LSRR, 7, 5)) + socket.inet_aton(SERVER) + b"\0"),
    "loose, of another host": (SERVER, source_route(LSRR, "10.0.2.9")),
    "loose, to nowhere": (ROUTER, source_route(LSRR, "10.9.0.1")),
    "loose, behind a gateway": (ROUTER, source_route(LSRR, "10.8.0.1")),
    "strict, of the router": (ROUTER, source_route(SSRR, SERVER)),
    "strict, of another host": (SERVER, source_route(SSRR, "10.0.2.9")),
    "strict, of another host, used up at the router": (SERVER, source_route(SSRR, ROUTER, pointer=8)),
    "strict, of another host, used up at 0.0.0.0": (SERVER, source_route(SSRR, "0.0.0.0", pointer=8)),
    "loose, used up at 127.0.0.1": (ROUTER, source_route(LSRR, SERVER, "127.0.0.1", pointer=12)),
    "strict, behind a gateway": (ROUTER, source_route(SSRR, "10.8.0.1")),
    "loose, with record route": (ROUTER, source_route(LSRR, SERVER) + record_route(2)),
    "loose, with timestamp and address": (ROUTER, source_route(LSRR, SERVER) + timestamp(1, 20)),
    "loose of another host, with timestamp and address": (SERVER, source_route(LSRR, "10.0.2.9") + timestamp(1, 20)),
}


def pieces(whole: bytes, *sizes: int, df: bool = False) -> list[bytes]:
    """The packet in pieces of so many bytes of payload; the last takes the rest. Each has all options."""
    head = (whole[0] & 15) * 4
    payload, made, start = whole[head:], [], 0
    for size in (*sizes, len(whole)):
        part = payload[start : start + size]
        more = start + size < len(payload)
        made.append(
            packet(
                socket.inet_ntoa(whole[16:20]), whole[9], part, options=whole[20:head], tos=whole[1], ttl=whole[8],
                word=(DF if df else 0) | (MF if more else 0) | start // 8, src=socket.inet_ntoa(whole[12:16]),
            )
        )  # fmt: skip
        start += size
        if not more:
            break
    return made


def cases() -> Iterator[Case]:
    for name in ("routed", "bridge"):
        yield from _one(name, everyday())
        yield from _one(name, answered())
    yield from _one("routed", options(SERVER, SOUND, BROKEN), " to the server")
    yield from _one("narrow", options(ROUTER, SOUND, BROKEN), " to the router")
    yield from _one("bridge", options(SERVER, *FEW), " to the server")
    yield from _one("bridge", options(ROUTER, *FEW), " to the router")
    yield from _one("bridge", bridged())
    yield from _one("narrow", errors())
    yield from _one("rejecting", rejected(SERVER), " forwarded")
    yield from _one("rejecting", rejected(ROUTER), " local")
    yield from _one("rejecting-bridge", rejected(OTHER), " bridged")
    yield from _one("redirecting", redirected())
    yield from _one("source-route", source_routed())
    yield from _one("routed", {"loose source route": [udp(options=source_route(LSRR, SERVER))]})
    yield from _one("narrow", cut(), " in pieces")
    yield from _one("tracked", cut(), " in pieces")
    yield from _one("tracked", short(), "")
    yield from _one("routed", short(), " with NAT")
    yield from _one("bridge", short(OTHER), " bridged")
    yield Case("narrow", "no one has the address", tuple(map(_frame("narrow"), absent())), 3.3)
    yield Case("narrow", "a piece is missing, with options", tuple(map(_frame("narrow"), lost())), 1.3)


def _one(setup: str, table: Mapping[str, list[bytes]], more: str = "") -> Iterator[Case]:
    frame = _frame(setup)
    for number, (label, packets) in enumerate(table.items(), zlib.crc32(more.encode()) & 0x7F00 | 1):
        yield Case(setup, label + more, tuple(frame(identified(each, number)) for each in packets))


def identified(data: bytes, number: int) -> bytes:
    """The IPv4 packet with another IP identification, so that the pieces of no two cases meet."""
    if data[0] >> 4 != 4:
        return data
    old = int.from_bytes(data[10:12], "big") ^ 0xFFFF, int.from_bytes(data[4:6], "big")
    new = (old[0] + number + 0xFFFF - old[1]) % 0xFFFF ^ 0xFFFF
    return data[:4] + number.to_bytes(2, "big") + data[6:10] + new.to_bytes(2, "big") + data[12:]


def _frame(setup: str) -> Callable[[bytes], bytes]:
    gateway, bridge = SETUPS[setup].gateway, SETUPS[setup].bridge

    def frame(data: bytes) -> bytes:
        ip4 = data[0] >> 4 == 4
        to = POD if not ip4 or (bridge and data[16:20] == socket.inet_aton(OTHER)) else gateway
        return to + CLIENT + (b"\x08\0" if ip4 else b"\x86\xdd") + data

    return frame


def everyday() -> dict[str, list[bytes]]:
    """Padding, addresses in 0.0.0.0/8, IGMP, ICMP's queries, datagrams that are shorter than their packet."""
    return {
        "padded datagram": [udp() + b"PADD"],
        "padded to 60 bytes": [udp(data=b"x").ljust(46, b"\0")],
        "padded, DNAT": [udp("10.0.9.9", 80) + b"PADD"],
        "padded SYN, DNAT": [tcp("10.0.9.9", 80).ljust(46, b"\0")],
        "padded, to the router": [udp(ROUTER) + b"PADD"],
        "padded echo": [icmp(data=b"") .ljust(46, b"\0")],
        "from 0.0.1.2": [udp(port=54, src="0.0.1.2")],
        "from 0.255.255.255": [udp(port=55, src="0.255.255.255")],
        "from 0.0.0.0": [udp(src="0.0.0.0")],
        "from 0.0.0.0 to the subnet's broadcast": [udp("10.0.1.255", src="0.0.0.0")],
        "from 0.0.0.0 to all": [udp("255.255.255.255", src="0.0.0.0")],
        "from 0.0.1.2 to all": [udp("255.255.255.255", src="0.0.1.2")],
        "echo to the subnet's broadcast": [icmp("10.0.1.255")],
        "timestamp to the subnet's broadcast": [icmp("10.0.1.255", 13, data=bytes(12))],
        "from 0.0.0.0 to the router": [udp(ROUTER, src="0.0.0.0")],
        "to 0.0.1.2": [udp("0.0.1.2")],
        "to 0.0.0.0": [udp("0.0.0.0")],
        "from 0.0.0.0 to 0.0.0.0": [udp("0.0.0.0", src="0.0.0.0")],
        "IGMP query to the router": [igmp(0x11)],
        "IGMP report to the router": [igmp(0x16)],
        "IGMP of no kind to the router": [igmp(0x99)],
        "IGMP to the server": [igmp(0x11, SERVER)],
        "datagram shorter than its packet": [udp(ROUTER, data=b"a" * 40, length=17)],
        "timestamp forwarded": [icmp(SERVER, 13, rest=0x90001, data=bytes(12))],
    }  # fmt: skip


def answered() -> dict[str, list[bytes]]:
    """ICMP's queries to the router."""
    return {
        "echo, code 1": [icmp(code=1)],
        "echo, code 255": [icmp(code=255, rest=0x110001)],
        "timestamp": [icmp(kind=13, data=b"\x01\2\3\4" + bytes(8))],
        "timestamp with more bytes": [icmp(kind=13, data=b"\1\2\3\4" + bytes(20), rest=0xA0001)],
        "timestamp, code 1": [icmp(kind=13, code=1, rest=0x120001, data=bytes(12))],
        "timestamp of 8 bytes": [icmp(kind=13, rest=0xB0001, data=b"")],
        "timestamp of 12 bytes": [icmp(kind=13, rest=0xB0002, data=b"\1\2\3\4")],
        "timestamp with TOS": [icmp(kind=13, rest=0xC0001, tos=0xB8, data=bytes(12))],
        "timestamp with record route": [icmp(kind=13, rest=0xC0011, options=record_route(2), data=bytes(12))],
        "information request": [icmp(kind=15, data=b"")],
        "address mask request": [icmp(kind=17, data=bytes(4))],
        "address mask reply": [icmp(kind=18, data=bytes(4))],
        "router solicitation": [icmp(kind=10, data=b"")],
        "kind 42": [icmp(kind=42, data=bytes(4))],
        "kind 1": [icmp(kind=1, data=bytes(4))],
        "echo with TOS 0xff": [icmp(tos=0xFF, rest=0xD0001)],
    }


def bridged() -> dict[str, list[bytes]]:
    """What stays on the bridge: its ports trim, and leave options as they are."""
    ip6 = struct.pack("!IHBB", 6 << 28, 0, 59, 64) + bytes(15) + b"\1" + bytes(15) + b"\2"
    return {
        "padded, bridged": [udp(OTHER) + b"PADD"],
        "record route, bridged": [udp(OTHER, options=record_route(1))],
        "padded IPv6": [ip6 + bytes(10)],
        "IPv6 with payload, padded": [ip6[:4] + b"\0\4" + ip6[6:] + b"abcd" + bytes(6)],
        "IPv6 shorter than its header has it": [ip6[:4] + b"\0\x09" + ip6[6:] + b"abcd"],
        "IPv6 of 30 bytes": [ip6[:30]],
        "broken option, bridged": [udp(OTHER, options=BROKEN["length 0"])],
    }


def options(dst: str, right: Mapping[str, bytes], wrong: Mapping[str, bytes]) -> dict[str, list[bytes]]:
    """Each option, in a datagram to a closed port, an echo request and a SYN to a closed port."""
    found = {}
    for label, each in {**right, **wrong}.items():
        found[f"UDP, {label}"] = [udp(dst, options=each)]
        if label in right or dst == ROUTER:
            found[f"echo, {label}"] = [icmp(dst, options=each)]
            found[f"SYN, {label}"] = [tcp(dst, options=each)]
    return found


def errors() -> dict[str, list[bytes]]:
    """The TOS and the options of each kind of error, and of the RST of a closed port."""
    big = b"z" * 600
    found: dict[str, list[bytes]] = {}
    for number, tos in enumerate(TOSES):
        who = f"10.0.1.{20 + number}"  # a router limits its errors about routes for each source
        found |= {
            f"port unreachable, TOS {tos:#04x}": [udp(ROUTER, tos=tos)],
            f"protocol unreachable, TOS {tos:#04x}": [packet(ROUTER, 99, b"abc", tos=tos)],
            f"no route, TOS {tos:#04x}": [udp("10.9.0.1", src=who, tos=tos)],
            f"unreachable route, TOS {tos:#04x}": [udp("10.9.1.1", src=who, tos=tos)],
            f"prohibited route, TOS {tos:#04x}": [udp("10.9.2.1", src=who, tos=tos)],
            f"TTL exceeded, TOS {tos:#04x}": [udp(ttl=1, tos=tos)],
            f"fragmentation needed, TOS {tos:#04x}": [udp(data=big, tos=tos)],
            f"broken option, TOS {tos:#04x}": [udp(options=BROKEN["length 0"], tos=tos)],
            f"RST of a closed port, TOS {tos:#04x}": [tcp(ROUTER, tos=tos)],
            f"RST to an ACK, TOS {tos:#04x}": [tcp(ROUTER, flags=16, tos=tos)],
        }
    each = record_route(3)
    return found | {
        "protocol unreachable, record route": [packet(ROUTER, 99, b"abc", options=each)],
        "no route, record route": [udp("10.9.0.1", options=each)],
        "unreachable route, record route": [udp("10.9.1.1", options=each)],
        "TTL exceeded, record route": [udp(ttl=1, options=each)],
        "fragmentation needed, record route": [udp(data=big, options=each)],
        "fragmentation needed, full record route": [udp(data=big, options=record_route(9))],
        "port unreachable of a long datagram, full record route": [
            udp(ROUTER, data=b"z" * 900, options=record_route(9))
        ],
        "port unreachable of a long datagram": [udp(ROUTER, data=b"z" * 900)],
        "timestamp that overflows at a host that does not forward": [
            udp("10.8.0.1", options=timestamp(0, 8, 9, overflow=14))
        ],
        "port unreachable of a long datagram behind a narrow link": [udp(data=b"z" * 400)],
    }


def rejected(dst: str) -> dict[str, list[bytes]]:
    """REJECT's answers."""
    found = {}
    for tos in TOSES:
        for number, name in enumerate(REJECTS):
            found[f"REJECT {name}, TOS {tos:#04x}"] = [udp(dst, 2000 + number, tos=tos)]
        found[f"REJECT tcp-reset, TOS {tos:#04x}"] = [tcp(dst, 2100, tos=tos)]
    return found | {
        "REJECT port-unreachable, record route": [udp(dst, 2003, options=record_route(3))],
        "REJECT tcp-reset, record route": [tcp(dst, 2100, options=record_route(3))],
        "REJECT port-unreachable, router alert": [udp(dst, 2003, options=ALERT)],
        "REJECT port-unreachable, full record route": [udp(dst, 2003, options=SOUND["record route, full"])],
        "REJECT tcp-reset, no operation": [tcp(dst, 2100, options=b"\1\1\1\1")],
        "REJECT port-unreachable, wrong checksum": [packet(dst, 17, struct.pack("!HHHH", 5000, 2003, 9, 1) + b"a")],
        "REJECT port-unreachable, no checksum": [packet(dst, 17, struct.pack("!HHHH", 5000, 2003, 9, 0) + b"a")],
        "REJECT port-unreachable, protocol 99": [packet(dst, 99, b"abcd")],
        "REJECT port-unreachable, protocol 99 that adds up to 0": [packet(dst, 99, b"\xff\xff")],
        "REJECT port-unreachable, UDP-Lite": [packet(dst, 136, struct.pack("!HHHH", 5000, 2003, 8, 1) + b"a")],
    }


def redirected() -> dict[str, list[bytes]]:
    return {
        "redirect, TOS 0xb8": [udp("10.7.0.1", tos=0xB8)],
        "redirect, TOS 0xff and record route": [udp("10.7.0.2", tos=0xFF, options=record_route(3))],
    }


def source_routed() -> dict[str, list[bytes]]:
    found = {}
    for label, (dst, each) in SOURCE_ROUTED.items():
        found[f"UDP, {label}"] = [udp(dst, options=each)]
        found[f"echo, {label}"] = [icmp(dst, options=each)]
        found[f"SYN, {label}"] = [tcp(dst, options=each)]
    return found


def cut() -> dict[str, list[bytes]]:
    """Packets with options that are cut, or came in pieces, for the narrow link or for the router."""
    large, mixed = b"z" * 900, record_route(2) + bytes((SECURITY, 4, 0, 0)) + ALERT + timestamp(0, 12)
    return {
        "options that are copied and not": [udp(data=large, options=mixed, word=0)],
        "record route": [udp(data=large, options=record_route(3), word=0)],
        "padding alone": [udp(data=large, options=b"\1\1\1\1", word=0)],
        "came in pieces, options": pieces(udp(data=large, options=mixed), 400, 400),
        "came in pieces that are cut again, options": pieces(udp(data=large, options=mixed), 600),
        "came in pieces for the router, options": pieces(udp(ROUTER, data=large, options=mixed), 400, 400),
        "echo in pieces for the router, options": pieces(icmp(data=large, options=mixed), 400, 400),
        "echo for the server in pieces, options": pieces(icmp(SERVER, data=large, options=mixed), 400, 400),
        "last piece alone": pieces(udp(data=large, options=mixed), 600)[1:],
    }


def short(dst: str = SERVER) -> dict[str, list[bytes]]:
    """Packets in pieces of which the first is short."""
    found = {}
    bodies = {
        "TCP": tcp(dst, 9, data=bytes(228)),
        "TCP with a header of 40 bytes": tcp(dst, 11, data=b"\1" * 228, words=10),
        "UDP": udp(dst, 9, bytes(240)),
        "echo": icmp(dst, data=bytes(240)),
        "TCP with options": tcp(dst, 10, data=bytes(228), options=record_route(1)),
        "protocol 99": packet(dst, 99, bytes(248)),
    }
    for name, body in bodies.items():
        for size in (8, 16, 24, 40):
            for df in (True, False):
                found[f"{name}, {size} bytes first{', DF' if df else ''}"] = pieces(body, size, df=df)
    return found


def absent() -> list[bytes]:
    """Packets to a host that does not exist."""
    found = [udp("10.0.2.99", tos=tos) for tos in TOSES]
    return [*found, udp("10.0.2.99", options=record_route(4)), udp("10.0.2.99", options=timestamp(1, 28))]


def lost() -> list[bytes]:
    return pieces(udp(ROUTER, data=b"z" * 900, options=record_route(3), tos=0xB8), 400)[:1]


if __name__ == "__main__":
    write(SETUPS, list(cases()))
