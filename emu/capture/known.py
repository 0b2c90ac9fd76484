"""What words know of addresses where one owner sees them: names and texts as bytes, ready to be filled into a form.

Must not know frames, trails or words.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from emu.wire.addr import ip4_text
from emu.wire.captured import is_tunnel

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
        called = target[0] + b":" + second
        self.values: tuple[bytes, ...] = first, second, source[0], source[1], target[0], target[1], called


class Known:
    """Addresses as `owner` sees them. `name` gives the name of an address, or its text. `addresses` are those asked for, `pairs` are by their 12 bytes in a frame; `parts` are what entries of trails print, by their identity."""

    def __init__(self, owner: str, name: Callable[[int], str]) -> None:
        self._owner, self._name = owner, name
        self.addresses: dict[int, Named] = {}
        self.pairs: dict[bytes, Pair] = {}
        self.parts: dict[int, Any] = {}

    def address(self, address: int) -> Named:
        found = self.addresses.get(address)
        if found is None:
            if len(self.addresses) >= ADDRESSES:
                self.addresses.clear()
            name, text = self._name(address), ip4_text(address)
            kind = (NAMED if name != text else 0) | (OWN if name == self._owner else 0)
            found = self.addresses[address] = name.encode(), text.encode(), kind
        return found

    def pair(self, ends: bytes) -> Pair | None:
        """A pair that is not among `pairs` yet. None: words about it are no form, because values in it are equal or 0, or because a
        tunnel's frame is behind it."""
        src, dst, sport, dport = _ENDS(ends)
        if src == dst or sport == dport or not sport or not dport or is_tunnel(dport):
            return None
        if len(self.pairs) >= PAIRS:
            self.pairs.clear()
        known = self.addresses
        source, target = known.get(src) or self.address(src), known.get(dst) or self.address(dst)
        found = self.pairs[ends] = Pair(src, dst, sport, dport, source, target)
        return found
