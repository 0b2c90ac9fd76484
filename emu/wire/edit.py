"""Edits of recorded frames under tcprewrite's names: addresses, ports, TTL, lengths, VLAN tags, MACs, checksums.

An edit takes a record and gives the edited one, in tcprewrite's order: link header, TOS, TTL, ports, lengths, addresses, checksums. A change of an address or port adjusts checksums, so that a wrong one stays wrong; the other changes compute
them, as `--fixcsum` does. Frames that the options do not concern stay as they are. Must not know files or replays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from emu.errors import InputError
from emu.wire.addr import Prefix, decimal, is_multicast
from emu.wire.checksum import checksum
from emu.wire.edit_link import LinkEdits, editable, headers
from emu.wire.frame import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ICMP, TCP, UDP
from emu.wire.proto import ICMPV6
from emu.wire.record import Record

IP6_HLEN = 40
_SUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}
FIXLEN = ("pad", "trunc", "del")
Pair = tuple[Prefix, Prefix]
Ports = dict[int, int]


@dataclass(slots=True)
class Edits:
    """What is asked for. `sources` and `targets` map prefixes for packets of the client's side; those of the other side have them the other
    way round. `directions` states the sides (None: all are the client's). `ttl` is (sign, value): "" sets. `mtu` is the longest packet,
    bytes. `notes` counts what could not be edited."""

    link: LinkEdits = field(default_factory=LinkEdits)
    sources: Sequence[Pair] = ()
    targets: Sequence[Pair] = ()
    ports: Ports = field(default_factory=dict)
    ttl: tuple[str, int] | None = None
    tos: int | None = None
    mtu: int = 0
    fixcsum: bool = False
    fixlen: str = ""
    fixhdrlen: bool = False
    skip_broadcast: bool = False
    directions: Sequence[int] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def any(self) -> bool:
        """Is anything asked for?"""
        return bool(
            self.link.any or self.sources or self.targets or self.ports or self.ttl or self.tos is not None or self.mtu
            or self.fixcsum or self.fixlen or self.fixhdrlen
        )  # fmt: skip

    def linktype(self, before: int) -> int:
        """The link type of what was edited."""
        return self.link.linktype(before)

    def apply(self, record: Record) -> Iterator[Record]:
        """The edited record; none where `--fixlen del` leaves it out."""
        if not self.any:
            yield record
            return
        way = self._way(record.number)
        if not editable(record):
            yield self.link.without_fcs(record)._replace(linktype=self.linktype(record.linktype))
            return
        if self.fixlen == "del" and len(record.data) != record.length and record.length:
            return
        record, l2, ethertype = headers(self.link.edit(record, way))
        buf = bytearray(record.data)
        length = record.length
        changed = False
        if ethertype == ETH_P_IP and _is_ip4(buf, l2):
            changed = self._ip4(buf, l2)
        elif ethertype == ETH_P_IPV6 and len(buf) >= l2 + IP6_HLEN:
            changed = self._ip6(buf, l2)
        length, cut = self._lengths(buf, l2, ethertype, length)
        changed = changed or cut
        if self.sources or self.targets:
            self._addresses(buf, l2, ethertype, way)
        if ethertype == ETH_P_IP and self.fixhdrlen and _is_ip4(buf, l2):
            changed = _fix_length(buf, l2, length) or changed
        if changed or self.fixcsum:
            _sum(buf, l2, ethertype, whole=len(buf) == length)
        yield record._replace(data=bytes(buf), length=length)

    def _way(self, number: int) -> int:
        """0: a packet of the client's side; 1: of the server's."""
        if self.directions is None or not 0 < number <= len(self.directions):
            return 0
        return self.directions[number - 1]

    # -- IP ---------------------------------------------------------------------------------------

    def _ip4(self, buf: bytearray, l2: int) -> bool:
        if self.tos is not None:
            old = _word(buf, l2)
            buf[l2 + 1] = self.tos
            _adjust(buf, l2 + 10, old, _word(buf, l2))
        changed = False
        if self.ttl is not None:
            word = _word(buf, l2 + 8)
            buf[l2 + 8] = self._hops(buf[l2 + 8])
            _adjust(buf, l2 + 10, word, _word(buf, l2 + 8))
            changed = True
        l4 = l2 + (buf[l2] & 15) * 4
        if not _word(buf, l2 + 6) & 0x1FFF:
            self._transport(buf, l4, buf[l2 + 9])
        return changed

    def _ip6(self, buf: bytearray, l2: int) -> bool:
        changed = False
        if self.ttl is not None:
            buf[l2 + 7] = self._hops(buf[l2 + 7])
            changed = True
        self._transport(buf, l2 + IP6_HLEN, buf[l2 + 6])
        return changed

    def _hops(self, old: int) -> int:
        assert self.ttl is not None
        sign, value = self.ttl
        if sign == "+":
            return min(old + value, 255)
        return max(old - value, 1) if sign == "-" else value

    def _transport(self, buf: bytearray, l4: int, proto: int) -> None:
        """Ports."""
        if proto not in (TCP, UDP) or len(buf) < l4 + (20 if proto == TCP else 8):
            return
        at, unsummed = l4 + _SUM_AT[proto], proto == UDP and not _word(buf, l4 + 6)
        for place in (l4 + 2, l4):
            old = _word(buf, place)
            new = self.ports.get(old, old)
            if new != old:
                if not unsummed:
                    _adjust(buf, at, old, new)
                buf[place : place + 2] = new.to_bytes(2, "big")

    # -- lengths ----------------------------------------------------------------------------------

    def _lengths(self, buf: bytearray, l2: int, ethertype: int, length: int) -> tuple[int, bool]:
        """Pad or cut; gives the length on the wire, and whether checksums must be computed."""
        ip4 = ethertype == ETH_P_IP and _is_ip4(buf, l2)
        if self.fixlen and len(buf) != length and ethertype in (ETH_P_IP, ETH_P_IPV6):
            if self.fixlen == "pad":
                buf.extend(bytes(max(length - len(buf), 0)))
            else:
                length = len(buf)
                if ip4:
                    buf[l2 + 2 : l2 + 4] = (length - l2 & 0xFFFF).to_bytes(2, "big")
            return length, True
        if self.mtu and length > self.mtu + l2:
            del buf[l2 + self.mtu :]
            if ip4:
                buf[l2 + 2 : l2 + 4] = self.mtu.to_bytes(2, "big")
            elif ethertype == ETH_P_IPV6:
                buf[l2 + 4 : l2 + 6] = max(self.mtu - IP6_HLEN, 0).to_bytes(2, "big")
            return l2 + self.mtu, True
        return length, bool(self.mtu)

    # -- addresses --------------------------------------------------------------------------------

    def _addresses(self, buf: bytearray, l2: int, ethertype: int, way: int) -> None:
        sources, targets = (self.sources, self.targets) if way == 0 else (self.targets, self.sources)
        if ethertype == ETH_P_ARP and len(buf) >= l2 + 28 and buf[l2 + 2 : l2 + 6] == b"\x08\x00\x06\x04":
            ask = _word(buf, l2 + 6) == 1
            for at, maps in ((l2 + 14, targets if ask else sources), (l2 + 24, sources if ask else targets)):
                new = self._mapped(int.from_bytes(buf[at : at + 4], "big"), maps)
                buf[at : at + 4] = new.to_bytes(4, "big")
        elif ethertype == ETH_P_IP and _is_ip4(buf, l2):
            l4, proto = l2 + (buf[l2] & 15) * 4, buf[l2 + 9]
            first = not _word(buf, l2 + 6) & 0x1FFF
            summed = l4 + _SUM_AT[proto] if first and proto in (TCP, UDP) else 0
            if summed and (len(buf) < summed + 2 or (proto == UDP and not _word(buf, summed))):
                summed = 0
            for at, maps in ((l2 + 12, sources), (l2 + 16, targets)):
                old = int.from_bytes(buf[at : at + 4], "big")
                data = self._mapped(old, maps).to_bytes(4, "big")
                _write(buf, at, data, l2 + 10, *((summed,) if summed else ()))

    def _mapped(self, addr: int, maps: Sequence[Pair]) -> int:
        """The address by the first prefix that it lies in, with its own host bits."""
        if self.skip_broadcast and (is_multicast(addr) or addr == 0xFFFFFFFF):
            return addr
        for before, after in maps:
            if addr in before:
                return after.net | addr & (1 << 32 - after.length) - 1
        return addr


def _is_ip4(buf: bytearray, l2: int) -> bool:
    return len(buf) >= l2 + 20 and buf[l2] >> 4 == 4 and buf[l2] & 15 >= 5 and len(buf) >= l2 + (buf[l2] & 15) * 4


def _word(buf: bytearray, at: int) -> int:
    return buf[at] << 8 | buf[at + 1]


def _adjust(buf: bytearray, at: int, old: int, new: int) -> None:
    """RFC 1624, equation 3."""
    total = (0xFFFF - _word(buf, at)) + (0xFFFF - old) + new
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    buf[at : at + 2] = (0xFFFF - total).to_bytes(2, "big")


def _write(buf: bytearray, at: int, data: bytes, *sums: int) -> None:
    """Write words, and adjust the checksums at these places."""
    for index in range(0, len(data), 2):
        old, new = _word(buf, at + index), data[index] << 8 | data[index + 1]
        for place in sums:
            if len(buf) >= place + 2 and old != new:
                _adjust(buf, place, old, new)
    buf[at : at + len(data)] = data


def _fix_length(buf: bytearray, l2: int, length: int) -> bool:
    wanted = length - l2
    if _word(buf, l2 + 6) & 0x3FFF or _word(buf, l2 + 2) == wanted or wanted > 0xFFFF:
        return False
    buf[l2 + 2 : l2 + 4] = wanted.to_bytes(2, "big")
    return True


def _sum(buf: bytearray, l2: int, ethertype: int, *, whole: bool) -> None:
    """Compute the checksums of a whole packet that is no fragment; of others that of the IP header."""
    if ethertype == ETH_P_IP and _is_ip4(buf, l2):
        head = (buf[l2] & 15) * 4
        if whole and not _word(buf, l2 + 6) & 0x3FFF:
            if _word(buf, l2 + 2) != len(buf) - l2:
                return
            _sum_transport(buf, l2 + head, buf[l2 + 9], bytes(buf[l2 + 12 : l2 + 20]))
        buf[l2 + 10 : l2 + 12] = b"\0\0"
        buf[l2 + 10 : l2 + 12] = checksum(buf[l2 : l2 + head]).to_bytes(2, "big")
    elif ethertype == ETH_P_IPV6 and len(buf) >= l2 + IP6_HLEN and whole:
        _sum_transport(buf, l2 + IP6_HLEN, buf[l2 + 6], bytes(buf[l2 + 8 : l2 + IP6_HLEN]))


def _sum_transport(buf: bytearray, l4: int, proto: int, ends: bytes) -> None:
    at = l4 + _SUM_AT.get(proto, 0)
    if proto not in _SUM_AT or len(buf) < at + 2 or (proto == UDP and not _word(buf, at)):
        return
    size = len(buf) - l4
    pseudo = b"" if proto == ICMP else ends + size.to_bytes(4, "big") + proto.to_bytes(4, "big")
    buf[at : at + 2] = b"\0\0"
    data = pseudo + bytes(buf[l4:])
    total = checksum(data)
    buf[at : at + 2] = (total or (0xFFFF if proto == UDP else 0)).to_bytes(2, "big")


# -- what people write --------------------------------------------------------------------------------


def pairs(text: str, option: str) -> list[Pair]:
    """`192.168.0.0/16:172.16.0.0/16,...` as prefixes. Raises InputError."""
    found = []
    for part in text.split(","):
        before, colon, after = part.partition(":")
        if not colon:
            raise InputError(f"{option}: cannot read {part!r}", expected="CIDR:CIDR, such as 10.0.0.0/8:192.168.0.0/16")
        found.append((Prefix.parse(before), Prefix.parse(after)))
    return found


def ports(texts: Sequence[str]) -> Ports:
    """`80:8080`, `8000-8010:80`, `25+465:587`, several with commas. The first that names a port counts. Raises InputError."""
    found: Ports = {}
    for part in (each for text in texts for each in text.split(",")):
        before, colon, after = part.partition(":")
        target = decimal(after)
        if not colon or target is None or target > 65535:
            raise InputError(f"--portmap: cannot read {part!r}", expected="PORT:PORT or FIRST-LAST:PORT")
        for one in before.split("+"):
            first, dash, last = one.partition("-")
            low, high = decimal(first), decimal(last) if dash else decimal(first)
            if low is None or high is None or not low <= high <= 65535:
                raise InputError(f"--portmap: cannot read {part!r}", expected="PORT:PORT or FIRST-LAST:PORT")
            for port in range(low, high + 1):
                found.setdefault(port, target)
    return found


def ttl(text: str) -> tuple[str, int] | None:
    """`64`, `+1` or `-1`; "" for none. Raises InputError."""
    if not text:
        return None
    sign = text[0] if text[0] in "+-" else ""
    value = decimal(text[len(sign) :])
    if value is None or value > 255:
        raise InputError(f"--ttl: cannot read {text!r}", expected="0 to 255, with + or - to add or take away")
    return sign, value


def directions(data: bytes, file: str) -> list[int]:
    """The sides of packets by a cache file of tcpprep, 0 the client's. Raises InputError."""
    if data[:8] != b"tcpprep\0" or len(data) < 24:
        raise InputError("is no cache file of tcpprep", file=file)
    count, size = int.from_bytes(data[12:20], "big"), int.from_bytes(data[22:24], "big")
    bits = data[24 + size :]
    if len(bits) * 4 < count:
        raise InputError(f"has the sides of {len(bits) * 4} packets, and states {count}", file=file)
    return [0 if bits[index // 4] >> (index % 4 * 2) & 1 else 1 for index in range(count)]
