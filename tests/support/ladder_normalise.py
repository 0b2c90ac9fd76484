"""Writes a frame's bytes as a ladder's line: `[p1.eth0>bcast] ARP who-has ...`.

What is random in a kernel becomes relative or a symbol: sequence numbers count from the nearest initial sequence number
seen (so they survive NAT), a TCP socket's IP IDs from its first one, echo ids and ephemeral ports are numbered by first
appearance, MACs are roles. So frames must be given in the order in which they were seen, one `Normaliser` a scenario.
A wrong checksum or length is written too: no ladder has one, so it never compares equal. Plain struct code, to be an
independent judge: it uses nothing of emu.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

BROADCAST, ZERO = b"\xff" * 6, b"\0" * 6
EPHEMERAL = range(32768, 61000)
UNREACHABLE = {0: "net", 1: "host", 2: "protocol", 3: "port", 9: "net-prohibited", 10: "host-prohibited"}
FLAGS = ((0x01, "F"), (0x02, "S"), (0x04, "R"), (0x08, "P"), (0x10, "A"), (0x20, "U"))
SYN, ACK = 0x02, 0x10


def checksum(data: bytes) -> int:
    """RFC 1071, from scratch: 0 over data that contains its own correct checksum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def address(data: bytes) -> str:
    return ".".join(map(str, data))


