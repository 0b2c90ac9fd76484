"""Writes a frame as one line of text, without the values that a kernel draws at random.

Each side has a `Normaliser` of its own, which gets that side's frames in the order of capture.
These values are normalised:
- initial sequence numbers (a keyed hash of addresses, ports and time): sequence and acknowledgement numbers count from
  the nearest one seen, so that they survive NAT;
- IP identification (a TCP socket's counter starts at random, others are hashed): 0, `r+n` or x; of a quoted packet
  whether it is that of a packet that was seen before;
- TCP timestamps (a clock with a random offset): only their presence is shown;
- checksums: right or wrong (they cover the random numbers);
- the frame in a VXLAN packet: as any other;
- checksums on lo: not read, as Linux does not fill them in there.
Ports, echo identifiers and MACs are not normalised: the emulator repeats the kernel's draws, and the kernel's devices
have the emulator's MACs. A subclass may write these parts differently (the tests' ladders do). Plain struct code, as an
independent judge: it must not use emu's own parsers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

BROADCAST, ZERO = b"\xff" * 6, b"\0" * 6
UNREACHABLE = {
    0: "net", 1: "host", 2: "protocol", 3: "port", 9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited",
}  # fmt: skip
FLAGS = ((0x01, "F"), (0x02, "S"), (0x04, "R"), (0x08, "P"), (0x10, "A"), (0x20, "U"), (0x40, "E"), (0x80, "W"))
VLAN = {0x8100: "VLAN", 0x88A8: "service VLAN"}
OPTIONS = {2: "mss", 3: "wscale"}
SYN, ACK = 0x02, 0x10
TIMESTAMP = 68
VXLAN_PORTS, VXLAN_FLAGS = (4789, 8472), b"\x08\0\0\0"
WRAPPED = 0xFFF8  # after this one or a later one, an IP ID of 0 is the counter's next
NEAR = 1 << 24  # the largest distance of a sequence number from its connection's initial one
BY_HAND = 1 << 10  # a smaller sequence number was written by a person, unless it is as near to a drawn one


def checksum(data: bytes) -> int:
    """The RFC 1071 checksum: 0 over data that contains its own correct checksum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def address(data: bytes) -> str:
    return ".".join(map(str, data))


