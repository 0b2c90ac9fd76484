"""Edits of the link header under tcprewrite's names: MACs, VLAN tags, the frame check sequence, another link type.

Must not know IP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from emu.errors import InputError
from emu.wire import linktype
from emu.wire.addr import BROADCAST_MAC, decimal, mac
from emu.wire.frame import ETH_HLEN, ETH_P_IP, ETH_P_IPV6
from emu.wire.linktype import ETHERNET
from emu.wire.record import Record

HDLC = 104
_TAG = {"802.1q": b"\x81\x00", "802.1ad": b"\x88\xa8"}
_TYPES = (b"\x81\x00", b"\x88\xa8")
_MPLS = (0x8847, 0x8848)
FCS = 4


@dataclass(slots=True)
class LinkEdits:
    """What is asked for. `dmac` and `smac` are for the client's and the server's side; `swaps` replace one MAC by another. `vlan` is add, del or
    "". `header`: the link header becomes these bytes, of the link type `dlt` (-1: as before). `hdlc`: (address, control)."""

    dmac: Sequence[bytes] = ()
    smac: Sequence[bytes] = ()
    swaps: dict[bytes, bytes] = field(default_factory=dict)
    vlan: str = ""
    tag: int = 0
    priority: int = 0
    cfi: int = 0
    protocol: str = "802.1q"
    efcs: bool = False
    header: bytes = b""
    dlt: int = -1
    hdlc: tuple[int, int] | None = None

    @property
    def any(self) -> bool:
        return bool(
            self.dmac or self.smac or self.swaps or self.vlan or self.efcs or self.header or self.hdlc is not None
        )

    def linktype(self, before: int) -> int:
        if self.hdlc is not None:
            return HDLC
        return self.dlt if self.header and self.dlt >= 0 else before

    def without_fcs(self, record: Record) -> Record:
        """Without the frame check sequence, if `efcs` states that frames have one."""
        if not self.efcs or record.length <= FCS:
            return record
        data = record.data[:-FCS] if len(record.data) == record.length else record.data
        return record._replace(data=data, length=record.length - FCS)

    def edit(self, record: Record, way: int) -> Record:
        """The record with another link header; `way` 0 is the client's side."""
        record = self.without_fcs(record)
        data, length = record.data, record.length
        if record.linktype != ETHERNET or len(data) < ETH_HLEN:
            return record._replace(data=data, length=length)
        before = len(data)
        if self.header or self.hdlc is not None:
            data = self._another(data)
        else:
            data = self._ethernet(data, way)
        after = self.linktype(record.linktype)
        return record._replace(data=data, length=length + len(data) - before, linktype=after)

    def _ethernet(self, data: bytes, way: int) -> bytes:
        at = walk(data).tag_at
        rest = data[at:]
        if self.vlan == "del" and rest[:2] in _TYPES:
            data = data[:at] + rest[4:]
        elif self.vlan == "add":
            word = self.priority << 13 | self.cfi << 12 | self.tag
            data = data[:at] + _TAG[self.protocol] + word.to_bytes(2, "big") + rest
        target, source = data[:6], data[6:12]
        source, target = self.swaps.get(source, source), self.swaps.get(target, target)
        if self.dmac and (not target[0] & 1 or target == BROADCAST_MAC):  # a group stays a group
            target = self.dmac[min(way, len(self.dmac) - 1)]
        if self.smac:
            source = self.smac[min(way, len(self.smac) - 1)]
        return target + source + data[12:]

    def _another(self, data: bytes) -> bytes:
        found = walk(data)
        if self.hdlc is not None:
            outer = 16 if data[12:14] in _TYPES else 12
            return bytes(self.hdlc) + data[outer : outer + 2] + data[found.l3 :]
        return self.header + data[found.l3 :]


class Walked(NamedTuple):
    """Where in an Ethernet frame a VLAN tag stands or would stand, where the packet begins, and what it is."""

    tag_at: int
    l3: int
    ethertype: int


def walk(data: bytes) -> Walked:
    """Past VLAN tags, MPLS labels, and the Ethernet header behind a pseudowire's control word (RFC 4385)."""
    at = tag_at = 12
    for _ in range(8):
        if len(data) < at + 2:
            break
        ethertype = data[at] << 8 | data[at + 1]
        if data[at : at + 2] in _TYPES and len(data) >= at + 6:
            at += 4
            continue
        if ethertype not in _MPLS:
            return Walked(tag_at, at + 2, ethertype)
        at += 2
        while len(data) >= at + 4 and not data[at + 2] & 1:
            at += 4
        at += 4
        kind = data[at] >> 4 if len(data) > at else -1
        if kind in (4, 6):
            return Walked(tag_at, at, ETH_P_IP if kind == 4 else ETH_P_IPV6)
        if kind != 0:
            return Walked(tag_at, at, 0)
        tag_at = at = at + 4 + 12
    return Walked(12, len(data), 0)


def editable(record: Record) -> bool:
    """Is it no 802.3 frame? Those have no packet to edit."""
    data = record.data
    return record.linktype != ETHERNET or (len(data) >= ETH_HLEN and data[12:14] >= b"\x06\x00")


def headers(record: Record) -> tuple[Record, int, int]:
    """The record, the length of its link header, and the EtherType of what follows."""
    if record.linktype == ETHERNET:
        found = walk(record.data)
        return record, found.l3, found.ethertype
    if record.linktype == HDLC and len(record.data) >= 4:
        return record, 4, record.data[2] << 8 | record.data[3]
    packet = linktype.packet(record.linktype, record.data, record.length)
    if packet.why:
        return record, len(record.data), 0
    return record, len(record.data) - len(packet.data), packet.ethertype


def macs(text: str, option: str) -> list[bytes]:
    """One MAC, or two with a comma: the client's side, the server's. Raises InputError."""
    found = [mac(part.strip()) for part in text.split(",")] if text else []
    if len(found) > 2:
        raise InputError(f"{option}: {len(found)} MACs", expected="one, or two with a comma")
    return found


def swaps(texts: Sequence[str]) -> dict[bytes, bytes]:
    """`--enet-subsmac=OLD,NEW`. Raises InputError."""
    found = {}
    for text in texts:
        old, comma, new = text.partition(",")
        if not comma:
            raise InputError(f"--enet-subsmac: cannot read {text!r}", expected="MAC,MAC")
        found[mac(old.strip())] = mac(new.strip())
    return found


def header(text: str) -> bytes:
    """`--user-dlink=0x0f,00,08,00`. Raises InputError."""
    found = bytearray()
    for part in text.split(",") if text else ():
        digits = part.strip().lower().removeprefix("0x")
        if not digits or len(digits) > 2 or set(digits) - set("0123456789abcdef"):
            raise InputError(f"--user-dlink: {part!r} is no byte", expected="bytes in hexadecimal, with commas")
        found.append(int(digits, 16))
    return bytes(found)


def number(text: str, option: str, most: int) -> int:
    """A number, decimal or 0x. Raises InputError."""
    value = int(text, 16) if text.lower().startswith("0x") and len(text) < 12 else decimal(text)
    if value is None or value > most:
        raise InputError(f"{option}: cannot read {text!r}", expected=f"0 to {most}")
    return value