class Normaliser:
    """`roles` maps MACs to `namespace.device`; `known_ports` are ephemeral ports that the driver chose itself."""

    def __init__(self, roles: Mapping[bytes, str], known_ports: Iterable[int] = ()) -> None:
        self.roles = {BROADCAST: "bcast", ZERO: "zero", **roles}
        self.known_ports = frozenset(known_ports)
        self._symbols: dict[tuple[str, int | bytes], str] = {}
        self._counts: dict[str, int] = {}
        self._isns: list[int] = []
        self._first_ip_id: dict[int, int] = {}

    def render(self, data: bytes) -> str:
        """One Ethernet frame as a line's text, from the `[` on."""
        kind = struct.unpack_from("!H", data, 12)[0]
        pair = f"[{self._role(data[6:12])}>{self._role(data[:6])}]"
        if kind == 0x0806:
            return f"{pair} {self._arp(data[14:])}"
        if kind == 0x0800:
            return f"{pair} {self._ipv4(data[14:])}"
        return f"{pair} ethertype {kind:#06x} {len(data)}B"

    def symbol(self, kind: str, value: int | bytes) -> str:
        """`echo1`: the first echo id that was seen. The same value is the same symbol."""
        known = self._symbols.get((kind, value))
        if known is None:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            known = self._symbols[kind, value] = f"{kind}{self._counts[kind]}"
        return known

    def _role(self, mac: bytes) -> str:
        return self.roles.get(mac) or self.symbol("mac", mac)

    def _port(self, port: int) -> str:
        if port in EPHEMERAL and port not in self.known_ports:
            return self.symbol("port", port)
        return str(port)

    def _arp(self, arp: bytes) -> str:
        head, operation = arp[:6], struct.unpack_from("!H", arp, 6)[0]
        sha, spa, tha, tpa = arp[8:14], address(arp[14:18]), arp[18:24], address(arp[24:28])
        odd = "" if head == b"\0\1\x08\0\6\4" and len(arp) == 28 else f" odd({len(arp)}B)"
        if operation == 1:
            return f"ARP who-has {tpa} tell {spa} ({self._role(sha)}){odd}"
        if operation == 2:
            return f"ARP {spa} is-at {self._role(sha)} -> {tpa} ({self._role(tha)}){odd}"
        return f"ARP operation {operation}{odd}"

    def _ipv4(self, packet: bytes, *, quoted: bool = False) -> str:
        version_ihl, tos, total, ip_id, fragment, ttl, proto = struct.unpack_from("!BBHHHBB", packet)
        ihl = (version_ihl & 15) * 4
        source, target = packet[12:16], packet[16:20]
        payload = packet[ihl:total]
        oddities = "" if version_ihl == 0x45 else f" ihl={ihl}"
        if checksum(packet[:ihl]):
            oddities += " bad-ip-checksum"
        if not quoted and len(packet) != total:
            oddities += f" length({len(packet)}B, header says {total})"
        if fragment & 0x3FFF:
            return (
                f"{address(source)}>{address(target)} ttl{ttl} id={self.symbol('frag', ip_id)}"
                f"{' DF' if fragment & 0x4000 else ''} fragment offset={(fragment & 0x1FFF) * 8}"
                f"{'+' if fragment & 0x2000 else ''} proto={proto} len={len(payload)}{oddities}"
            )
        if not quoted and proto in (6, 17):
            pseudo = source + target + struct.pack("!BBH", 0, proto, len(payload))
            if checksum(pseudo + payload):
                at = 16 if proto == 6 else 6
                partial = payload[at : at + 2] == struct.pack("!H", checksum(pseudo) ^ 0xFFFF)
                oddities += " partial-checksum" if partial else " bad-checksum"
        size = total - ihl  # a quote holds less than the packet had
        if proto == 6:
            text, ident = self._tcp(payload, ip_id, size, quoted)
        elif proto == 17:
            text, ident = self._udp(payload, size), self._plain_id(ip_id)
        elif proto == 1:
            text, ident = self._icmp(payload, size, quoted), self._plain_id(ip_id)
        else:
            text, ident = f"proto={proto} len={size}", self._plain_id(ip_id)
        ident = "q" if quoted else ident
        df = " DF" if fragment & 0x4000 else ""
        tos_text = f" tos={tos:#04x}" if tos else ""
        return f"{address(source)}>{address(target)} ttl{ttl} id={ident}{df}{tos_text} {text}{oddities}"

    @staticmethod
    def _plain_id(ip_id: int) -> str:
        return "x" if ip_id else "0"

    def _udp(self, payload: bytes, size: int) -> str:
        sport, dport, length = struct.unpack_from("!HHH", payload)
        odd = "" if length == size else f" udp-length={length}"
        return f"UDP {self._port(sport)}>{self._port(dport)} len={length - 8}{odd}"

    def _icmp(self, payload: bytes, size: int, quoted: bool) -> str:
        kind, code, _, high, low = struct.unpack_from("!BBHHH", payload)
        odd = " bad-checksum" if not quoted and checksum(payload) else ""
        if kind in (0, 8):
            name = "echo-request" if kind == 8 else "echo-reply"
            return f"ICMP {name} {self.symbol('echo', high)} seq={low} data={size - 8}{odd}"
        quote = f" quote({len(payload) - 8}B){{{self._ipv4(payload[8:], quoted=True)}}}{odd}"
        if kind == 3 and code == 4:
            return f"ICMP frag-needed mtu={low}{quote}"
        if kind == 3 and code in UNREACHABLE:
            return f"ICMP {UNREACHABLE[code]}-unreachable{quote}"
        if kind == 11:
            return f"ICMP ttl-exceeded{quote}"
        return f"ICMP type={kind} code={code}{quote}"

    def _tcp(self, payload: bytes, ip_id: int, size: int, quoted: bool) -> tuple[str, str]:
        """The segment's text and its IP ID's."""
        sport, dport, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", payload)
        header = (offset >> 4) * 4
        if flags & SYN and not quoted and seq not in self._isns:
            self._isns.append(seq)
        isn = self._nearest(seq)
        names = "".join(letter for bit, letter in FLAGS if flags & bit)
        text = (
            f"TCP {self._port(sport)}>{self._port(dport)} [{names}] seq={self._sequence(seq)}"
            f" ack={self._sequence(ack) if flags & ACK else ack} win={window} len={size - header}"
        )
        if header > 20:
            text += f" <{','.join(self._options(payload[20:header]))}>"
        if ip_id == 0:
            return text, "0"
        if isn is None or quoted:
            return text, "x"
        first = self._first_ip_id.setdefault(isn, ip_id)
        return text, f"r+{(ip_id - first) & 0xFFFF}"

    def _nearest(self, seq: int) -> int | None:
        """The initial sequence number that `seq` counts from: the last one at or below it, within a large window."""
        below = [(seq - isn & 0xFFFFFFFF, isn) for isn in self._isns]
        distance, isn = min(below, default=(1 << 32, 0))
        return isn if distance < 1 << 24 else None

    def _sequence(self, seq: int) -> str:
        if seq == 0:
            return "0!"
        isn = self._nearest(seq)
        return self.symbol("seq", seq) if isn is None else str(seq - isn & 0xFFFFFFFF)

    @staticmethod
    def _options(data: bytes) -> list[str]:
        names: list[str] = []
        at = 0
        while at < len(data):
            kind = data[at]
            if kind in (0, 1):
                names.append(("eol", "nop")[kind])
                at += 1
                continue
            length = data[at + 1] if at + 1 < len(data) else 0
            if length < 2:
                return [*names, f"broken({kind})"]
            value = int.from_bytes(data[at + 2 : at + length])
            names.append(
                {2: f"mss={value}", 3: f"wscale={value}", 4: "sackOK", 5: "sack", 8: "TS"}.get(kind, str(kind))
            )
            at += length
        return names
