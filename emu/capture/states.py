"""What the tables of namespaces held at each captured frame: the state when recording began, and each change since.

A recorder of a namespace (`trail.Recorder`) is called where a neighbour, an fdb entry, a connection, a route, an open port or
the rules change. Lines are those of `emu show`; what a connection's line counts (seconds, packets) is as of its change.
Must not know who shows them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from emu.capture.stretch import INTERFACE, INTERFACE_SHIFT, PACKET, TIME
from emu.capture.tap import DropTap, Log, Tap
from emu.kernel.link.bridge import FdbEntry
from emu.kernel.net import listed
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.conn import Conn
from emu.kernel.netfilter.conntrack_list import render
from emu.kernel.netfilter.ruleset import RuleSet
from emu.kernel.transport import listening
from emu.rule import AnyRule
from emu.trail import CONNTRACK, FDB, NEIGH, ROUTES, SOCKETS, Delivered
from emu.wire.frame import PORTS, Frame

TABLES = (NEIGH, FDB, CONNTRACK, ROUTES, SOCKETS)
Lines = dict[str, dict[str, list[str]]]  # namespace -> table -> lines


class Change(NamedTuple):
    """In a table of the namespace `netns` the line `gone` became `new` ("": there was none, there is none). `before` is the
    number of the first frame that was captured afterwards, at any interface; the number of all frames if none was. A route
    with several next hops, and an fdb entry with several hosts, is a text of several lines. `name` is that of a connection,
    `node-1#3`, as facts have it, else ""."""

    before: int
    time_ns: int
    netns: str
    table: str
    gone: str
    new: str
    name: str = ""


class Rules(NamedTuple):
    """From the frame `before` on, as for `Change`, the rules of `netns` are these."""

    before: int
    netns: str
    ruleset: RuleSet


class End(NamedTuple):
    """A packet reached a socket or a protocol (ARP, ICMP), `port` is its destination port (0: none). `trail` has what its namespace decided
    since the last tap."""

    trail: tuple[Any, ...]
    fact: Delivered
    port: int


class Owned(Protocol):
    """An interface of the capture: whose it is."""

    @property
    def owner(self) -> str: ...


class Watch:
    """The recorder of one namespace: it keeps the last line of each entry, so that a change has both lines."""

    __slots__ = ("_ended", "_held", "_note", "_ruled", "name", "net")

    def __init__(
        self,
        net: Netns,
        name: str,
        note: Callable[..., None],
        ruled: Callable[[str, RuleSet], None],
        ended: Callable[[str, Frame, Delivered], None],
    ) -> None:
        self.net, self.name = net, name
        self._note, self._ruled, self._ended = note, ruled, ended
        self._held: dict[str, listed.Listed] = {table: _read(net, table) for table in TABLES}

    def held(self, table: str) -> list[tuple[str, str]]:
        """The lines of a table as they were last noted, each with the name of its connection."""
        return [(text, _name(key)) for key, text in self._held[table].items()]

    def changed(self, table: str, key: object, text: str, at_ns: int | None = None) -> None:
        held = self._held[table]
        old = held.get(key, "")
        if text == old:
            return
        if text:
            held[key] = text
        else:
            del held[key]
        self._note(self.name, table, old, text, at_ns, _name(key))

    def reread(self, table: str) -> None:
        now, held = _read(self.net, table), self._held[table]
        for key in [each for each in held if each not in now]:
            self.changed(table, key, "", self._aged_ns(key))
        for key, text in now.items():
            self.changed(table, key, text)

    def arrived(self, frame: Frame, fact: Delivered) -> None:
        self._ended(self.name, frame, fact)

    def ruled(self, ruleset: RuleSet) -> None:
        self._ruled(self.name, ruleset)

    def end(self) -> None:
        """Note that nothing is left, and record no more."""
        self.settle()
        self.net.record(None)
        for table, held in self._held.items():
            for key in list(held):
                self.changed(table, key, "")

    def settle(self) -> None:
        """Note what has gone by its age: nothing happens at that time."""
        self.reread(FDB)
        held, now = self._held[CONNTRACK], self.net.clock.now
        for conn in [each for each in held if each.expires_ns <= now]:
            self.changed(CONNTRACK, conn, "", conn.expires_ns)

    def _aged_ns(self, key: object) -> int | None:
        """When a learned entry that no call removed went by its age; None: it was removed now."""
        due_ns = None
        if isinstance(key, FdbEntry) and not key.static and key.port is not None:
            due_ns = key.updated_ns + key.port.bridge.ageing_ns + 1
        return due_ns if due_ns is not None and due_ns <= self.net.clock.now else None


def _name(key: object) -> str:
    return key.name if isinstance(key, Conn) else ""


def _read(net: Netns, table: str) -> listed.Listed:
    if table == NEIGH:
        return listed.neighbours(net)
    if table == FDB:
        return listed.fdb(net)
    if table == ROUTES:
        return {(route.table, text): text for route, _, text in listed.routes(net.ipv4.fib)}
    if table == SOCKETS:
        return {socket: listening.text(values) for socket, values in listening.listening(net)}
    return {} if net.conntrack is None else {conn: render(conn, net.clock.now) for conn in net.conntrack}


class States:
    """All that is recorded beside the frames of one capture. `first` is the state of each namespace when recording began, and `opening` the same
    as changes; what joined later begins empty.

    >>> states = lab.capture.record()
    >>> states.changes()  # in the order of time, each with the number of the next frame
    >>> states.at(frame.number)  # namespace -> table -> lines, when that frame was captured
    """

    def __init__(self, log: Log, interfaces: Sequence[Owned]) -> None:
        self.log, self._interfaces = log, interfaces
        self.first: Lines = {}
        self.opening: list[Change] = []
        self.watches: list[Watch] = []
        self._noted: list[tuple[int, int, int | None, str, str, str, str, str]] = []
        self._rules: list[tuple[int, str, RuleSet]] = []
        self._counts: dict[int, tuple[tuple[AnyRule, int, int], ...]] = {}
        self._ends: list[tuple[int, int, str, End]] = []
        self._placed: tuple[tuple[int, int], dict[int, list[End]]] = (0, 0), {}

    # -- what is recorded ------------------------------------------------------------------------

    def watch(self, net: Netns, name: str, *, joins: bool = False) -> None:
        """Record a namespace from now on. `joins`: its whole state is a change, as it was not there before."""
        net.settle()
        watch = Watch(net, name, self._note, self._ruled, self._ended)
        self.watches.append(watch)
        if joins:
            for table in TABLES:
                for text, conn in watch.held(table):
                    self._note(name, table, "", text, None, conn)
        else:
            held = {table: watch.held(table) for table in TABLES}
            self.first[name] = {table: [text for text, _ in entries] for table, entries in held.items()}
            now_ns = self.log.clock.now
            self.opening += [
                Change(0, now_ns, name, table, "", text, conn)
                for table, entries in held.items()
                for text, conn in entries
            ]
        self._ruled(name, net.ipv4.tables.ruleset)
        net.record(watch)
        net.delivery_listeners.append(watch.arrived)

    def release(self, net: Netns) -> None:
        """A namespace is gone, and with it all that its tables held."""
        for watch in [each for each in self.watches if each.net is net]:
            self.watches.remove(watch)
            watch.end()

    def counting(self, tap: Tap, net: Netns) -> Tap:
        """A tap that notes besides what the rules in a frame's trail have counted by then."""
        entries, counts, counters = self.log.entries, self._counts, net.ipv4.tables.counters

        def counted(frame: Frame, direction: int) -> None:
            if frame.trail:
                _count(entries, counts, counters, frame.trail)
            tap(frame, direction)

        return counted

    def counting_drops(self, tap: DropTap, net: Netns) -> DropTap:
        entries, counts, counters = self.log.entries, self._counts, net.ipv4.tables.counters

        def counted(frame: Frame, fact: Any) -> None:
            if frame.trail:
                _count(entries, counts, counters, frame.trail)
            tap(frame, fact)

        return counted

    def _note(self, netns: str, table: str, gone: str, new: str, at_ns: int | None, name: str) -> None:
        self._noted.append((len(self.log.entries), self.log.clock.now, at_ns, netns, table, gone, new, name))

    def _ruled(self, netns: str, ruleset: RuleSet) -> None:
        self._rules.append((len(self.log.entries), netns, ruleset))

    def _ended(self, netns: str, frame: Frame, fact: Delivered) -> None:
        port = frame.dport if frame.proto in PORTS else 0
        self._ends.append((len(self.log.entries), frame.packet, netns, End(tuple(frame.trail or ()), fact, port)))

    # -- what is read ----------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        """Every change since recording began, in the order of time."""
        for watch in self.watches:
            watch.settle()
        self.log.index()
        positions, entries = self.log.open.positions, self.log.entries
        times = [entries[at + TIME] for at in positions]
        found = []
        for at, now_ns, since_ns, netns, table, gone, new, name in self._noted:
            before, time_ns = bisect_left(positions, at), now_ns
            if since_ns is not None and since_ns < now_ns:
                before, time_ns = min(before, bisect_right(times, since_ns)), since_ns
            found.append(Change(before, time_ns, netns, table, gone, new, name))
        return sorted(found, key=lambda each: each[:2])

    def at(self, number: int | None = None) -> Lines:
        """What the tables held when frame `number` was captured; None: what they hold now. A table that was always empty has no
        key. The lines are those of the views, sorted."""
        held = {netns: {table: list(lines) for table, lines in tables.items()} for netns, tables in self.first.items()}
        for change in self.changes():
            if number is not None and change.before > number:
                break
            lines = held.setdefault(change.netns, {}).setdefault(change.table, [])
            if change.gone:
                lines.remove(change.gone)
            if change.new:
                lines.append(change.new)
        return {
            netns: {table: sorted("\n".join(texts).splitlines()) for table, texts in tables.items()}
            for netns, tables in held.items()
        }

    def rules(self) -> list[Rules]:
        """The rule sets of each namespace in the order of time, the first as recording began. They are shared values."""
        positions = self._positions()
        return [Rules(bisect_left(positions, at), netns, ruleset) for at, netns, ruleset in self._rules]

    def counters(self, number: int) -> Mapping[AnyRule, tuple[int, int]]:
        """Packets and bytes that the rules in the trail of frame `number` had counted when it was captured, it included."""
        found = self._counts.get(self._positions()[number], ())
        return {rule: (packets, size) for rule, packets, size in found}

    def ends(self) -> dict[int, list[End]]:
        """Packets that reached a socket or protocol, by the number of the last frame that was captured of each there."""
        known = len(self._ends), self.log.index()
        if self._placed[0] != known:
            self._placed = known, self._place()
        return self._placed[1]

    def _place(self) -> dict[int, list[End]]:
        """Each end at the last frame of its packet before it in its namespace; in any, if none was captured there."""
        log, owners = self.log, [each.owner for each in self._interfaces]
        entries, positions, codes = log.entries, log.open.positions, log.open.codes
        sights: dict[int, list[tuple[int, str]]] = {}
        for number, at in enumerate(positions):
            owner = owners[codes[number] >> INTERFACE_SHIFT & INTERFACE]
            sights.setdefault(entries[at + PACKET], []).append((number, owner))
        found: dict[int, list[End]] = {}
        for at, packet, netns, end in self._ends:
            seen = [(number, owner) for number, owner in sights.get(packet, ()) if positions[number] < at]
            here = [number for number, owner in seen if owner == netns] or [number for number, _ in seen]
            if here:
                found.setdefault(here[-1], []).append(end)
        return found

    def _positions(self) -> Any:
        self.log.index()
        return self.log.open.positions


def _count(
    entries: list[Any],
    counts: dict[int, tuple[tuple[AnyRule, int, int], ...]],
    counters: Mapping[Any, list[int]],
    trail: list[Any],
) -> None:
    """By the position that the frame's bytes will have in the log."""
    found = tuple((each, *counters.get(each, (0, 0))) for each in trail if isinstance(each, AnyRule))
    if found:
        counts[len(entries) + len(trail)] = found
