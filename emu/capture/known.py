"""What words know of addresses where one owner sees them: names and texts as bytes, ready to be filled into a form.

Must not know frames, trails or words.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from emu.wire.addr import ip4_text

Named = tuple[bytes, bytes, int]  # an address: its name and its text, as bytes, and what words are chosen by
NAMED, OWN = 1, 2
ADDRESSES, PAIRS = 1 << 16, 1 << 12  # that one owner remembers

_ENDS = Struct("!IIHH").unpack


class Pair:
    """The addresses and ports of a frame: `values` are printed, by `kind` words are chosen. `natted` has what NAT of one of these
    frames adds, by the identity of the fact; `tracked` are the values with the name of the connection `conn`."""

    __slots__ = ("conn", "dport", "dst", "kind", "natted", "sport", "src", "tracked", "values")

    def __init__(self, src: int, dst: int, sport: int, dport: int, source: Named, target: Named) -> None:
        self.src, self.dst, self.sport, self.dport = src, dst, sport, dport
        self.kind = source[2] << 2 | target[2]
        self.natted: dict[int, Any] = {}
        self.conn: Any = None
        self.tracked: tuple[bytes, ...] = ()
        first, second = b"%d" % sport, b"%d" % dport
        source_where, target_where = where(source[1], first), where(target[1], second)
        self.values: tuple[bytes, ...] = (
            first, second, source[0], source[1], target[0], target[1], source_where, target_where,
            called(source[0], source_where), called(target[0], target_where), where(target[0], second),
        )  # fmt: skip


def where(text: bytes, port: bytes) -> bytes:
    return text + b":" + port


def called(name: bytes, place: bytes) -> bytes:
    return name + b" (" + place + b")"


class Known:
    """Addresses as `owner` sees them. `name` gives the name of an address, or its text. `pairs` are by their 12 bytes in a frame; `parts` are what entries of trails print, by their identity."""

    def __init__(self, owner: str, name: Callable[[int], str]) -> None:
        self._owner, self._name = owner, name
        self._addresses: dict[int, Named] = {}
        self.pairs: dict[bytes, Pair] = {}
        self.parts: dict[int, Any] = {}

    def address(self, address: int) -> Named:
        found = self._addresses.get(address)
        if found is None:
            if len(self._addresses) >= ADDRESSES:
                self._addresses.clear()
            name, text = self._name(address), ip4_text(address)
            kind = (NAMED if name != text else 0) | (OWN if name == self._owner else 0)
            found = self._addresses[address] = name.encode(), text.encode(), kind
        return found

    def pair(self, ends: bytes) -> Pair | None:
        """A pair that is not among `pairs` yet. None: words about it are no form, because values in it are equal or 0."""
        src, dst, sport, dport = _ENDS(ends)
        if src == dst or sport == dport or not sport or not dport:
            return None
        if len(self.pairs) >= PAIRS:
            self.pairs.clear()
        found = self.pairs[ends] = Pair(src, dst, sport, dport, self.address(src), self.address(dst))
        return found
