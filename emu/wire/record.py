"""One frame of a capture file. Must not know files, or what is in a frame."""

from __future__ import annotations

from typing import NamedTuple


class Record(NamedTuple):
    """Its number in the file (from 1, as Wireshark counts), time since 1970 in ns, the bytes that the file has, the length on the wire,
    and the link type (LINKTYPE_*). In a pcapng also the place of its interface in the file, counted from 0, and the options of its
    block, which `capture.options` reads."""

    number: int
    time_ns: int
    data: bytes
    length: int
    linktype: int
    interface: int = 0
    options: bytes = b""
