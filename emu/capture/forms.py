"""Comments of TCP, UDP and ARP as forms: words are made once for the role of a place, a shape of frame and what decided about it, and are
filled in for others.

A form is derived from the words: they are made of a frame whose addresses, ports, connections and names of places are blanks. Whatever else
words depend on is in a form's key. Each place remembers which forms it uses with which names. Must not know any word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from emu.capture.blanks import Address, Blanks, Bound, Form, has_blanks
from emu.capture.roles import PASSING, Known, Role, blanked
from emu.capture.view import View
from emu.trail import Natted, Tracked
from emu.wire.addr import ip4_text
from emu.wire.captured import Ends, arp, ends, flags, macs
from emu.wire.summary import Summary

MOVING = (Natted, Tracked)  # entries that differ with the connection
ADDRESSES, FORMS = 1 << 16, 1 << 12  # that are remembered by a place
SHARED = 1 << 16  # forms that all places share
NAMED, OWN = 1, 2
_NO_ENDS: Ends = b"", 0, 0, 0, 0, 0, 0

Shared = dict[Any, tuple[Form, list[Any]]]  # by role, with the entries whose identities are in the key


class Place(Protocol):
    """The fields of an interface that comments use: see `View`."""

    @property
    def owner(self) -> str: ...
    @property
    def device_name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def bridge(self) -> str: ...


class _Conn:
    """A connection whose name is a blank."""

    def __init__(self, name: Any) -> None:
        self.name = name


class Forms:
    """The forms of one interface and way, whose `shape` without the interface is given. `name` gives the name of an address or its text; `view`
    shows a frame to the words, and `write` has them write about it. `shared` are the forms of all."""

    def __init__(
        self,
        place: Place,
        shape: int,
        shared: Shared,
        name: Callable[[int], str],
        view: Callable[[bytes, list[Any]], View],
        write: Callable[[View], str],
    ) -> None:
        self._place, self._owner, self._shape, self._shared = place, place.owner, shape, shared
        self._name, self._view, self._write = name, view, write
        self._addresses: dict[int, Known] = {}
        # with the entries whose identities are in the key: they live as long
        self._forms: dict[Any, tuple[Bound, list[Any]]] = {}
        self._last: tuple[Ends | None, bytes, list[Any], bytes] = None, b"", [], b""

    def body(self, data: bytes, trail: list[Any]) -> bytes | None:
        """Sentence and facts of a frame; None: there is no form for its kind."""
        found = ends(data)
        if found is None:
            return self._arp(data, trail)
        tcp = flags(data)
        last = self._last
        if found == last[0] and tcp == last[1] and trail == last[2]:
            return last[3]
        mac, length, rest, src, dst, sport, dport = found
        if src == dst or sport == dport or not sport or not dport:
            return None
        known = self._addresses
        source, target = known.get(src) or self._look_up(src), known.get(dst) or self._look_up(dst)
        key: Any = (mac, length, rest, tcp, source[2], target[2])
        values: Any = (sport, dport, source[0], source[1], target[0], target[1])
        moving: _Moving | None = None
        for each in trail:
            if each.__class__ in MOVING:
                moving = _Moving(src, dst, sport, dport)
                key, values = [*key], [*values]
                self._add(trail, moving, key, values)
                key = tuple(key)
                break
        else:
            key += tuple(map(id, trail))
        form = self._forms.get(key)
        if form is not None:
            body = form[0].filled(values)
        else:
            made = self._new(key, data, trail, values)
            if made is None:
                return None
            body = made
        self._last = found, tcp, trail, body
        return body

    def _add(
        self, trail: list[Any], moving: _Moving, key: list[Any], values: list[Any], role: Role | None = None
    ) -> bool:
        """Add to the key and the values what the entries of a trail have beyond the frame; with a `role` what does not differ with the
        connection goes there, else its identity is in the key. False: there is no form for it."""
        for each in trail:
            kind = each.__class__
            if kind is Natted:
                key += (
                    each.kind,
                    *self._half(each.before, moving, key, values),
                    *self._half(each.after, moving, key, values),
                )
            elif kind is Tracked:
                key += (each.state, each.new)
            elif role is None:
                key.append(id(each))
                continue
            elif role.entry(each):
                continue
            else:
                return False
            key.append(self._conn(each.conn, moving, values))
            if role is not None:
                role.key.append(kind)
        return True

    def _half(self, half: tuple[int, int], moving: _Moving, key: list[Any], values: list[Any]) -> tuple[int, int]:
        """The places of an address and a port among those of the frame."""
        address, port = half
        if address not in moving.addresses:
            moving.addresses.append(address)
            known = self._look_up(address)
            values += known[:2]
            key.append(known[2])
        if port not in moving.ports:
            moving.ports.append(port)
            values.append(port)
            key.append(not port)
        return moving.addresses.index(address), moving.ports.index(port)

    def _conn(self, conn: Any, moving: _Moving, values: list[Any]) -> int:
        """The place of a connection among those of the trail; -1: there is none."""
        if conn is None:
            return -1
        if conn not in moving.conns:
            moving.conns.append(conn)
            values.append(getattr(conn, "name", "?").encode())
        return moving.conns.index(conn)

    def _look_up(self, address: int) -> Known:
        found = self._addresses.get(address)
        if found is None:
            if len(self._addresses) >= ADDRESSES:
                self._addresses.clear()
            name, text = self._name(address), ip4_text(address)
            kind = (NAMED if name != text else 0) | (OWN if name == self._owner else 0)
            found = self._addresses[address] = name.encode(), text.encode(), kind
        return found

    def _new(self, key: Any, data: bytes, trail: list[Any], values: Any) -> bytes | None:
        """The words of a frame whose form this place has not yet."""
        _, length, rest, src, dst, sport, dport = ends(data) or _NO_ENDS
        moving, role = _Moving(src, dst, sport, dport), self._role(data)
        apart: list[Any] = []
        if not self._add(trail, moving, apart, [], role):
            return None
        of_all = self._shape, length, rest, *key[3:6], tuple(apart), tuple(role.key)
        made = self._made(of_all, data, trail, moving, role, values)
        if made is None:
            return None
        form, body = made
        if not any(each.__class__ in PASSING for each in trail):
            if len(self._forms) >= FORMS:
                self._forms.clear()
            kept = [each for each in trail if each.__class__ not in MOVING]
            self._forms[key] = form.bound((*values, *role.values), len(values)), kept
        return body

    def _arp(self, data: bytes, trail: list[Any]) -> bytes | None:
        """Sentence and facts of an ARP frame; None: it is none, or has no form."""
        found = arp(data)
        if found is None:
            return None
        operation, src, dst = found
        role = self._role(data)
        role.ends(src, dst)
        if not all(map(role.entry, trail)):
            return None
        made = self._made((self._shape, operation, tuple(role.key)), data, trail, None, role, ())
        return made[1] if made is not None else None

    def _role(self, data: bytes) -> Role:
        place, role = self._place, Role(self._look_up)
        role.place(place.owner, place.device_name, place.kind, place.bridge, macs(data)[0])
        return role

    def _made(
        self, key: Any, data: bytes, trail: list[Any], moving: _Moving | None, role: Role, values: Any
    ) -> tuple[Form, bytes] | None:
        """The form of a role, and the words of a frame; None: there is none."""
        known = self._shared.get(key)
        filling = (*values, *role.values)
        if known is not None:
            return known[0], known[0].filled(filling)
        view = self._view(data, trail)
        plain = self._write(view)
        if has_blanks(plain):
            return None
        blanks = Blanks()
        packet, entries = (view.packet, view.trail) if moving is None else moving.blanked(view, blanks)
        blank = role.blanks(blanks, view.name)
        if moving is None:
            packet = packet._replace(src=blank(packet.src), dst=blank(packet.dst))
        shown = replace(
            view,
            owner=blank(view.owner),
            device=blank(view.device),
            bridge=blank(view.bridge),
            dmac=blank(view.dmac),
            packet=packet,
            trail=tuple(each if each.__class__ in MOVING else blanked(each, blank) for each in entries),
            name=_called(view.name),
        )
        form = blanks.form(self._write(shown))
        body = form.filled(filling)
        if body != plain.encode():
            return None  # words that print a value in a way that no blank knows
        if len(self._shared) >= SHARED:
            self._shared.clear()
        self._shared[key] = form, role.kept
        return form, body


class _Moving:
    """The addresses, ports and connections of a frame and of the entries of its trail, each once."""

    __slots__ = ("addresses", "conns", "ports")

    def __init__(self, src: int, dst: int, sport: int, dport: int) -> None:
        self.addresses, self.ports, self.conns = [src, dst], [sport, dport], list[Any]()

    def blanked(self, view: View, blanks: Blanks) -> tuple[Summary, list[Any]]:
        """The packet and the trail with blanks for them, which are made in the order of the values."""
        packet, name = view.packet, view.name
        sport, dport = blanks.number(packet.sport), blanks.number(packet.dport)
        ports: dict[int, int] = {packet.sport: sport, packet.dport: dport}
        addresses: dict[int, Address] = {}
        conns: dict[int, _Conn] = {}

        def half(pair: tuple[int, int]) -> tuple[int, int]:
            address, port = pair
            if address not in addresses:
                addresses[address] = blanks.address(address, name(address))
            if port not in ports:
                ports[port] = blanks.number(port)
            return addresses[address], ports[port]

        def conn(each: Any) -> Any:
            if each is not None and id(each) not in conns:
                conns[id(each)] = _Conn(blanks.text(getattr(each, "name", "?")))
            return conns.get(id(each))

        def entry(each: Any) -> Any:
            if each.__class__ is Natted:
                return replace(each, before=half(each.before), after=half(each.after), conn=conn(each.conn))
            return replace(each, conn=conn(each.conn)) if each.__class__ is Tracked else each

        (src, _), (dst, _) = half((packet.src, packet.sport)), half((packet.dst, packet.dport))
        return packet._replace(src=src, dst=dst, sport=sport, dport=dport), [*map(entry, view.trail)]


def _called(name: Callable[[int], str]) -> Callable[[int], str]:
    return lambda address: address.called if isinstance(address, Address) else name(address)
