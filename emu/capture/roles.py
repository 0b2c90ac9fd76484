"""What words print of a place and of a trail, apart from what they are chosen by: places of the same role share a form, in which these
values are filled in.

The table states for each type of entry which of its fields are printed. Must not know any word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from emu.capture.blanks import Address, Blanks
from emu.capture.known import Known
from emu.kernel.net.fib_semantics import Route
from emu.rule import AnyRule
from emu.trail import Answered, Asked, Born, Bridged, Decapsulated, Delivered, Learned, Policy, Waited
from emu.wire.addr import BROADCAST_MAC

# What words are chosen by, what is printed, and its values: of an address its name and its text, of others one.
Part = tuple[tuple[Any, ...], tuple[Any, ...], tuple[bytes, ...]]
PARTS = 1 << 12  # of entries that one owner remembers
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
_READ = {kind: tuple([(attrgetter(field), what) for field, what in fields]) for kind, fields in FIELDS.items()}
PASSING = (Answered, Asked, Decapsulated, Learned)  # are made for one packet; the others are the same objects for many


def part_of_place(owner: str, device: str, kind: str, bridge: str, dmac: bytes) -> Part:
    """An interface, and the destination of a frame there."""
    made = _Part(kind == "loopback", dmac[0] & 1, dmac == BROADCAST_MAC)
    made.text(owner)
    made.text(device)
    made.text(bridge)
    made.mac(dmac)
    return made.done()


def part_of(entry: Any, known: Known) -> Part | None:
    """An entry of a trail; None: a frame with one like that has no form."""
    kind = entry.__class__
    fields = _READ.get(kind)
    if fields is not None:
        made = _Part(kind)
        for read, what in fields:
            value = read(entry)
            if what is TEXT:
                made.text(value)
            elif what is CHOICE:
                made.key.append(value)
            elif what is ADDRESS:
                made.address(value, known)
            else:
                made.mac(value)
        return made.done()
    if kind is Route:
        made = _Part(kind, entry.kind, entry.table)
        made.text(entry.text())
        made.address(entry.gateway, known)
        return made.done()
    return ((id(entry),), (), ()) if isinstance(entry, AnyRule) else None


class _Part:
    """A part as it is made."""

    __slots__ = ("key", "printed", "values")

    def __init__(self, *key: Any) -> None:
        self.key, self.printed, self.values = list(key), list[Any](), list[bytes]()

    def text(self, value: str | None) -> None:
        if value:
            self.printed.append(value)
            self.values.append(value.encode())
        else:
            self.key.append(value)

    def address(self, value: int, known: Known) -> None:
        name, text, kind = known.address(value)
        self.printed.append(value)
        self.values += name, text
        self.key += kind, not value

    def mac(self, value: bytes) -> None:
        self.printed.append(value)
        self.values.append(value.hex(":").encode())

    def done(self) -> Part:
        return tuple(self.key), tuple(self.printed), tuple(self.values)


class Role:
    """The parts of one frame: its place, and what its trail has. `values` are printed; words are chosen by `chosen_by`, which states what values
    are equal, as words compare them."""

    __slots__ = ("_key", "_printed", "kept", "values")

    def __init__(self, place: Part) -> None:
        self._key, self._printed, self.values = list(place[0]), list(place[1]), list(place[2])
        self.kept: list[Any] = []  # whose identities are in the key

    def moving(self, kind: type, token: Any) -> None:
        """An entry that differs with the connection, whose values are not here."""
        self._key += kind, token

    def ends(self, src: int, dst: int, known: Known) -> None:
        """The addresses of an ARP frame."""
        source, target = known.address(src), known.address(dst)
        self._key += source[2], not src, target[2], not dst
        self._printed += src, dst
        self.values += (*source[:2], *target[:2])

    def entry(self, entry: Any, known: Known) -> bool:
        """An entry of the trail; False: a frame with one like that has no form."""
        remembered = known.parts.get(id(entry))
        part = remembered[1] if remembered is not None else self._part(entry, known)
        if part is None:
            return False
        self._key += part[0]
        if part[1]:
            self._printed += part[1]
            self.values += part[2]
        else:
            self.kept.append(entry)
        return True

    def _part(self, entry: Any, known: Known) -> Part | None:
        part = part_of(entry, known)
        if part is not None and entry.__class__ not in PASSING:
            if len(known.parts) >= PARTS:
                known.parts.clear()
            known.parts[id(entry)] = entry, part
        return part

    def chosen_by(self, *more: Any) -> tuple[Any, ...]:
        printed = self._printed
        return *more, *self._key, *map(printed.index, printed)

    def blanks(self, blanks: Blanks, name: Callable[[int], str]) -> Blank:
        """What gives the blank of a value, made in the order of `values`."""
        made: dict[Any, Any] = {}
        for value in self._printed:
            if isinstance(value, str):
                blank: Any = blanks.text(value)
            elif isinstance(value, bytes):
                blank = blanks.mac(value)
            else:
                blank = blanks.address(value, name(value))
            made.setdefault(value, blank)
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
