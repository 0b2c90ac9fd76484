"""The reader of captures: pcap, pcapng, and hex dumps as text2pcap takes them, one record after the other.

A file is never held whole: a record is read when it is asked for. Both byte orders, micro- and nanoseconds, gzip around it.
What is damaged in the middle ends the reading with a note, as what came before is still true. Formats: pcap-savefile(5),
draft-ietf-opsawg-pcapng. Must not know what is in a frame, or what a record is for.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct, error, unpack_from
from typing import BinaryIO, NamedTuple

from emu.capture import hexdump
from emu.errors import InputError
from emu.wire.record import Record

FORMS = "a pcap, a pcapng, or a hex dump with offsets as text2pcap reads it"
MAX_RECORD = 1 << 18  # bytes of one frame: libpcap's MAXIMUM_SNAPLEN
MAX_BLOCK = 1 << 24
GZIP = b"\x1f\x8b"
# magic: byte order, units of a second, bytes of a record's header (libpcap's sf-pcap.c; the last is Kuznetzov's)
PCAP = {
    bytes.fromhex(magic): (order, units, header)
    for magic, order, units, header in (
        ("a1b2c3d4", ">", 10**6, 16), ("d4c3b2a1", "<", 10**6, 16),
        ("a1b23c4d", ">", 10**9, 16), ("4d3cb2a1", "<", 10**9, 16),
        ("a1b2cd34", ">", 10**6, 24), ("34cdb2a1", "<", 10**6, 24),
    )
}  # fmt: skip
SECTION = b"\x0a\x0d\x0d\x0a"
(_IDB, _PACKET, _SIMPLE, _NAMES, _ENHANCED) = (1, 2, 3, 4, 6)
_USERAPPL, _IF_NAME, _IF_DESCRIPTION, _IF_IPV4ADDR, _IF_MACADDR, _NRB_IPV4 = 4, 2, 3, 4, 6, 1
_TSRESOL, _TSOFFSET = 9, 14
SECOND = 1_000_000_000


class Damaged(Exception):
    """The rest of a file cannot be read."""


class Described(NamedTuple):
    """An interface of a pcapng, as its block describes it; `addresses` are IPv4 (address, netmask) ints, `mac` is b"" for none."""

    name: str
    description: str
    mac: bytes
    addresses: tuple[tuple[int, int], ...]


class _Interface(NamedTuple):
    linktype: int
    snap: int
    units: int
    offset_s: int


class Capture:
    """An open capture: iterate over it once. `size` is the file's, bytes (0: unknown); `notes` states what was wrong in it.

    Of a pcapng `interfaces` and `names` (of IPv4 addresses, ints; the last name of each) are what was read of them so far, and
    `application` is what wrote it.
    """

    def __init__(self, file: BinaryIO, name: str, size: int = 0) -> None:
        self.name, self.size, self.notes = name, size, list[str]()
        self.interfaces: list[Described] = []
        self.names: dict[int, str] = {}
        self.application = ""
        self._file = file
        self._raw: BinaryIO = file
        head = file.read(4)
        if head[:2] == GZIP:
            self.size = 0
            self._file = file = io.BufferedReader(gzip.GzipFile(fileobj=_Ahead(head, file)), 1 << 20)
            head = self._first(file)
        self._records: Iterator[Record]
        if head in PCAP:
            self._records = self._pcap(*PCAP[head])
        elif head == SECTION:
            self._records = self._pcapng()
        else:
            self._records = self._hex(head)

    def _first(self, file: BinaryIO) -> bytes:
        try:
            return file.read(4)
        except (OSError, EOFError, zlib.error) as wrong:
            raise InputError(f"cannot be unpacked: {wrong}", file=self.name, expected=FORMS) from None

    def __iter__(self) -> Iterator[Record]:
        number = 0
        try:
            for record in self._records:
                number = record.number
                yield record
        except Damaged as wrong:
            self.notes.append(f"{self.name}: {wrong}: nothing is read behind frame {number}")
        except (EOFError, OSError, zlib.error, error) as wrong:
            self.notes.append(f"{self.name}: cannot be read behind frame {number}: {wrong}")

    # -- pcap ------------------------------------------------------------------------------------

    def _pcap(self, order: str, units: int, header: int) -> Iterator[Record]:
        read = self._file.read
        head = read(20)
        if len(head) < 20:
            raise Damaged("the file ends within its header")
        linktype = unpack_from(f"{order}I", head, 16)[0] & 0x03FFFFFF
        unpack, scale = Struct(f"{order}IIII").unpack_from, SECOND // units
        number = 0
        while True:
            head = read(header)
            if not head:
                return
            if len(head) < header:
                raise Damaged("the file ends within the header of a frame")
            seconds, fraction, kept, length = unpack(head)
            if kept > MAX_RECORD:
                raise Damaged(f"a frame of {kept:,} bytes")
            data = read(kept)
            number += 1
            if len(data) < kept:
                if data:
                    yield Record(number, seconds * SECOND + fraction * scale, data, max(length, kept), linktype)
                raise Damaged("the file ends within a frame")
            yield Record(number, seconds * SECOND + fraction * scale, data, max(length, kept), linktype)

    # -- pcapng ----------------------------------------------------------------------------------

    def _pcapng(self) -> Iterator[Record]:
        read = self._file.read
        order, interfaces, number, first = "<", list[_Interface](), 0, 0
        kind_bytes = SECTION
        while True:
            head = read(4)
            if len(head) < 4:
                raise Damaged("the file ends within a block")
            if kind_bytes == SECTION:
                magic = read(4)
                order = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}.get(magic, "")
                if not order:
                    raise Damaged("a section without its byte order")
                interfaces, first = [], len(self.interfaces)
            (total,) = unpack_from(f"{order}I", head)
            rest = total - (12 if kind_bytes == SECTION else 8)
            if total % 4 or rest < 4 or total > MAX_BLOCK:
                raise Damaged(f"a block of {total:,} bytes")
            body = read(rest)
            if len(body) < rest:
                raise Damaged("the file ends within a block")
            (kind,) = unpack_from(f"{order}I", kind_bytes)
            body = body[:-4]
            if kind_bytes == SECTION:
                self.application = values(order, body[12:]).get(_USERAPPL, b"").decode(errors="replace")
            elif kind == _IDB:
                interfaces.append(_interface(order, body))
                self.interfaces.append(_described(order, body))
            elif kind == _NAMES:
                self.names |= _names(order, body)
            elif kind in (_ENHANCED, _PACKET, _SIMPLE):
                number += 1
                yield _packet(order, kind, body, interfaces, number, first)
            kind_bytes = read(4)
            if not kind_bytes:
                return
            if len(kind_bytes) < 4:
                raise Damaged("the file ends within a block")

    # -- text ------------------------------------------------------------------------------------

    def _hex(self, head: bytes) -> Iterator[Record]:
        lines = io.TextIOWrapper(io.BufferedReader(_Ahead(head, self._file)), "utf-8", "replace")
        found = hexdump.packets(lines)
        first = next(found, None)
        if first is None:
            what = "is empty" if not head else "is no capture"
            raise InputError(what, file=self.name, expected=FORMS)
        return self._numbered(first, found)

    @staticmethod
    def _numbered(first: hexdump.Dumped, rest: Iterator[hexdump.Dumped]) -> Iterator[Record]:
        yield Record(1, 0, first.data, len(first.data), first.linktype)
        for number, each in enumerate(rest, 2):
            yield Record(number, (number - 1) * SECOND // 1000, each.data, len(each.data), each.linktype)

    def place(self) -> int:
        """How far into the file the reading is, bytes, about; 0 where that is unknown."""
        try:
            return os.lseek(self._raw.fileno(), 0, os.SEEK_CUR) if self.size else 0
        except (OSError, ValueError):
            return 0


def options(order: str, body: bytes) -> Iterator[tuple[int, bytes]]:
    """The options of a block, by code; they end with code 0. One that is cut short ends them."""
    at = 0
    while at + 4 <= len(body):
        code, size = unpack_from(f"{order}HH", body, at)
        if code == 0 or at + 4 + size > len(body):
            return
        yield code, body[at + 4 : at + 4 + size]
        at += 4 + (size + 3 & ~3)


def values(order: str, body: bytes) -> dict[int, bytes]:
    """The options of a block, the first of each code."""
    found: dict[int, bytes] = {}
    for code, value in options(order, body):
        found.setdefault(code, value)
    return found


def _described(order: str, body: bytes) -> Described:
    stated = values(order, body[8:])
    name, description = (stated.get(code, b"").decode(errors="replace") for code in (_IF_NAME, _IF_DESCRIPTION))
    pairs = (value for code, value in options(order, body[8:]) if code == _IF_IPV4ADDR and len(value) == 8)
    return Described(name, description, stated.get(_IF_MACADDR, b""), tuple(unpack_from(">II", pair) for pair in pairs))


def _names(order: str, body: bytes) -> dict[int, str]:
    """The last name of each address: the one that is shown."""
    found = {}
    for code, value in options(order, body):
        if code == _NRB_IPV4 and len(value) > 5:
            known = [text for text in value[4:].split(b"\0") if text]
            found[int.from_bytes(value[:4], "big")] = known[-1].decode(errors="replace") if known else ""
    return found


def _interface(order: str, body: bytes) -> _Interface:
    linktype, _, snap = unpack_from(f"{order}HHI", body)
    units, offset_s = 10**6, 0
    for code, value in options(order, body[8:]):
        if code == _TSRESOL and value:
            exponent = value[0] & 0x7F
            units = 1 << exponent if value[0] & 0x80 else 10 ** min(exponent, 127)
        elif code == _TSOFFSET and len(value) == 8:
            (offset_s,) = unpack_from(f"{order}q", value)
    return _Interface(linktype, snap, units, offset_s)


def _packet(order: str, kind: int, body: bytes, interfaces: list[_Interface], number: int, first: int) -> Record:
    high = low = at = 0
    if kind == _ENHANCED:
        index, high, low, kept, length = unpack_from(f"{order}IIIII", body)
        at = 20
    elif kind == _PACKET:
        index, _, high, low, kept, length = unpack_from(f"{order}HHIIII", body)
        at = 20
    else:
        index, (length,), at = 0, unpack_from(f"{order}I", body), 4
        kept = length
    if index >= len(interfaces):
        raise Damaged(f"a frame of interface {index}, which is not described")
    interface = interfaces[index]
    if kind == _SIMPLE and interface.snap:
        kept = min(kept, interface.snap)
    data = body[at : at + kept]
    if len(data) < kept or kept > MAX_RECORD:
        raise Damaged(f"a frame of {kept:,} bytes in a block of {len(body):,}")
    time_ns = (high << 32 | low) * SECOND // interface.units + interface.offset_s * SECOND
    rest = body[at + (kept + 3 & ~3) :] if order == "<" else b""
    return Record(number, time_ns, data, max(length, kept), interface.linktype, first + index, rest)


class _Ahead(io.RawIOBase):
    """A file whose first bytes were read already."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head, self._file = head, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] or self._file.read(len(buffer))
        self._head = self._head[len(data) :] if self._head else b""
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[Capture]:
    """An open `Capture`; `-` is standard input. Raises InputError: no such file, or it is no capture."""
    if str(path) == "-":
        yield Capture(sys.stdin.buffer, "standard input")
        return
    try:
        with Path(path).open("rb", buffering=1 << 20) as file:
            yield Capture(file, str(path), os.fstat(file.fileno()).st_size)
    except OSError as wrong:
        if wrong.filename is None:
            raise
        raise InputError(str(wrong.strerror), file=str(path)) from None


__all__ = ["Capture", "Record", "reading"]
