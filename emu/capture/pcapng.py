"""The pcapng writer: named interfaces, nanoseconds, direction flags, a comment on every frame, names for addresses.

Written by hand because no Python library writes names, descriptions and nanoseconds. Little-endian, one section,
one link type and one snap length (tcpdump reads only such files), and no data of this host: the same frames give
the same bytes. Format: draft-ietf-opsawg-pcapng. Must not know frames, trails or what a comment means.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from struct import Struct, pack, unpack_from
from typing import BinaryIO

from emu.capture.atomic import Own, whole_file
from emu.clock import EPOCH_NS
from emu.version import VERSION
from emu.wire.frame import AF_INET

SNAP_LENGTH = 262_144
LINKTYPE_ETHERNET, LINKTYPE_RAW = 1, 101  # RAW: the frames begin with an IP header
HARDWARE, SYSTEM, APPLICATION = "virtual", "Linux, emulated", f"emu {VERSION}"

# epb_flags (section 4.3.1): direction in bits 0-1, reception type in bits 2-4
INBOUND, OUTBOUND = 1, 2
UNICAST, MULTICAST, BROADCAST, PROMISCUOUS = (kind << 2 for kind in (1, 2, 3, 4))

# A frame's comment: a text, or two parts in UTF-8, the first of which many frames share.
Comment = str | bytes | tuple[bytes, bytes] | None
# One captured frame: interface, virtual time in ns, the bytes, epb_flags (0: none), comment.
Packet = tuple[int, int, bytes | bytearray, int, Comment]

_OPT_COMMENT, _EPB_FLAGS = 1, 2
_SHB_HARDWARE, _SHB_OS, _SHB_USERAPPL = 2, 3, 4
_IF_NAME, _IF_DESCRIPTION, _IF_IPV4ADDR, _IF_MACADDR, _IF_TSRESOL = 2, 3, 4, 6, 9
_NRB_IPV4 = 1
_CACHED = 1 << 16
_join, _head = b"".join, Struct("<7I").pack
_PADDING = b"", bytes(3), bytes(2), bytes(1)
_CHUNK = 1 << 20


class Writer:
    """Writes one section to `file`; interfaces and names come before the packets that need them.

    Packets are buffered until a mebibyte is full or `flush` is called; `create` calls it at its end.
    """

    def __init__(self, file: BinaryIO, *, epoch_ns: int = EPOCH_NS) -> None:
        self.epoch_ns = epoch_ns
        self._file = file
        self._parts: list[bytes] = []
        self._pending = 0  # bytes of them, about
        self._interfaces = 0
        # By epb_flags, then by comment: the encoded options.
        self._options: dict[int, dict[str | bytes | None, bytes]] = {}
        # By lengths and flags: what stands before and after a comment, and the length at the end of a block without one.
        self._befores: dict[int, bytes] = {}
        self._afters: dict[int, tuple[int, bytes]] = {}
        self._totals: dict[int, bytes] = {}
        options = (_SHB_HARDWARE, HARDWARE), (_SHB_OS, SYSTEM), (_SHB_USERAPPL, APPLICATION)
        body = pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + b"".join(_option(code, text.encode()) for code, text in options)
        self._block(0x0A0D0D0A, body + _END)

    def interface(
        self,
        name: str,
        description: str = "",
        mac: bytes | None = None,
        addresses: Sequence[tuple[int, int]] = (),
        linktype: int = LINKTYPE_ETHERNET,
    ) -> int:
        """Write an interface description block; gives the interface's number. `addresses` are IPv4 (address, netmask) ints."""
        body = pack("<HHI", linktype, 0, SNAP_LENGTH) + _option(_IF_NAME, name.encode())
        if description:
            body += _option(_IF_DESCRIPTION, description.encode())
        for address, netmask in addresses:
            body += _option(_IF_IPV4ADDR, pack(">II", address, netmask))
        if mac is not None:
            body += _option(_IF_MACADDR, mac)
        self._block(1, body + _option(_IF_TSRESOL, b"\x09") + _END)
        self._interfaces += 1
        return self._interfaces - 1

    def names(self, names: Mapping[tuple[int, int], Sequence[str]]) -> None:
        """Write a name resolution block: (family, address) to its names, the first being the one that is shown. A family
        without a record type here is left out.

        Wireshark shows the last name of a record, so they are written in reverse order.
        """
        body = b""
        for (family, address), texts in names.items():
            if texts and family == AF_INET:
                value = address.to_bytes(4, "big") + b"".join(text.encode() + b"\0" for text in reversed(texts))
                body += _option(_NRB_IPV4, value)
        if body:
            self._block(4, body + _END)

    def packet(
        self, interface: int, time_ns: int, data: bytes | bytearray, flags: int = 0, comment: Comment = None
    ) -> None:
        """Write one frame; the arguments are those of `Packet`. A comment over 65535 bytes is cut."""
        self.write_packets(((interface, time_ns, data, flags, comment),))

    def write_packets(self, packets: Iterable[Packet]) -> None:
        """Write many frames, faster than one by one. Each is a `Packet` with an interface number from `interface`."""
        epoch_ns, interfaces, known, parts = self.epoch_ns, self._interfaces, self._options, self._parts
        befores, afters, totals, pending = self._befores, self._afters, self._totals, self._pending
        for interface, time_ns, data, flags, comment in packets:
            if interface >= interfaces:
                raise ValueError(f"interface {interface} was not announced")
            if data.__class__ is not bytes:
                data = bytes(data)  # it is written later
            length = len(data)
            padded = length + 3 & ~3
            time_ns += epoch_ns
            if comment.__class__ is tuple and (size := len(comment[0]) + len(comment[1])) <= 0xFFFF:
                total, after = afters.get(padded << 36 | flags << 16 | size) or self._after(padded, flags, size)
                before = befores.get(size << 2 | length & 3) or self._before(size, length)
                parts += (
                    _head(6, total, interface, time_ns >> 32, time_ns & 0xFFFFFFFF, length, length),
                    data, before, comment[0], comment[1], after,
                )  # fmt: skip
            else:
                one = _join(comment) if isinstance(comment, tuple) else comment
                try:
                    options = known[flags][one]
                except KeyError:
                    options = self._encode(flags, one)
                total = 32 + padded + len(options)
                parts += (
                    _head(6, total, interface, time_ns >> 32, time_ns & 0xFFFFFFFF, length, length),
                    data, _PADDING[length & 3], options, totals.get(total) or self._total(total),
                )  # fmt: skip
            pending += total
            if pending > _CHUNK:
                self._file.write(_join(parts))
                parts.clear()
                pending = 0
        self._pending = pending

    def flush(self) -> None:
        """Write what is buffered to the file."""
        self._file.write(_join(self._parts))
        self._parts.clear()
        self._pending = 0
        self._file.flush()

    def _block(self, kind: int, body: bytes) -> None:
        total = len(body) + 12
        self._parts += (pack("<II", kind, total), body, pack("<I", total))

    def _before(self, size: int, length: int) -> bytes:
        """What stands between a frame of this length and its comment of this size: padding, and the option's head."""
        before = self._befores[size << 2 | length & 3] = bytes(-length % 4) + pack("<HH", _OPT_COMMENT, size)
        return before

    def _after(self, padded: int, flags: int, size: int) -> tuple[int, bytes]:
        """The length of a block, and what stands behind its comment: padding, flags, the end of the options, the length again."""
        option = _option(_EPB_FLAGS, pack("<I", flags)) if flags else b""
        after = bytes(-size % 4) + option + _END
        total = 36 + padded + size + len(after)
        if len(self._afters) >= _CACHED:
            self._afters.clear()
        found = self._afters[padded << 36 | flags << 16 | size] = total, after + pack("<I", total)
        return found

    def _total(self, total: int) -> bytes:
        if len(self._totals) >= _CACHED:
            self._totals.clear()
        found = self._totals[total] = pack("<I", total)
        return found

    def _encode(self, flags: int, comment: str | bytes | None) -> bytes:
        """The options of a packet block, cached."""
        options = b""
        if comment is not None:
            options += _option(_OPT_COMMENT, comment.encode() if isinstance(comment, str) else comment)
        if flags:
            options += _option(_EPB_FLAGS, pack("<I", flags))
        if options:
            options += _END
        known = self._options.setdefault(flags, {})
        if len(known) >= _CACHED:
            known.clear()
        known[comment] = options
        return options


