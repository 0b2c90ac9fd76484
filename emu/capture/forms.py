"""Comments of TCP, UDP and ARP as forms: words are made once for the role of a place, a shape of frame and what decided about it, and are
filled in for others.

A form is derived from the words: they are made of a frame whose addresses, ports, connections and names of places are blanks. Whatever else
words depend on is in a form's key. Each place remembers which forms it uses with which names. Must not know any word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from emu.capture.blanks import Address, Blanks, has_blanks
from emu.capture.known import Known, Pair
from emu.capture.moving import MOVING, added, ends_blanked, tokens, tracked
from emu.capture.moving import blanked as moved
from emu.capture.roles import PARTS, PASSING, Part, Role, blanked, part_of_place
from emu.capture.stretch import INTERFACE, INTERFACE_SHIFT
from emu.capture.template import Filled, Form
from emu.capture.view import View
from emu.trail import Natted, Tracked
from emu.wire.captured import Ends, arp, ends, is_fragment, macs

NODES, ROLES = 1 << 16, 1 << 14  # that are remembered


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


class _Headers(dict[Any, Form]):
    """The forms of one role, by what words are chosen by in a frame's headers. `kept`: what is in the role's key by its identity."""

    __slots__ = ("kept",)

    def __init__(self, kept: list[Any]) -> None:
        self.kept = kept


class _Node(dict[Any, "_Node"]):
    """A trail so far, of frames to one MAC at one place: what comes next by its token. `filled` are the forms in use there, with the values
    of its role (`tail`), in which `addresses` stand at these places; `last` is kept alive, as its identity may be its token."""

    __slots__ = ("addresses", "filled", "headers", "last", "tail")

    def __init__(self, last: Any = None) -> None:
        self.last = last
        self.filled: dict[Any, Filled] = {}
        self.headers: _Headers | None = None
        self.tail: tuple[bytes, ...] = ()
        self.addresses: dict[int, int] = {}


class _Sight(dict[bytes, _Node]):
    """What one interface sees one way, whose frames have the same `shape`: by destination MAC. `body` are the words about the last frame, with
    its headers (`found`) and its trail."""

    __slots__ = ("body", "found", "trail", "known", "pairs", "parts", "place", "shape", "way")

    def __init__(self, shape: int, place: Place, known: Known) -> None:
        self.shape, self.way = shape, shape & ~(INTERFACE << INTERFACE_SHIFT)
        self.place, self.known, self.pairs = place, known, known.pairs
        self.parts: dict[bytes, Part] = {}
        self.found: Ends | None = None
        self.trail: list[Any] = []
        self.body = b""

    def role(self, mac: bytes) -> Role:
        """A role that has the place already."""
        part = self.parts.get(mac)
        if part is None:
            if len(self.parts) >= PARTS:
                self.parts.clear()
            place = self.place
            part = self.parts[mac] = part_of_place(place.owner, place.device_name, place.kind, place.bridge, mac)
        return Role(part)


class _Memory:
    """What is remembered. Much of it is by identity, so that a copy of a state begins anew."""

    def __init__(self) -> None:
        self.sights: dict[int, _Sight] = {}
        self.known: dict[str, Known] = {}
        self.roles: dict[Any, _Headers] = {}
        self.nodes = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> _Memory:
        return _Memory()


class Forms:
    """The forms of all `places`, which are by interface. `name` gives the name of an address or its text; `view` shows a frame to the words, and
    `write` has them write about it."""

    def __init__(
        self,
        places: Sequence[Place],
        name: Callable[[int], str],
        view: Callable[[int, bytes, list[Any]], View],
        write: Callable[[View], str],
    ) -> None:
        self._places, self._name, self._view, self._write = places, name, view, write
        self._memory = _Memory()

    def body(self, shape: int, data: bytes, trail: list[Any]) -> bytes | None:
        """Sentence and facts of a frame; None: there is no form for its kind."""
        sight = self._memory.sights.get(shape) or self._sight(shape)
        found = ends(data)
        if found is None:
            return self._arp(sight, data, trail)
        if found == sight.found and trail == sight.trail:
            return sight.body
        mac, _, length, rest, both, tcp = found
        pair = sight.pairs.get(both) or sight.known.pair(both)
        if pair is None:
            return None
        values = pair.values
        node = sight.get(mac)
        if node is not None:
            for each in trail:
                node = node.get(id(each))
                if node is None:
                    break
        if node is None or node.headers is None:
            reached = _reached(sight, mac, trail, pair) or self._grown(sight, mac, trail, pair)
            if reached is None:
                return None
            node, values = reached
        form = node.filled.get((length, rest, tcp, pair.kind))
        if form is None:
            if is_fragment(found):
                return None
            form = self._new(sight, node, (length, rest, tcp, pair.kind), data, trail, values, pair)
            if form is None:
                return None
        sight.found, sight.trail = found, trail
        body = sight.body = form.body if form.values is values else form.filled(values)
        return body

    def _arp(self, sight: _Sight, data: bytes, trail: list[Any]) -> bytes | None:
        """Sentence and facts of an ARP frame; None: it is none, or has no form."""
        found = arp(data)
        if found is None:
            return None
        operation, src, dst = found
        node = sight.get(macs(data)[0])
        for each in trail:
            if node is None:
                break
            node = node.get(id(each))
        if node is None or node.headers is None:
            grown = self._grown(sight, macs(data)[0], trail, None)
            if grown is None:
                return None
            node = grown[0]
        known, places = sight.known, node.addresses
        source, target = known.addresses.get(src) or known.address(src), known.addresses.get(dst) or known.address(dst)
        header = operation, source[2], target[2], not src, not dst, src == dst, places.get(src), places.get(dst)
        values = source[0], source[1], target[0], target[1]
        form = node.filled.get(header) or self._new(sight, node, header, data, trail, values, None)
        return form.filled(values) if form is not None else None

    def _sight(self, shape: int) -> _Sight:
        place, memory = self._places[shape >> INTERFACE_SHIFT & INTERFACE], self._memory
        known = memory.known.get(place.owner)
        if known is None:
            known = memory.known[place.owner] = Known(place.owner, self._name)
        sight = memory.sights[shape] = _Sight(shape, place, known)
        return sight

    def _grown(
        self, sight: _Sight, mac: bytes, trail: list[Any], pair: Pair | None
    ) -> tuple[_Node, tuple[bytes, ...]] | None:
        """A node that is new, and the values of a frame there; None: words about its trail are no form."""
        found = tokens(trail, pair, sight.known)
        if found is None:
            return None
        node = sight.get(mac)
        if node is None:
            self._count()
            node = sight[mac] = _Node()
        for token, each in zip(found[0], trail, strict=True):
            below = node.get(token)
            if below is None:
                self._count()
                below = node[token] = _Node(each if token.__class__ is int else None)
            node = below
        if node.headers is None:
            role = _role(sight, mac, trail, found[0])
            node.headers, node.tail, node.addresses = self._headers(sight, role), tuple(role.values), role.addresses()
        return node, found[1]

    def _count(self) -> None:
        memory = self._memory
        memory.nodes += 1
        if memory.nodes >= NODES:
            memory.nodes = 0
            memory.sights.clear()

    def _new(
        self, sight: _Sight, node: _Node, header: Any, data: bytes, trail: list[Any], values: Any, pair: Pair | None
    ) -> Filled | None:
        """The form of a frame that its node has not yet."""
        headers = node.headers
        assert headers is not None
        form = headers.get(header)
        if form is None:
            form = self._made(sight, data, trail, values, pair)
            if form is None:
                return None
            headers[header] = form
        filled = node.filled[header] = Filled(form, node.tail)
        return filled

    def _headers(self, sight: _Sight, role: Role) -> _Headers:
        """The forms of a role."""
        roles, key = self._memory.roles, role.chosen_by(sight.way)
        found = roles.get(key)
        if found is None:
            if len(roles) >= ROLES:
                roles.clear()
            found = roles[key] = _Headers(role.kept)
        return found

    def _made(self, sight: _Sight, data: bytes, trail: list[Any], values: Any, pair: Pair | None) -> Form | None:
        """The form of a frame's words; None: there is none."""
        view = self._view(sight.shape, data, trail)
        plain = self._write(view)
        found = tokens(trail, pair, sight.known)
        if has_blanks(plain) or found is None:
            return None
        role, blanks = _role(sight, macs(data)[0], trail, found[0]), Blanks()
        packet, entries, made = moved(view, blanks) if pair is not None else ends_blanked(view, blanks)
        blank = role.blanks(blanks, view.name, made)
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
        # words may print a value in a way that no blank knows
        return form if form.filled((*values, *role.values)) == plain.encode() else None


