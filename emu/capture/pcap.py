"""The classic pcap writer with nanoseconds: one interface for each file, for tools that read no other format.

The format has no comments, names, directions and interface names: the caller reports it. Deterministic and
all-or-nothing like `pcapng`. Must not know frames, trails or interfaces.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from struct import Struct, pack
from typing import BinaryIO

from emu.capture.atomic import whole_file
from emu.capture.pcapng import LINKTYPE_ETHERNET, SNAP_LENGTH
from emu.clock import EPOCH_NS

NANOSECOND_MAGIC = 0xA1B23C4D
_record = Struct("<IIII").pack


class Writer:
    """Writes frames of one interface to `file`."""

    def __init__(self, file: BinaryIO, *, epoch_ns: int = EPOCH_NS, linktype: int = LINKTYPE_ETHERNET) -> None:
        self.epoch_ns = epoch_ns
        self._file = file
        file.write(pack("<IHHiIII", NANOSECOND_MAGIC, 2, 4, 0, 0, SNAP_LENGTH, linktype))

    def packet(self, time_ns: int, data: bytes | bytearray) -> None:
        """Write one frame; `time_ns` is virtual."""
        self.write_packets(((time_ns, data),))

    def write_packets(self, packets: Iterable[tuple[int, bytes | bytearray]]) -> None:
        """Write many frames, each (time_ns, bytes)."""
        epoch_ns = self.epoch_ns
        buffer = bytearray()
        for time_ns, data in packets:
            seconds, rest_ns = divmod(time_ns + epoch_ns, 1_000_000_000)
            buffer += _record(seconds, rest_ns, len(data), len(data))
            buffer += data
        self._file.write(buffer)

    def record(self, time_ns: int, data: bytes | bytearray, length: int) -> None:
        """Write one frame that was `length` bytes long, of which `data` is kept."""
        seconds, rest_ns = divmod(time_ns + self.epoch_ns, 1_000_000_000)
        self._file.write(_record(seconds & 0xFFFFFFFF, rest_ns, len(data), length) + data)

    def flush(self) -> None:
        """Flush everything to the reader of a pipe."""
        self._file.flush()


@contextmanager
def create(
    path: str | os.PathLike[str], *, epoch_ns: int = EPOCH_NS, force: bool = False, linktype: int = LINKTYPE_ETHERNET
) -> Iterator[Writer]:
    """A `Writer` on a file that appears, whole, when the block ends without an error; `-` is standard output.

    The format does not name the application that wrote a file: without `force` only an empty file is replaced. Raises InputError.
    """
    with whole_file(path, lambda there: force) as file:
        yield Writer(file, epoch_ns=epoch_ns, linktype=linktype)
