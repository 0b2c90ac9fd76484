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
from io import BytesIO
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

Comment = str | bytes | None  # of a frame; bytes are UTF-8
# One captured frame: interface, virtual time in ns, the bytes, epb_flags (0: none), comment.
Packet = tuple[int, int, bytes | bytearray, int, Comment]
# The same with a comment in two parts: interface, what is around comments (`Writer.around`), virtual time in ns, the bytes, both parts in UTF-8.
Commented = tuple[int, "Surrounded", int, bytes, bytes, bytes]

_OPT_COMMENT, _EPB_FLAGS = 1, 2
_SHB_HARDWARE, _SHB_OS, _SHB_USERAPPL = 2, 3, 4
_IF_NAME, _IF_DESCRIPTION, _IF_IPV4ADDR, _IF_MACADDR, _IF_TSRESOL = 2, 3, 4, 6, 9
_NRB_IPV4 = 1
_CACHED = 1 << 16
_join, _head, _word = b"".join, Struct("<7I").pack, Struct("<I").pack
_PADDING = b"", bytes(3), bytes(2), bytes(1)
_CHUNK, _LOW, _LONGEST = 1 << 17, 0xFFFFFFFF, 0xFFFF
_NEVER_NS = 1 << 63  # no frame's time
_PARTS = 96  # of blocks that are joined at once


class Writer:
    """Writes one section to `file`; interfaces and names come before the packets that need them.

    Packets are buffered until 128 KiB are full or `flush` is called; `create` calls it at its end.
    """

    def __init__(self, file: BinaryIO, *, epoch_ns: int = EPOCH_NS) -> None:
        self.epoch_ns = epoch_ns
        self._file = file
        self._buffer = BytesIO()
        self._pending = 0  # bytes in it, about
        self._interfaces = 0
        # By epb_flags, then by comment: the encoded options.
        self._options: dict[int, dict[str | bytes | None, bytes]] = {}
        self._around: dict[int, Surrounded] = {}
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
        interfaces, known = self._interfaces, self._options
        buffer, pending = self._buffer, self._pending
        write, high, start_ns = buffer.write, 0, _NEVER_NS
        for interface, time_ns, data, flags, comment in packets:
            if interface >= interfaces:
                raise ValueError(f"interface {interface} was not announced")
            low = time_ns - start_ns
            if not 0 <= low <= _LOW:  # a new one each 4.3 s
                high = time_ns + self.epoch_ns >> 32
                start_ns = (high << 32) - self.epoch_ns
                low = time_ns - start_ns
            length = len(data)
            try:
                options = known[flags][comment]
            except KeyError:
                options = self._encode(flags, comment)
            total = 32 + (length + 3 & ~3) + len(options)
            head = _head(6, total, interface, high, low, length, length)
            write(_join((head, data, _PADDING[length & 3], options, _word(total))))
            pending += total
            if pending > _CHUNK:
                self._spill()
                pending = 0
        self._pending = pending

    def around(self, flags: int) -> Surrounded:
        """What is around the comments of frames with these epb_flags, for `Commented`."""
        found = self._around.get(flags)
        if found is None:
            found = self._around[flags] = Surrounded(_option(_EPB_FLAGS, pack("<I", flags)) if flags else b"")
        return found

    def write_commented(self, frames: Iterable[Commented]) -> None:
        """Write many frames with comments. Each is a `Commented` with an interface number from `interface`."""
        pending, high, start_ns = self._pending, 0, _NEVER_NS
        parts: list[bytes] = []
        for interface, around, time_ns, data, words, ending in frames:
            low = time_ns - start_ns
            if not 0 <= low <= _LOW:
                high = time_ns + self.epoch_ns >> 32
                start_ns = (high << 32) - self.epoch_ns
                low = time_ns - start_ns
            length, size = len(data), len(words) + len(ending)
            if size > _LONGEST:
                words, ending = _cut(words + ending), b""
                size = len(words)
            total, before, after = around.get(length << 16 | size) or around.made(length, size)
            parts += _head(6, total, interface, high, low, length, length), data, before, words, ending, after
            if len(parts) >= _PARTS:
                pending += self._buffer.write(_join(parts))
                parts.clear()
                if pending > _CHUNK:
                    self._spill()
                    pending = 0
        self._pending = pending + self._buffer.write(_join(parts))

    def flush(self) -> None:
        """Write what is buffered to the file."""
        self._spill()
        self._pending = 0
        self._file.flush()

    def _spill(self) -> None:
        self._file.write(self._buffer.getvalue())
        self._buffer.seek(0)
        self._buffer.truncate()

    def _block(self, kind: int, body: bytes) -> None:
        total = len(body) + 12
        self._buffer.write(pack("<II", kind, total) + body + pack("<I", total))

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


class Surrounded(dict[int, tuple[int, bytes, bytes]]):
    """Of blocks with the same flags (`flags` is their option), by a frame's length << 16 and its comment's: a block's length, and what stands in it
    before and behind the comment."""

    __slots__ = ("_flags",)

    def __init__(self, flags: bytes) -> None:
        self._flags = flags

    def made(self, length: int, size: int) -> tuple[int, bytes, bytes]:
        """For a frame of this length and a comment of this size, bytes."""
        before = _PADDING[length & 3] + pack("<HH", _OPT_COMMENT, size)
        after = bytes(-size % 4) + self._flags + _END
        total = 32 + length + len(before) + size + len(after)
        if len(self) >= _CACHED:
            self.clear()
        found = self[length << 16 | size] = total, before, after + _word(total)
        return found


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
    value = _cut(value)
    return pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _cut(value: bytes) -> bytes:
    return value if len(value) <= _LONGEST else value[:_LONGEST].decode(errors="ignore").encode()
