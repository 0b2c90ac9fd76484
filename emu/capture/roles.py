"""What words print of a place and of a trail, apart from what they are chosen by: places of the same role share a form, in which these
values are filled in.

The table states for each type of entry which of its fields are printed. Must not know any word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emu.capture.blanks import Address, Blanks
from emu.kernel.net.fib_semantics import Route
from emu.rule import AnyRule
from emu.trail import Answered, Asked, Born, Bridged, Decapsulated, Delivered, Learned, Policy, Waited
from emu.wire.addr import BROADCAST_MAC

Known = tuple[bytes, bytes, int]  # an address: its name and its text, as bytes, and what words are chosen by
CHOICE, TEXT, ADDRESS, MAC = "choice", "text", "address", "mac"
# All fields of an entry: printed as a text, an address and its name, or a MAC; or words are chosen by it.
FIELDS: Mapping[type, tuple[tuple[str, str], ...]] = {
    Answered: (("addr", ADDRESS), ("device", TEXT), ("proxy", CHOICE)),
    Asked: (("addr", ADDRESS), ("device", TEXT), ("dst", ADDRESS), ("why", CHOICE)),
    Born: (("what", TEXT),),
    Bridged: (("bridge", TEXT), ("port", TEXT), ("flooded", CHOICE), ("up", CHOICE)),
    Decapsulated: (("device", TEXT), ("vni", CHOICE), ("src", ADDRESS)),
    Delivered: (("netns", TEXT), ("to", TEXT)),
    Learned: (("bridge", TEXT), ("port", TEXT), ("mac", MAC)),
    Policy: (("table", CHOICE), ("chain", CHOICE), ("verdict", CHOICE)),
    Waited: (("addr", ADDRESS), ("device", TEXT)),
}
PASSING = (Answered, Asked, Decapsulated, Learned)  # are made for one packet; the others are the same objects for many


class Role:
    """The printed values of one frame in the order in which they are met (`values`), and what words are chosen by (`key`). Equal values are
    one blank, as words compare them. `known` gives an address's name and text."""

    __slots__ = ("_known", "_met", "key", "kept", "values")

    def __init__(self, known: Callable[[int], Known]) -> None:
        self._known = known
        self._met: dict[Any, int] = {}
        self.key: list[Any] = []
        self.values: list[bytes] = []
        self.kept: list[Any] = []  # whose identities are in the key

    def place(self, owner: str, device: str, kind: str, bridge: str, dmac: bytes) -> None:
        """An interface, and the destination of a frame there."""
        self.key += (kind == "loopback", dmac[0] & 1, dmac == BROADCAST_MAC)
        self._text(owner)
        self._text(device)
        self._text(bridge)
        self._mac(dmac)

    def ends(self, src: int, dst: int) -> None:
        """The addresses of an ARP frame."""
        self._address(src)
        self._address(dst)

    def entry(self, entry: Any) -> bool:
        """An entry of the trail; False: a frame with one like that has no form."""
        kind = entry.__class__
        key = self.key
        fields = FIELDS.get(kind)
        if fields is not None:
            key.append(kind)
            for field, what in fields:
                value = getattr(entry, field)
                if what is TEXT:
                    self._text(value)
                elif what is CHOICE:
                    key.append(value)
                elif what is ADDRESS:
                    self._address(value)
                else:
                    self._mac(value)
        elif kind is Route:
            key += (kind, entry.kind, entry.table)
            self._text(entry.text())
            self._address(entry.gateway)
        elif isinstance(entry, AnyRule):
            key.append(id(entry))
            self.kept.append(entry)
        else:
            return False
        return True

    def _text(self, value: str | None) -> None:
        number = self._met.get(value, -1) if value else value
        if number == -1:
            number = self._met[value] = len(self._met)
            self.values.append(value.encode())  # type: ignore[union-attr]  # it is not None
        self.key.append(number)

    def _address(self, value: int) -> None:
        number = self._met.get(value)
        if number is None:
            number = self._met[value] = len(self._met)
            name, text, kind = self._known(value)
            self.values += (name, text)
            self.key += (kind, not value)
        self.key.append(number)

    def _mac(self, value: bytes) -> None:
        number = self._met.get(value)
        if number is None:
            number = self._met[value] = len(self._met)
            self.values.append(value.hex(":").encode())
        self.key.append(number)

    def blanks(self, blanks: Blanks, name: Callable[[int], str]) -> Blank:
        """What gives the blank of a value, made in the order of `values`."""
        made: dict[Any, Any] = {}
        for value in self._met:
            if isinstance(value, str):
                made[value] = blanks.text(value)
            elif isinstance(value, bytes):
                made[value] = blanks.mac(value)
            else:
                made[value] = blanks.address(value, name(value))
        return lambda value: made.get(value, value)


Blank = Callable[[Any], Any]


def blanked(entry: Any, blank: Blank) -> Any:
    """An entry whose printed fields are blanks."""
    fields = FIELDS.get(entry.__class__)
    if fields is not None:
        values = ((field, getattr(entry, field), what) for field, what in fields)
        return entry.__class__(**{field: value if what == CHOICE else blank(value) for field, value, what in values})
    return _Taken(entry, blank) if entry.__class__ is Route else entry


class _Taken:
    """A route whose text and gateway are blanks. Words take it for a route."""

    def __init__(self, route: Route, blank: Blank) -> None:
        self.kind, self.table = route.kind, route.table
        self.gateway: Address | int = blank(route.gateway)
        self._text = blank(route.text())

    __class__ = property(lambda self: Route)

    def text(self) -> str:
        text: str = self._text
        return text
