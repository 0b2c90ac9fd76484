"""Comments of TCP and UDP as forms: words are made once for a place, a shape of frame and what decided about it, and are filled in for
others.

A form is derived from the words: they are made of a frame whose addresses, ports and connections are blanks. Whatever else
words depend on is in a form's key. Must not know any word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from emu.capture.blanks import Address, Blanks, Form, has_blanks
from emu.capture.view import View
from emu.kernel.net.fib_semantics import Route
from emu.rule import AnyRule
from emu.trail import Born, Bridged, Delivered, Natted, Policy, Tracked
from emu.wire.addr import ip4_text
from emu.wire.captured import Ends, ends, flags

# Entries that are the same objects for many frames; those of the others differ with the connection.
SHARED = (AnyRule, Born, Bridged, Delivered, Policy, Route)
MOVING = (Natted, Tracked)
ADDRESSES, FORMS = 1 << 16, 1 << 12  # that are remembered
NAMED, OWN = 1, 2

Known = tuple[bytes, bytes, int]  # an address: its name and its text, as bytes, and NAMED and OWN


class _Conn:
    """A connection whose name is a blank."""

    def __init__(self, name: Any) -> None:
        self.name = name


class Forms:
    """The forms of one interface and way. `owner` is its namespace, `name` gives the name of an address or its text; `view` shows a
    frame to the words, and `write` has them write about it."""

    def __init__(
        self,
        owner: str,
        name: Callable[[int], str],
        view: Callable[[bytes, list[Any]], View],
        write: Callable[[View], str],
    ) -> None:
        self._owner, self._name, self._view, self._write = owner, name, view, write
        self._addresses: dict[int, Known] = {}
        # with the entries whose identities are in the key: they live as long
        self._forms: dict[Any, tuple[Form, list[Any]]] = {}
        self._last: tuple[Ends | None, bytes, list[Any], bytes] = None, b"", [], b""

    def body(self, data: bytes, trail: list[Any]) -> bytes | None:
        """Sentence and facts of a frame; None: there is no form for its kind."""
        found = ends(data)
        if found is None:
            return None
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
            made = self._new(key, data, trail, moving or _Moving(src, dst, sport, dport), values)
            if made is None:
                return None
            body = made
        self._last = found, tcp, trail, body
        return body

    def _add(self, trail: list[Any], moving: _Moving, key: list[Any], values: list[Any]) -> None:
        """Add to the key and the values what the entries of a trail have beyond the frame."""
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
            else:
                key.append(id(each))
                continue
            key.append(self._conn(each.conn, moving, values))

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

    def _new(self, key: Any, data: bytes, trail: list[Any], moving: _Moving, values: Any) -> bytes | None:
        if not all(isinstance(each, SHARED) or each.__class__ in MOVING for each in trail):
            return None
        view = self._view(data, trail)
        plain = self._write(view)
        if has_blanks(plain):
            return None
        blank, blanks = moving.blanked(view)
        form = blanks.form(self._write(blank))
        body = form.filled(values)
        if body != plain.encode():
            return None  # words that print a value in a way that no blank knows
        if len(self._forms) >= FORMS:
            self._forms.clear()
        self._forms[key] = form, [each for each in trail if each.__class__ not in MOVING]
        return body


class _Moving:
    """The addresses, ports and connections of a frame and of the entries of its trail, each once."""

    __slots__ = ("addresses", "conns", "ports")

    def __init__(self, src: int, dst: int, sport: int, dport: int) -> None:
        self.addresses, self.ports, self.conns = [src, dst], [sport, dport], list[Any]()

    def blanked(self, view: View) -> tuple[View, Blanks]:
        """The view with blanks, which are made in the order of the values."""
        blanks = Blanks()
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
        packet = packet._replace(src=src, dst=dst, sport=sport, dport=dport)
        trail = tuple(map(entry, view.trail))
        return replace(view, packet=packet, trail=trail, name=_called(name)), blanks


def _called(name: Callable[[int], str]) -> Callable[[int], str]:
    return lambda address: address.called if isinstance(address, Address) else name(address)
