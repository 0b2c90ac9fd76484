"""One frame of a capture file. Must not know files, or what is in a frame."""

from __future__ import annotations

from typing import NamedTuple


class Record(NamedTuple):
    """Its number in the file (from 1, as Wireshark counts), time since 1970 in ns, the bytes that the file has, the length on the wire,
    and the link type (LINKTYPE_*)."""

    number: int
    time_ns: int
    data: bytes
    length: int
    linktype: int
