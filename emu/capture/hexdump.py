"""Hex dumps as people paste them: text2pcap's offsets and bytes, `xxd`, `hexdump -C`, `tcpdump -x` and `-xx`.

An offset of 0 begins a packet; what stands before it or behind the bytes is no data (text2pcap(1)). Must not know files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from emu.wire.linktype import ETHERNET, RAW, bare

MAX_PACKET = 1 << 18
_LINE = re.compile(r"[\s>|]*(?:0x)?([0-9a-fA-F]{3,8}):?(?=[ \t])[ \t]+(.*)")
_GROUP = re.compile(r"(?:[0-9a-fA-F]{2}){1,4}\Z")
_HALF, _WHOLE = 8, 16


class Dumped(NamedTuple):
    """A packet of a dump. The link type is RAW where the bytes begin with an IPv4 header whose checksum is right."""

    data: bytes
    linktype: int


def packets(lines: Iterable[str]) -> Iterator[Dumped]:
    """The packets of a dump; none where no line has an offset of 0 and bytes behind it."""
    data, began = bytearray(), False
    for line in lines:
        found = _LINE.match(line[:400])
        if found is None:
            continue
        offset, part = int(found[1], 16), _bytes(found[2])
        if not part:
            continue
        if offset == 0:
            if data:
                yield _dumped(bytes(data))
            data, began = bytearray(), True
        if not began or offset > len(data) or len(data) > MAX_PACKET:
            continue  # a line of another dump, or one that is missing
        del data[offset:]  # what looked like bytes before was text
        data += part
    if data:
        yield _dumped(bytes(data))


def _bytes(text: str) -> bytes:
    """The bytes of a line up to its text: a gap of two blanks ends them, except the one in the middle of a line."""
    found = bytearray()
    for gap, word in re.findall(r"([ \t]*)(\S+)", text):
        ended = (len(gap) > 1 and found and len(found) != _HALF) or not _GROUP.match(word)
        if ended or len(found) + len(word) // 2 > 2 * _WHOLE:
            break
        found += bytes.fromhex(word)
    return bytes(found)


def _dumped(data: bytes) -> Dumped:
    return Dumped(data, RAW if bare(data) else ETHERNET)
