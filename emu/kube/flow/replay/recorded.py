"""A recorded packet as a replay sees it: its fields, its payload, and why it cannot be replayed if it cannot.

Padding is cut off; what a short snap length left out is zeros, and counted. Must not know flows or clusters.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.wire import linktype
from emu.wire.addr import ip4_text
from emu.wire.frame import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ICMP, IP_HLEN, IP_MF, IP_OFFSET, SCTP, TCP, UDP
from emu.wire.icmp import ERRORS
from emu.wire.proto import PROTOCOL_NAMES
from emu.wire.record import Record
from emu.wire.summary import Summary, read_ip
from emu.wire.tcp import ACK, FIN, PSH, RST, SYN, URG

NOTHING = Summary("other")
_FLAGS = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (URG, "U"), (ACK, "."))
UDP_HLEN, TCP_HLEN, ICMP_HLEN = 8, 20, 8


class Recorded(NamedTuple):
    """`packet` begins with the IP header and has its whole length, `payload` is that of TCP, UDP and ICMP; `filled` counts the zeros
    at the end that the file does not have. `why`: it cannot be replayed."""

    number: int
    time_ns: int
    seen: Summary
    packet: bytes = b""
    payload: bytes = b""
    filled: int = 0
    tags: tuple[int, ...] = ()
    why: str = ""
    record: Record | None = None

    @property
    def l4(self) -> int:
        """Where the transport's header begins in `packet`."""
        return (self.packet[0] & 15) * 4

    @property
    def words(self) -> str:
        """`TCP 192.168.1.10:51000 > 203.0.113.80:80 [S] 0`, in one line."""
        seen = self.seen
        if seen.kind != "IPv4":
            return NAMES.get(seen.ethertype, f"EtherType {seen.ethertype:#06x}" if seen.ethertype else "no packet")
        source, target = ip4_text(seen.src), ip4_text(seen.dst)
        proto = {TCP: "TCP", UDP: "UDP", ICMP: "ICMP", SCTP: "SCTP"}.get(seen.proto, "")
        proto = proto or PROTOCOL_NAMES.get(seen.proto, f"protocol {seen.proto}")
        if seen.fragment:
            return f"{proto} {source} > {target} fragment at {seen.offset}, id {seen.ip_id}"
        if seen.proto == ICMP:
            return f"{proto} {source} > {target} type {seen.sport} code {seen.dport}"
        if seen.proto in (TCP, UDP, SCTP):
            source, target = f"{source}:{seen.sport}", f"{target}:{seen.dport}"
        flags = "[" + "".join(letter for bit, letter in _FLAGS if seen.flags & bit) + "] " if seen.proto == TCP else ""
        return f"{proto} {source} > {target} {flags}{len(self.payload) if self.payload else seen.size}"


NAMES = {ETH_P_ARP: "ARP", ETH_P_IPV6: "IPv6", 0x88CC: "LLDP", 0x8863: "PPPoE", 0x8864: "PPPoE", 0x8847: "MPLS"}


def read(record: Record) -> Recorded:
    """The packet of a record."""
    found = linktype.packet(record.linktype, record.data, record.length)
    why, ethertype = found.why, found.ethertype
    if not why and ethertype != ETH_P_IP:
        why = {
            ETH_P_ARP: "ARP belongs to the recorded network: the cluster's hosts ask for themselves",
            ETH_P_IPV6: "emu has no IPv6",
        }.get(ethertype, f"it is no IPv4 packet (EtherType {ethertype:#06x})")
    if why:
        seen = NOTHING._replace(ethertype=ethertype)
        return Recorded(record.number, record.time_ns, seen, tags=found.tags, why=why, record=record)
    data = found.data
    header = (data[0] & 15) * 4 if data else 0
    if len(data) < IP_HLEN or data[0] >> 4 != 4 or header < IP_HLEN or len(data) < header:
        return Recorded(
            record.number, record.time_ns, NOTHING._replace(ethertype=ethertype), tags=found.tags,
            why="its IP header is cut or broken", record=record,
        )  # fmt: skip
    length = int.from_bytes(data[2:4], "big") or len(data) + found.missing  # 0: a device was to cut it (TSO)
    if length < header:
        why, length = "its length is less than its header's", header
    filled = max(length - len(data), 0)
    if filled > found.missing:
        why = why or "it states more bytes than the frame had"
    data = data[:length] + bytes(min(filled, 0xFFFF))
    seen = read_ip(data)
    payload, broken = _payload(data, header, seen)
    return Recorded(
        record.number, record.time_ns, seen, data, payload, filled, found.tags, why or broken, record
    )  # fmt: skip


