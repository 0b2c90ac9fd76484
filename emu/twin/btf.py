"""The layout of the running kernel's structures, read from its own type information (BTF, `/sys/kernel/btf/vmlinux`).

Offsets of members and the names of an enum, for a program that reads kernel memory. Must not know what is read there,
and must not use emu's own parsers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PATH = Path("/sys/kernel/btf/vmlinux")
# include/uapi/linux/btf.h: the kinds of types, and how many bytes follow the head: for all, or for each entry
STRUCT, UNION, ENUM, TYPEDEF = 4, 5, 6, 8
_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
_PER_ENTRY = {STRUCT: 12, UNION: 12, ENUM: 8, 13: 8, 15: 12, 19: 12}
_HEAD = struct.Struct("=III")


class Layout:
    """The types of one kernel. Each method raises LookupError for a name that the kernel has not."""

    def __init__(self, blob: bytes) -> None:
        header, type_at, type_length, string_at = struct.unpack_from("=IIII", blob, 4)
        self._blob, self._strings = blob, header + string_at
        self._at = [0]
        self._named: dict[tuple[int, int], int] = {}
        at, end = header + type_at, header + type_at + type_length
        while at < end:
            name, word, _ = _HEAD.unpack_from(blob, at)
            kind, count = word >> 24 & 31, word & 0xFFFF
            if kind in (STRUCT, ENUM) and name and count:
                self._named[kind, name] = len(self._at)
            self._at.append(at)
            at += 12 + (_PER_ENTRY[kind] * count if kind in _PER_ENTRY else _FIXED.get(kind, 0))

    def offset(self, structure: str, *members: str) -> int:
        """The offset of a member, or of a member of it and so on, in bytes."""
        number, total = self._number(STRUCT, structure), 0
        for member in members:
            at, number = self._member(number, member)
            total += at
        return total

    def values(self, enum: str) -> dict[int, str]:
        """The names of an enum's values."""
        at = self._at[self._number(ENUM, enum)]
        count = struct.unpack_from("=I", self._blob, at + 4)[0] & 0xFFFF
        pairs = (struct.unpack_from("=Ii", self._blob, at + 12 + 8 * index) for index in range(count))
        return {value: self._text(name) for name, value in pairs}

    def _text(self, offset: int) -> str:
        begin = self._strings + offset
        return self._blob[begin : self._blob.index(b"\0", begin)].decode()

    def _number(self, kind: int, name: str) -> int:
        at = self._blob.find(f"\0{name}\0".encode(), self._strings) + 1 - self._strings
        number = self._named.get((kind, at))
        if number is None:
            raise LookupError(f"the kernel has no type {name}")
        return number

    def _members(self, number: int) -> Iterator[tuple[str, int, int]]:
        """Of a structure: each member's name, its offset in bytes, and the number of its type."""
        at = self._at[number]
        _name, word, inner = _HEAD.unpack_from(self._blob, at)
        while word >> 24 & 31 == TYPEDEF:
            at = self._at[inner]
            _name, word, inner = _HEAD.unpack_from(self._blob, at)
        if word >> 24 & 31 not in (STRUCT, UNION):
            return
        for index in range(word & 0xFFFF):
            name, inner, bits = _HEAD.unpack_from(self._blob, at + 12 + 12 * index)
            yield self._text(name), (bits & 0xFFFFFF if word >> 31 else bits) // 8, inner

    def _member(self, number: int, member: str) -> tuple[int, int]:
        """The offset and type of a member, also of one in an unnamed part."""
        for name, at, inner in self._members(number):
            if name == member:
                return at, inner
            if not name:
                try:
                    below, found = self._member(inner, member)
                except LookupError:
                    continue
                return at + below, found
        raise LookupError(f"no member is called {member}")


@cache
def layout() -> Layout:
    """This kernel's. Raises OSError where it offers none."""
    return Layout(PATH.read_bytes())
