"""What differs with the connection in a frame and its trail: addresses, ports and connections, as values of a form and as what it is chosen by.

Must not know places or words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from emu.capture.blanks import Blanks
from emu.capture.known import Known, Pair
from emu.capture.roles import FIELDS, PASSING
from emu.capture.view import View
from emu.kernel.net.fib_semantics import Route
from emu.rule import AnyRule
from emu.trail import Natted, Tracked
from emu.wire.summary import Summary

MOVING = (Natted, Tracked)  # entries that differ with the connection
NATTED = 64  # facts that a pair remembers
SAME, EQUAL, NONE = 1, 2, 3  # entries are known by their identity or by their value; they have no form
_HOW: dict[type, int] = {kind: EQUAL if kind in PASSING else SAME for kind in (*FIELDS, Route)}


class Added:
    """What a fact of NAT adds to a pair: a token; values; and all values of a trail with no other fact that moves (`alone`). The fact is kept
    alive, as it is known by its identity."""

    __slots__ = ("_fact", "alone", "token", "values")

    def __init__(self, fact: Natted, token: Any, values: tuple[bytes, ...], alone: tuple[bytes, ...]) -> None:
        self._fact, self.token, self.values, self.alone = fact, token, values, alone


def tokens(trail: Sequence[Any], pair: Pair | None, known: Known) -> tuple[list[Any], tuple[bytes, ...]] | None:
    """A token for each entry, by which words are chosen, and the values of all. None: words about one of the entries are no form."""
    made: list[Any] = []
    if pair is None:
        moving, values = None, []
    else:
        moving, values = Moving(pair), [*pair.values]
    for each in trail:
        kind = each.__class__
        if moving is not None and kind is Natted:
            made.append((*moving.natted(each, known, values), moving.conn(each.conn, values)))
        elif moving is not None and kind is Tracked:
            place = moving.conn(each.conn, values)
            made.append((each.state, each.new, place) if place else (each.state, each.new))
        else:
            how = _HOW.get(kind) or _how(kind)
            if how == NONE:
                return None
            made.append(id(each) if how == SAME else each)
    return made, pair.values if pair is not None and len(values) == len(pair.values) else tuple(values)


def tracked(pair: Pair, conn: Any) -> tuple[bytes, ...]:
    """The values of a pair, and the name of a connection."""
    pair.conn, pair.tracked = conn, (*pair.values, _name(conn))
    return pair.tracked


def _how(kind: type) -> int:
    found = _HOW[kind] = SAME if issubclass(kind, AnyRule) else NONE
    return found


def _name(conn: Any) -> bytes:
    name: str = getattr(conn, "name", "?")
    return name.encode()


def added(fact: Natted, pair: Pair, known: Known) -> Added:
    """What the first fact of NAT in a trail adds, that of its only connection."""
    moving = Moving(pair)
    values: list[bytes] = []
    token = moving.natted(fact, known, values)
    found = Added(fact, (*token, 0), tuple(values), (*pair.values, *values, _name(fact.conn)))
    if len(pair.natted) >= NATTED:
        pair.natted.clear()
    pair.natted[id(fact)] = found
    return found


class Moving:
    """The addresses, ports and connections of a frame and of the entries of its trail, each once."""

    __slots__ = ("addresses", "conns", "ports")

    def __init__(self, pair: Pair) -> None:
        self.addresses, self.ports, self.conns = [pair.src, pair.dst], [pair.sport, pair.dport], list[Any]()

    def natted(self, fact: Natted, known: Known, values: list[bytes]) -> tuple[Any, ...]:
        """The places of both halves among these addresses and ports, and what words are chosen by of new ones, whose values are added."""
        key: list[Any] = [fact.kind]
        for address, port in (fact.before, fact.after):
            if address not in self.addresses:
                self.addresses.append(address)
                named = known.address(address)
                values += named[:2]
                key.append(named[2])
            if port not in self.ports:
                self.ports.append(port)
                values.append(b"%d" % port)
                key.append(not port)
            key += self.addresses.index(address), self.ports.index(port)
        return tuple(key)

    def conn(self, conn: Any, values: list[bytes]) -> int:
        """The place of a connection among those of the trail; -1: there is none."""
        if conn is None:
            return -1
        if conn not in self.conns:
            self.conns.append(conn)
            values.append(_name(conn))
        return self.conns.index(conn)


class _Conn:
    """A connection whose name is a blank."""

    def __init__(self, name: Any) -> None:
        self.name = name


Blanked = tuple[
    Summary, Sequence[Any], dict[Any, Any]
]  # the packet, its trail, and addresses that stand for others, too


def ends_blanked(view: View, blanks: Blanks) -> Blanked:
    """An ARP frame and its trail with blanks for the addresses, which are made in the order of the values."""
    packet, name = view.packet, view.name
    src, dst = blanks.address(packet.src, name(packet.src)), blanks.address(packet.dst, name(packet.dst))
    return packet._replace(src=src, dst=dst), view.trail, {packet.dst: dst, packet.src: src}


def blanked(view: View, blanks: Blanks) -> Blanked:
    """A packet and its trail with blanks for what moves, which are made in the order of the values."""
    packet, name = view.packet, view.name
    sport, dport = blanks.number(packet.sport), blanks.number(packet.dport)
    # a compiled int would be no blank
    ports: dict[int, Any] = {packet.sport: sport, packet.dport: dport}
    src, dst = blanks.address(packet.src, name(packet.src)), blanks.address(packet.dst, name(packet.dst))
    addresses: dict[int, Any] = {packet.src: src, packet.dst: dst}
    conns: dict[int, _Conn] = {}
    blanks.joined(f"{dst.called}:{dport}")  # in most words

    def half(pair: tuple[int, int]) -> tuple[Any, Any]:
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

    return packet._replace(src=src, dst=dst, sport=sport, dport=dport), [*map(entry, view.trail)], {}