def _payload(data: bytes, header: int, seen: Summary) -> tuple[bytes, str]:
    """The transport's payload of a whole datagram, or why there is none."""
    if seen.fragment:
        return b"", ""
    part = data[header:]
    if seen.proto == TCP:
        size = (part[12] >> 4) * 4 if len(part) >= TCP_HLEN else 0
        return (part[size:], "") if TCP_HLEN <= size <= len(part) else (b"", "its TCP header is cut or broken")
    if seen.proto == UDP:
        length = int.from_bytes(part[4:6], "big") if len(part) >= UDP_HLEN else 0
        if not UDP_HLEN <= length <= len(part):
            return b"", "its UDP header is cut or broken"
        return part[UDP_HLEN:length], ""
    if seen.proto == ICMP:
        return (part[ICMP_HLEN:], "") if len(part) >= ICMP_HLEN else (b"", "its ICMP header is cut")
    return part, ""


def is_icmp_error(seen: Summary) -> bool:
    return seen.proto == ICMP and not seen.frag & IP_OFFSET and seen.sport in ERRORS


class Reassembly:
    """Puts recorded fragments together, as their receiver did; a few datagrams at a time. The numbers of the pieces come along."""

    MOST = 64

    def __init__(self) -> None:
        self._pieces: dict[tuple[int, int, int, int], list[Recorded]] = {}

    def add(self, piece: Recorded) -> tuple[Recorded | None, list[Recorded], list[Recorded]]:
        """The whole datagram, if this piece was the last one that it lacked, its pieces, and pieces that were given up for it."""
        seen, given_up = piece.seen, list[Recorded]()
        key = seen.src, seen.dst, seen.proto, seen.ip_id
        pieces = self._pieces.setdefault(key, [])
        pieces.append(piece)
        if len(self._pieces) > self.MOST:
            given_up = self._pieces.pop(next(iter(self._pieces)))
        whole = _whole(pieces)
        if whole is None:
            return None, [], given_up
        self._pieces.pop(key, None)
        return whole, pieces, given_up

    def rest(self) -> list[Recorded]:
        """The pieces of datagrams that never became whole."""
        found = [piece for pieces in self._pieces.values() for piece in pieces]
        self._pieces.clear()
        return found


def _whole(pieces: list[Recorded]) -> Recorded | None:
    ordered = sorted(pieces, key=lambda piece: piece.seen.offset)
    if ordered[0].seen.offset or all(piece.seen.frag & IP_MF for piece in ordered):
        return None
    first, data = ordered[0], bytearray()
    for piece in ordered:
        part = piece.packet[piece.l4 :]
        if piece.seen.offset > len(data):
            return None
        data[piece.seen.offset :] = part
        if not piece.seen.frag & IP_MF:
            break
    else:
        return None
    header = bytearray(first.packet[: first.l4])
    if len(header) + len(data) > 0xFFFF:
        return None
    header[2:4] = (len(header) + len(data)).to_bytes(2, "big")
    header[6:8] = b"\0\0"
    packet = bytes(header + data)
    seen = read_ip(packet)
    payload, why = _payload(packet, len(header), seen)
    last = pieces[-1]
    return first._replace(
        number=last.number, time_ns=last.time_ns, packet=packet, seen=seen, payload=payload, why=why,
        filled=sum(piece.filled for piece in pieces),
    )  # fmt: skip