@contextmanager
def create(
    path: str | os.PathLike[str] | BinaryIO, *, epoch_ns: int = EPOCH_NS, force: bool = False
) -> Iterator[Writer]:
    """A `Writer` on a file that appears, whole, when the block ends without an error; `-` is standard output. On an open file it writes
    as it goes.

    Without `force` only a file that is empty or `is_own` is replaced. Raises InputError.
    """
    own: Own = (lambda there: True) if force else is_own
    with whole_file(path, own) if isinstance(path, str | os.PathLike) else nullcontext(path) as file:
        writer = Writer(file, epoch_ns=epoch_ns)
        yield writer
        writer.flush()


def is_own(path: Path) -> bool:
    """Whether a regular file is a pcapng whose section header names emu as the application that wrote it."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    if len(head) < 24 or head[:4] != _SECTION or head[8:12] != _ORDER:
        return False
    end = min(int.from_bytes(head[4:8], "little") - 4, len(head))
    at = 24
    while at + 4 <= end:
        code, size = unpack_from("<HH", head, at)
        if code == _SHB_USERAPPL:
            return _OWN.fullmatch(head[at + 4 : at + 4 + size]) is not None
        at += 4 + (size + 3 & ~3)
    return False


_SECTION, _ORDER = pack("<I", 0x0A0D0D0A), pack("<I", 0x1A2B3C4D)
_HEAD = 4096  # a section header that emu wrote fits into so many bytes
_OWN = re.compile(rb"emu [\w.+-]+")
_END = bytes(4)


def _option(code: int, value: bytes) -> bytes:
    """An option (or a name record, which has the same form), padded to 32 bits; a text that is too long is cut at a character."""
    if len(value) > 0xFFFF:
        value = value[:0xFFFF].decode(errors="ignore").encode()
    return pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