class Normaliser:
    """`roles` maps MACs to the names of their owners. It gets the frames of one side, in the order of capture."""

    unreachable = UNREACHABLE
    redirects = True  # ICMP redirects are spelled out
    reads_quotes = True  # the transport checksum in a quote is verified, where the quote is whole

    def __init__(self, roles: Mapping[bytes, str]) -> None:
        self.roles = {**roles, BROADCAST: "bcast", ZERO: "zero"}
        self._isns: list[int] = []
        self._first_ip_id: dict[int, int] = {}
        self._last_ip_id: dict[int, int] = {}
        self._seen_ids: set[tuple[int, int, int]] = set()  # of whole packets: identification, protocol, length
        self._symbols: dict[tuple[str, int | bytes], str] = {}
        self._unsummed = False

    def render(self, data: bytes, *, length: int = 0, loopback: bool = False) -> str:
        """One Ethernet frame as a line. `length` is the frame's length if `data` is cut short: then the checksum is not
        verified, and only the part of the payload in `data` is read."""
        self._unsummed = loopback or length > len(data)
        return self._ethernet(data.ljust(length, b"\0"))

    def _ethernet(self, data: bytes) -> str:
        kind = struct.unpack_from("!H", data, 12)[0]
        pair = f"[{self._role(data[6:12])}>{self._role(data[:6])}]"
        while kind in VLAN and len(data) >= 18:
            (tci,) = struct.unpack_from("!H", data, 14)
            pair += f" {VLAN[kind]} {tci & 0xFFF}" + (f" priority {tci >> 12:#x}" if tci >> 12 else "")
            data = data[:12] + data[16:]
            kind = struct.unpack_from("!H", data, 12)[0]
        if kind == 0x0806 and len(data) >= 42:
            return f"{pair} {self._arp(data[14:])}"
        if kind == 0x0800 and len(data) >= 34:
            return f"{pair} {self._ipv4(data[14:])}"
        return f"{pair} ethertype {kind:#06x} {self._contents(data[14:])}"

    # -- what a subclass may write differently --------------------------------------------------

    def _role(self, mac: bytes) -> str:
        return self.roles.get(mac) or mac.hex(":")

    def _port(self, port: int) -> str:
        return str(port)

    def _wanted(self, tha: bytes) -> str:
        """The target's MAC of a request: only the probe of an entry names one."""
        return "" if tha == ZERO else f" for {self._role(tha)}"

    def _contents(self, data: bytes) -> str:
        """The length and enough of the contents to distinguish all payloads of a run."""
        return f"len={len(data)}" + (f" data={zlib.crc32(data):08x}" if data else "")

    def _piece(self, proto: int, payload: bytes, first: bool) -> str:
        """A fragment's contents. The first of TCP begins with random numbers, and its checksum covers them."""
        if first and proto == 6 and len(payload) >= 20:
            return f"size={len(payload)} {self._tcp(payload, 0, len(payload), False)[0]}"
        begin = ""
        if first and proto == 17 and len(payload) >= 8:
            sport, dport, length, summed = struct.unpack_from("!HHHH", payload)
            begin = f"UDP {self._port(sport)}>{self._port(dport)} udp-length={length} checksum={summed:#06x} "
            inner = payload[16:]
            if dport in VXLAN_PORTS and payload[8:12] == VXLAN_FLAGS and len(inner) >= 34 and inner[12:14] == b"\x08\0":
                ends = f"{self._role(inner[6:12])}>{self._role(inner[:6])}"  # cut, as a quote is
                packet = self._ipv4(inner[14:], quoted=True)
                return f"size={len(payload)} {begin}VXLAN {payload[12:16].hex()} {{[{ends}] {packet}}}"
        elif first and proto == 1 and len(payload) >= 8:
            begin = f"ICMP {payload[:2].hex()} checksum={payload[2:4].hex()} rest={payload[4:8].hex()} "
        return f"size={len(payload)} {begin}{self._contents(payload[8:] if begin else payload)}"

    def _quoted(self, data: bytes, size: int) -> str:
        """What an error quotes behind a transport header; `size` is the packet's own."""
        return f"len={size} quoted {self._contents(data)}"

    def _summed(self, payload: bytes) -> str:
        """A UDP header without a checksum, which is right."""
        return " no-checksum" if payload[6:8] == b"\0\0" else ""

    def _quoted_id(self, ip_id: int, proto: int, total: int) -> str:
        if not ip_id:
            return "0"
        return "seen" if (ip_id, proto, total) in self._seen_ids else "x"

    def _ip_options(self, data: bytes) -> str:
        """IP options by their contents; the times in a timestamp option are the machine's."""
        texts = []
        at = 0
        while at < len(data):
            kind = data[at]
            if kind in (0, 1):
                texts.append(("eol", "nop")[kind])
                at += 1
                continue
            length = data[at + 1] if at + 1 < len(data) else 0
            if length < 2 or at + length > len(data):
                return f" options=[{' '.join([*texts, f'broken {data[at:].hex()}'])}]"
            texts.append(self._ip_option(kind, data[at + 2 : at + length]))
            at += length
        return f" options=[{' '.join(texts)}]" if texts else ""

    @staticmethod
    def _ip_option(kind: int, value: bytes) -> str:
        if kind != TIMESTAMP or len(value) < 2:
            return f"{kind}={value.hex()}"
        step = 8 if value[1] & 15 else 4  # with addresses, or times alone
        filled = min(max(0, value[0] - 5), len(value) - 2)
        entries = [value[at : at + step] for at in range(2, len(value), step)]
        shown = [
            entry[:4].hex()
            if step == 8 and entry[:4] != bytes(4)
            else "time"
            if (number + 1) * step <= filled
            else "empty"
            for number, entry in enumerate(entries)
        ]
        return f"{kind}=pointer {value[0]} flags {value[1]:#04x} {'/'.join(shown)}"

    def _echo(self, ident: int, seq: int, data: bytes, size: int, quoted: bool) -> str:
        return f"id={ident} seq={seq} " + (self._quoted(data, size) if quoted else self._contents(data))

    def _wrong(self, pseudo: bytes, payload: bytes, at: int) -> str:
        """A wrong checksum; `at` is its offset in the payload."""
        return " bad-checksum"

    def _sack(self, value: bytes) -> str:
        edges = struct.unpack(f"!{len(value) // 4}I", value)
        return "sack=" + "/".join(self._sequence(edge) for edge in edges)

    def _other_option(self, kind: int, value: bytes) -> str:
        return f"{kind}={value.hex()}"

    def _other_icmp(self, kind: int, code: int, rest: bytes) -> str:
        return f"type={kind} code={code} rest={rest.hex()}"

    def _exceeded(self, code: int) -> str:
        return "ttl" if code == 0 else "reassembly"

    # -- the same for all -----------------------------------------------------------------------

    def _symbol(self, kind: str, value: int | bytes) -> str:
        """A symbol such as `frag1`, numbered in the order of appearance. The same value has the same symbol."""
        known = self._symbols.get((kind, value))
        if known is None:
            known = f"{kind}{sum(1 for each, _ in self._symbols if each == kind) + 1}"
            self._symbols[kind, value] = known
        return known

    def _arp(self, arp: bytes) -> str:
        head, operation = arp[:6], struct.unpack_from("!H", arp, 6)[0]
        sha, spa, tha, tpa = arp[8:14], address(arp[14:18]), arp[18:24], address(arp[24:28])
        odd = "" if head == b"\0\1\x08\0\6\4" and len(arp) == 28 else f" odd({len(arp)}B)"
        if operation == 1:
            return f"ARP who-has {tpa}{self._wanted(tha)} tell {spa} ({self._role(sha)}){odd}"
        if operation == 2:
            return f"ARP {spa} is-at {self._role(sha)} -> {tpa} ({self._role(tha)}){odd}"
        return f"ARP operation {operation}{odd}"

    def _ipv4(self, packet: bytes, *, quoted: bool = False) -> str:
        version_ihl, tos, total, ip_id, fragment, ttl, proto = struct.unpack_from("!BBHHHBB", packet)
        ihl = (version_ihl & 15) * 4
        source, target = packet[12:16], packet[16:20]
        payload = packet[ihl:total]
        odd = "" if version_ihl == 0x45 else f" ihl={ihl}{self._ip_options(packet[20:ihl])}"
        if checksum(packet[:ihl]):
            odd += " bad-ip-checksum"
        if not quoted and len(packet) != total:
            odd += f" length({len(packet)}B, header has {total})"
        begin = f"{address(source)}>{address(target)} ttl{ttl}"
        df = " DF" if fragment & 0x4000 else ""
        tos_text = f" tos={tos:#04x}" if tos else ""
        if fragment & 0x3FFF:
            more = "+" if fragment & 0x2000 else ""
            place = f"fragment offset={(fragment & 0x1FFF) * 8}{more} proto={proto}"
            piece = self._piece(proto, payload, fragment & 0x1FFF == 0)
            return f"{begin} id={self._symbol('frag', ip_id)}{df}{tos_text} {place} {piece}{odd}"
        size = total - ihl  # a quote is shorter than the packet
        if len(payload) == size and not self._unsummed and (self.reads_quotes or not quoted):
            if proto in (6, 17):
                pseudo = source + target + struct.pack("!BBH", 0, proto, len(payload))
                if proto == 17 and payload[6:8] == b"\0\0":
                    odd += self._summed(payload)
                elif checksum(pseudo + payload):
                    odd += self._wrong(pseudo, payload, 16 if proto == 6 else 6)
            elif quoted and proto == 1 and checksum(payload):
                odd += " bad-checksum"
        ident = "x" if ip_id else "0"
        if proto == 6 and len(payload) >= (8 if quoted else 20):
            text, ident = self._tcp(payload, ip_id, size, quoted)
        elif proto == 17 and len(payload) >= 8:
            sport, dport, length = struct.unpack_from("!HHH", payload)
            text = f"UDP {self._port(sport)}>{self._port(dport)} "
            if not quoted and dport in VXLAN_PORTS and len(payload) >= 30 and payload[8:12] == VXLAN_FLAGS:
                text += f"VXLAN {payload[12:16].hex()} {{{self._ethernet(payload[16:])}}}"
            else:
                text += self._quoted(payload[8:], length - 8) if quoted else self._contents(payload[8:])
            text += "" if length == size else f" udp-length={length}"
        elif proto == 1 and len(payload) >= 8:
            text = self._icmp(payload, size, quoted)
        else:
            text = f"proto={proto} size={size} {self._contents(payload)}"
        if quoted:
            ident = self._quoted_id(ip_id, proto, total)
        else:
            self._seen_ids.add((ip_id, proto, total))
        return f"{begin} id={ident}{df}{tos_text} {text}{odd}"

    def _icmp(self, payload: bytes, size: int, quoted: bool) -> str:
        kind, code, _, high, low = struct.unpack_from("!BBHHH", payload)
        odd = " bad-checksum" if not quoted and not self._unsummed and checksum(payload) else ""
        if kind in (0, 8):
            name = "echo-request" if kind == 8 else "echo-reply"
            return f"ICMP {name} {self._echo(high, low, payload[8:], size - 8, quoted)}{odd}"
        quote = f" quote({len(payload) - 8}B)"
        if len(payload) >= 36:
            quote += f"{{{self._ipv4(payload[8:], quoted=True)}}}"
        if kind == 3 and code == 4:
            return f"ICMP frag-needed mtu={low}{quote}{odd}"
        if kind == 3 and code in self.unreachable:
            return f"ICMP {self.unreachable[code]}-unreachable{quote}{odd}"
        if kind == 5 and self.redirects:
            return f"ICMP redirect code={code} to {address(payload[4:8])}{quote}{odd}"
        if kind == 11:
            return f"ICMP {self._exceeded(code)}-exceeded{quote}{odd}"
        return f"ICMP {self._other_icmp(kind, code, payload[4:8])}{quote}{odd}"

    def _tcp(self, payload: bytes, ip_id: int, size: int, quoted: bool) -> tuple[str, str]:
        """The segment's text, and the text of its IP ID."""
        sport, dport, seq = struct.unpack_from("!HHI", payload)
        if len(payload) < 20:
            return f"TCP {self._port(sport)}>{self._port(dport)} seq={self._sequence(seq)}", "q"
        ack, offset, flags, window = struct.unpack_from("!IBBH", payload, 8)
        header = (offset >> 4) * 4
        known = seq in self._isns
        if flags & SYN and not quoted and not known:
            self._isns.append(seq)
        # a SYN that a rule rejected is only seen in the quote: it may be near another connection's number by chance
        alone = bool(flags & SYN) and quoted and not known
        isn = None if alone else self._nearest(seq)
        shown_seq = self._symbol("seq", seq) if alone else self._sequence(seq)
        names = "".join(letter for bit, letter in FLAGS if flags & bit)
        shown_ack = self._sequence(ack) if flags & ACK else str(ack)
        data = self._quoted(payload[header:], size - header) if quoted else self._contents(payload[header:])
        ports = f"{self._port(sport)}>{self._port(dport)}"
        text = f"TCP {ports} [{names}] seq={shown_seq} ack={shown_ack} win={window} {data}"
        if header > 20:
            text += f" <{','.join(self._options(payload[20:header]))}>"
        if struct.unpack_from("!H", payload, 18)[0]:
            text += " urgent"
        if isn is None or quoted or isn + BY_HAND & 0xFFFFFFFF < 2 * BY_HAND:  # a raw packet's is drawn for each
            return text, "x" if ip_id else "0"
        if ip_id == 0 and self._last_ip_id.get(isn, 0) < WRAPPED:
            return text, "0"
        self._last_ip_id[isn] = ip_id
        first = self._first_ip_id.setdefault(isn, ip_id)
        return text, f"r+{(ip_id - first) & 0xFFFF}"

    def _nearest(self, seq: int) -> int | None:
        """The initial sequence number that `seq` is counted from: the nearest at or below it."""
        below = [(seq - isn & 0xFFFFFFFF, isn) for isn in self._isns]
        distance, isn = min(below, default=(1 << 32, 0))
        return isn if distance < NEAR and (seq >= BY_HAND or distance < BY_HAND) else None

    def _sequence(self, seq: int) -> str:
        if seq == 0:
            return "0!"
        isn = self._nearest(seq)
        return self._symbol("seq", seq) if isn is None else str(seq - isn & 0xFFFFFFFF)

    def _options(self, data: bytes) -> list[str]:
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
            value = data[at + 2 : at + length]
            names.append(self._option(kind, value))
            at += length
        return names

    def _option(self, kind: int, value: bytes) -> str:
        if kind in OPTIONS:
            return f"{OPTIONS[kind]}={int.from_bytes(value)}"
        if kind == 5:
            return self._sack(value)
        return {4: "sackOK", 8: "TS"}.get(kind) or self._other_option(kind, value)