def _role(sight: _Sight, mac: bytes, trail: list[Any], made: list[Any]) -> Role:
    """The role of frames to a MAC with a trail, of which these tokens were made."""
    role = sight.role(mac)
    for token, each in zip(made, trail, strict=True):
        if each.__class__ in MOVING:
            role.moving(each.__class__, token)
        else:
            role.entry(each, sight.known)
    return role


def _reached(sight: _Sight, mac: bytes, trail: list[Any], pair: Pair) -> tuple[_Node, tuple[bytes, ...]] | None:
    """The node of a trail in which something moves, and the values of a frame there. None: there is none yet, or several connections or facts
    of NAT move."""
    node = sight.get(mac)
    if node is None:
        return None
    values, conn, natted = pair.values, None, False
    for each in trail:
        below = node.get(id(each))
        if below is None:
            kind = each.__class__
            if kind is Tracked:
                if each.conn is None:
                    return None
                if conn is None:
                    conn = each.conn
                    values = pair.tracked if conn is pair.conn else tracked(pair, conn)
                elif each.conn is not conn and each.conn != conn:
                    return None
                below = node.get((each.state, each.new))
            elif kind is Natted:
                if natted or each.conn is None or (conn is not None and each.conn is not conn and each.conn != conn):
                    return None
                natted = True
                more = pair.natted.get(id(each)) or added(each, pair, sight.known)
                values = more.alone if conn is None else (*values, *more.values)
                conn = each.conn
                below = node.get(more.token)
            elif kind in PASSING:
                below = node.get(each)
            if below is None:
                return None
        node = below
    return (node, values) if node.headers is not None else None


def _called(name: Callable[[int], str]) -> Callable[[int], str]:
    def called(address: Any) -> str:  # a compiled int would be no blank
        return address.called if isinstance(address, Address) else name(address)

    return called
