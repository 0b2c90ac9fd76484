"""Comments of TCP, UDP and ARP as forms: words are made once for the role of a place, a shape of frame and what decided about it, and are
filled in for others.

A form is derived from the words: they are made of a frame whose addresses, ports, connections and names of places are blanks. Whatever else
words depend on is in a form's key. Each place remembers which forms it uses with which names. Must not know any word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
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


class _Headers(dict[Any, tuple[Any, Form]]):
    """The forms of one role, by what words are chosen by in a frame's headers, which are there, too. `kept`: what is in the role's key by its identity."""

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


class Sight(dict[bytes, _Node]):
    """What one interface sees one way, whose frames have the same `shape`: by destination MAC. Of a frame that repeated it has the headers, the
    trail and the words."""

    __slots__ = (
        "_form", "_forms", "_found", "_pairs", "_trail", "_values", "_words", "known", "parts", "place", "shape", "way",
    )  # fmt: skip

    def __init__(self, forms: Forms, shape: int, place: Place, known: Known) -> None:
        self._forms, self.shape, self.way = forms, shape, shape & ~(INTERFACE << INTERFACE_SHIFT)
        self.place, self.known, self._pairs = place, known, known.pairs
        self.parts: dict[bytes, Part] = {}
        self._form: Filled | None = None  # of the last frame
        self._values: Any = None
        self._found: Ends | None = None
        self._trail: list[Any] = []
        self._words = b""

    def body(self, data: bytes, trail: list[Any]) -> bytes:
        """Sentence and facts of a frame."""
        found = ends(data)
        if found is None:
            return self._forms.arp(self, data, trail)
        if found == self._found and trail == self._trail:
            return self._words
        mac, _, length, rest, both, tcp = found
        pair = self._pairs.get(both) or self.known.pair(both)
        if pair is None:
            return self._forms.other(self.shape, data, trail)
        values, node, more = pair.values, self.get(mac), iter(trail)
        if node is not None:
            for each in more:
                below = node.get(id(each))
                if below is None:
                    node, values = _moved(node, each, more, pair, self.known)
                    break
                node = below
        if node is None or node.headers is None:
            reached = self._forms.grown(self, mac, trail, pair)
            if reached is None:
                return self._forms.other(self.shape, data, trail)
            node, values = reached
        form = node.filled.get((length, rest, tcp, pair.kind))
        if form is None:
            header = length, rest, tcp, pair.kind
            form = None if is_fragment(found) else self._forms.new(self, node, header, data, trail, values, pair)
            if form is None:
                return self._forms.other(self.shape, data, trail)
        words = form.filled(values)
        # kept only where frames repeat: of others it would be so much memory to read and write again
        if form is not self._form:
            self._form = form
        elif values is not self._values:
            self._values = values
        else:
            self._found, self._trail, self._words = found, trail, words
        return words

    def forget(self) -> None:
        """Begin anew."""
        self.clear()
        self.parts.clear()

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
        self.sights: dict[int, Sight] = {}
        self.known: dict[str, Known] = {}
        self.roles: dict[Any, _Headers] = {}
        self.nodes = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> _Memory:
        return _Memory()


class Forms:
    """The forms of all `places`, which are by interface. `name` gives the name of an address or its text; `view` shows a frame to the words, and
    `write` has them write about it; `other` has the words of a frame without a form."""

    def __init__(
        self,
        places: Sequence[Place],
        name: Callable[[int], str],
        view: Callable[[int, bytes, list[Any]], View],
        write: Callable[[View], str],
        other: Callable[[int, bytes, list[Any]], bytes],
    ) -> None:
        self._places, self._name, self._view, self._write, self.other = places, name, view, write, other
        self._memory = _Memory()

    def sight(self, shape: int) -> Sight:
        """What has the words of frames of a shape."""
        memory = self._memory
        found = memory.sights.get(shape)
        if found is None:
            place = self._places[shape >> INTERFACE_SHIFT & INTERFACE]
            known = memory.known.get(place.owner)
            if known is None:
                known = memory.known[place.owner] = Known(place.owner, self._name)
            found = memory.sights[shape] = Sight(self, shape, place, known)
        return found

    def arp(self, sight: Sight, data: bytes, trail: list[Any]) -> bytes:
        """Sentence and facts of an ARP frame, or of one that is no other with a form."""
        found = arp(data)
        if found is None:
            return self.other(sight.shape, data, trail)
        operation, src, dst = found
        node = sight.get(macs(data)[0])
        for each in trail:
            if node is None:
                break
            node = node.get(id(each))
        if node is None or node.headers is None:
            grown = self.grown(sight, macs(data)[0], trail, None)
            if grown is None:
                return self.other(sight.shape, data, trail)
            node = grown[0]
        known, places = sight.known, node.addresses
        source, target = known.addresses.get(src) or known.address(src), known.addresses.get(dst) or known.address(dst)
        header = operation, source[2], target[2], not src, not dst, src == dst, places.get(src), places.get(dst)
        values = source[0], source[1], target[0], target[1]
        form = node.filled.get(header) or self.new(sight, node, header, data, trail, values, None)
        return form.filled(values) if form is not None else self.other(sight.shape, data, trail)

    def grown(
        self, sight: Sight, mac: bytes, trail: list[Any], pair: Pair | None
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
            for sight in memory.sights.values():
                sight.forget()

    def new(
        self, sight: Sight, node: _Node, header: Any, data: bytes, trail: list[Any], values: Any, pair: Pair | None
    ) -> Filled | None:
        """The form of a frame that its node has not yet."""
        headers = node.headers
        assert headers is not None
        found = headers.get(header)
        if found is None:
            form = self._made(sight, data, trail, values, pair)
            if form is None:
                return None
            found = headers[header] = header, form
        header, form = found  # one object for all places
        filled = node.filled[header] = Filled(form, node.tail)
        return filled

    def _headers(self, sight: Sight, role: Role) -> _Headers:
        """The forms of a role."""
        roles, key = self._memory.roles, role.chosen_by(sight.way)
        found = roles.get(key)
        if found is None:
            if len(roles) >= ROLES:
                roles.clear()
            found = roles[key] = _Headers(role.kept)
        return found

    def _made(self, sight: Sight, data: bytes, trail: list[Any], values: Any, pair: Pair | None) -> Form | None:
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


def _role(sight: Sight, mac: bytes, trail: list[Any], made: list[Any]) -> Role:
    """The role of frames to a MAC with a trail, of which these tokens were made."""
    role = sight.role(mac)
    for token, each in zip(made, trail, strict=True):
        if each.__class__ in MOVING:
            role.moving(each.__class__, token)
        else:
            role.entry(each, sight.known)
    return role


def _moved(
    node: _Node, first: Any, more: Iterator[Any], pair: Pair, known: Known
) -> tuple[_Node | None, tuple[bytes, ...]]:
    """The node behind one where a trail goes on with `first`, which moves, and `more`; and the values of a frame there. None: there is no node yet,
    or several connections or facts of NAT move."""
    values, conn, natted = pair.values, None, False
    for each in chain((first,), more):
        below = node.get(id(each))
        if below is None:
            kind = each.__class__
            if kind is Tracked:
                if each.conn is None:
                    return None, values
                if conn is None:
                    conn = each.conn
                    values = pair.tracked if conn is pair.conn else tracked(pair, conn)
                elif each.conn is not conn and each.conn != conn:
                    return None, values
                below = node.get((each.state, each.new))
            elif kind is Natted:
                if natted or each.conn is None or (conn is not None and each.conn is not conn and each.conn != conn):
                    return None, values
                natted = True
                fact = pair.natted.get(id(each)) or added(each, pair, known)
                values = fact.alone if conn is None else (*values, *fact.values)
                conn = each.conn
                below = node.get(fact.token)
            elif kind in PASSING:
                below = node.get(each)
            if below is None:
                return None, values
        node = below
    return node, values


def _called(name: Callable[[int], str]) -> Callable[[int], str]:
    def called(address: Any) -> str:  # a compiled int would be no blank
        return address.called if isinstance(address, Address) else name(address)

    return called
