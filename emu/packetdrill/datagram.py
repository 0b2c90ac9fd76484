"""The packets of a script as frames of its tun device, and back. Must not know scripts' times or calls.

Sequence numbers of scripts count from the first of each side; a SYN has its number on the wire. The host's own begin where the host
began, and each of its timestamps stands for one of the script.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from emu.packetdrill.packet import Icmp, Option, Packet, Tcp, Udp, letters
from emu.wire.checksum import ones_sum
from emu.wire.frame import ETH_HLEN, ICMP, IP_DF, IP_HLEN, TCP, UDP

MASK = 0xFFFFFFFF
_ETHERNET = bytes(12) + b"\x08\x00"
_PROTOCOLS = {Tcp: TCP, Udp: UDP, Icmp: ICMP}
_ECN = {"noecn": 0, "ect1": 1, "ect0": 2, "ect01": 2, "ce": 3}
_KINDS = {0: "eol", 1: "nop", 2: "mss", 3: "wscale", 4: "sackOK", 5: "sack", 8: "TS"}
TTL = 255


@dataclass
class Talk:
    """The two ends of the connection under test, and where its numbers begin; None: not known yet."""

    local: tuple[int, int]
    remote: tuple[int, int]
    isn: int | None = None
    far_isn: int = 0
    stamps: dict[int, int] = field(default_factory=dict)  # the host's timestamps on the wire, by those of the script


def encode(packet: Packet, talk: Talk) -> bytes:
    """An inbound packet as a frame."""
    what = packet.what
    if isinstance(what, Tcp):
        payload = _segment(what, talk, talk.remote, talk.local)
    elif isinstance(what, Udp):
        payload = _datagram(what.length, talk.remote, talk.local)
    else:
        payload = _error(what, talk)
    tos = (packet.tos or 0) | _ECN.get(packet.ecn, 0)
    return _ETHERNET + _ip(_PROTOCOLS[type(what)], talk.remote[0], talk.local[0], payload, packet.ttl or TTL, tos)


def _ip(proto: int, src: int, dst: int, payload: bytes, ttl: int = TTL, tos: int = 0, frag: int = 0) -> bytes:
    def head(check: int) -> bytes:
        return struct.pack("!BBHHHBBHII", 0x45, tos, IP_HLEN + len(payload), 0, frag, ttl, proto, check, src, dst)

    return head(_folded(ones_sum(head(0)))) + payload


def _folded(total: int) -> int:
    return 0xFFFF - (total % 0xFFFF or 0xFFFF)


def _checked(proto: int, src: int, dst: int, packet: bytes, at: int) -> bytes:
    """The packet with its checksum at offset `at`."""
    pseudo = struct.pack("!IIBBH", src, dst, 0, proto, len(packet))
    check = _folded(ones_sum(pseudo) + ones_sum(packet))
    return packet[:at] + struct.pack("!H", check) + packet[at + 2 :]


def _segment(tcp: Tcp, talk: Talk, source: tuple[int, int], destination: tuple[int, int]) -> bytes:
    """A segment of the far side."""
    options = b"".join(_option_bytes(each, talk) for each in tcp.options or ())
    options += bytes(-len(options) % 4)
    if tcp.syn:
        talk.far_isn = tcp.seq
    seq = tcp.seq & MASK if tcp.syn else (tcp.seq + talk.far_isn) & MASK
    ack = 0 if tcp.ack is None else (tcp.ack + (talk.isn or 0)) & MASK
    words = (20 + len(options)) << 10 | tcp.bits
    head = struct.pack("!HHIIHHHH", source[1], destination[1], seq, ack, words, tcp.window or 0, 0, tcp.urgent)
    return _checked(TCP, source[0], destination[0], head + options + bytes(tcp.length), 16)


def _option_bytes(option: Option, talk: Talk) -> bytes:
    numbers = option.numbers
    if option.name in ("nop", "eol"):
        return b"\x01" if option.name == "nop" else b"\x00"
    if option.name == "mss":
        return struct.pack("!BBH", 2, 4, *numbers)
    if option.name == "wscale":
        return struct.pack("!BBB", 3, 3, *numbers)
    if option.name == "sackOK":
        return b"\x04\x02"
    if option.name == "TS":
        return struct.pack("!BBII", 8, 10, numbers[0], talk.stamps.get(numbers[1], numbers[1]))
    edges = [(number + (talk.isn or 0)) & MASK for number in numbers]
    return struct.pack(f"!BB{len(edges)}I", 5, 2 + 4 * len(edges), *edges)


def _datagram(length: int, source: tuple[int, int], destination: tuple[int, int]) -> bytes:
    head = struct.pack("!HHHH", source[1], destination[1], 8 + length, 0)
    return _checked(UDP, source[0], destination[0], head + bytes(length), 6)


def _error(icmp: Icmp, talk: Talk) -> bytes:
    """An ICMP error with the head of what it is about: a packet that the host sent."""
    if icmp.udp is not None:
        quoted = _ip(UDP, talk.local[0], talk.remote[0], _datagram(icmp.udp, talk.local, talk.remote))[: IP_HLEN + 8]
    else:
        sequence = (icmp.seq + (talk.isn or 0)) & MASK
        head = struct.pack("!HHIIHHHH", talk.local[1], talk.remote[1], sequence, 0, 20 << 10 | 16, 0, 0, 0)
        quoted = _ip(TCP, talk.local[0], talk.remote[0], head + bytes(icmp.length), 64, 0, IP_DF)[: IP_HLEN + 20]
    head = struct.pack("!BBHHH", icmp.kind, icmp.code, 0, 0, icmp.mtu)
    packet = head + quoted
    return packet[:2] + struct.pack("!H", _folded(ones_sum(packet))) + packet[4:]


def decode(data: bytes, talk: Talk) -> Packet:
    """A frame that the host sent, in the script's numbers. A SYN sets where the host's numbers begin."""
    packet = data[ETH_HLEN:]
    header, proto, ttl, tos = (packet[0] & 15) * 4, packet[9], packet[8], packet[1]
    total = int.from_bytes(packet[2:4], "big")
    body = packet[header : total or None]
    if proto == UDP:
        return Packet(True, Udp(len(body) - 8), ttl, tos)
    if proto == ICMP:
        words = f"icmp type {body[0]} code {body[1]}"
        return Packet(True, Icmp(body[0], body[1], int.from_bytes(body[6:8], "big"), 0, 0, None, words), ttl, tos)
    seq, ack, words, window, _check, urgent = struct.unpack("!IIHHHH", body[4:20])
    size = (words >> 12) * 4
    flags = letters(words & 0xFF)
    if "S" in flags:
        talk.isn = seq
    options = _options(body[20:size])
    relative = (seq - (talk.isn or 0)) & MASK
    acknowledged = (ack if "S" in flags else (ack - talk.far_isn) & MASK) if "." in flags else None
    tcp = Tcp(flags, relative, len(body) - size, acknowledged, window, urgent, options)
    return Packet(True, tcp, ttl, tos)


def _options(data: bytes) -> tuple[Option, ...]:
    found = []
    at = 0
    while at < len(data):
        kind = data[at]
        if kind < 2:
            found.append(Option(_KINDS[kind]))
            at += 1
            continue
        length = data[at + 1] if at + 1 < len(data) else 0
        if length < 2:
            break
        value = data[at + 2 : at + length]
        name = _KINDS.get(kind, f"option {kind}")
        words = len(value) // 4 if name in ("sack", "TS") else 1
        numbers = struct.unpack(f"!{words}I", value) if name in ("sack", "TS") else (int.from_bytes(value, "big"),)
        found.append(Option(name, () if name == "sackOK" else numbers))
        at += length
    return tuple(found)


def in_script_time(packet: Packet, expected: Packet, talk: Talk, exact: bool) -> Packet:
    """The packet with its timestamp in the script's numbers: the first one shows the difference if the script is `exact`, else each is
    what the script has."""
    tcp, like = packet.what, expected.what
    if not isinstance(tcp, Tcp) or not isinstance(like, Tcp):
        return packet
    wanted = next((each.numbers[0] for each in like.options or () if each.name == "TS"), None)
    stamp = next((each.numbers[0] for each in tcp.options or () if each.name == "TS"), None)
    if stamp is None or wanted is None:
        return packet
    first = next(iter(talk.stamps.items()), None)
    talk.stamps.setdefault(wanted, stamp)
    value = wanted if first is None or not exact else (stamp - first[1] + first[0]) & MASK
    options = tuple(Option("TS", (value, each.numbers[1])) if each.name == "TS" else each for each in tcp.options or ())
    return replace(packet, what=replace(tcp, options=options))
