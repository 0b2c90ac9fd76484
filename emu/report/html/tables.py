"""What the tables of namespaces held at the frames of a scene, and which rules were in force: a state and what changed since.

A connection's line begins with its number, as facts name it. Must not know what is recorded when.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from emu.capture.states import States
from emu.kernel.netfilter.conn import Conn
from emu.kernel.netfilter.ruleset import BUILT_IN, RuleSet
from emu.report.html.model import Chain, Delta, Rules, Table
from emu.report.html.scene import Sighted
from emu.trail import CONNTRACK
from emu.wire.addr import ip4_text
from emu.wire.frame import ICMP

NAMES = {CONNTRACK: "ct"}  # the other tables have the names of their views
_ENDS = re.compile(r"src=(\S+) dst=(\S+) (?:type=\d+ code=\d+ id=(\d+)|sport=(\d+) dport=(\d+))")
Ends = tuple[str, ...]


def numbered(frames: Iterable[Sighted]) -> dict[tuple[str, Ends], int]:
    """The numbers of the connections that the frames' trails name, by namespace and the ends of the first packet. Ends that two
    connections had, one after the other, have none."""
    found: dict[tuple[str, Ends], set[int]] = {}
    for frame in frames:
        for entry in frame.trail:
            conn = getattr(entry, "conn", None)
            if isinstance(conn, Conn):
                _proto, src, dst, sport, dport = conn.orig
                ports = (str(sport),) if conn.proto == ICMP else (str(sport), str(dport))
                key = conn.table.net_name, (ip4_text(src), ip4_text(dst), *ports)
                found.setdefault(key, set()).add(conn.number)
    return {key: numbers.pop() for key, numbers in found.items() if len(numbers) == 1}


class Tables:
    """The tables and rules of a scene, as `states` recorded them, seen at its `frames`."""

    def __init__(self, states: States, frames: Sequence[Sighted]) -> None:
        self._numbers = [each.number for each in frames]
        self._conns = numbered(frames)
        self._states = states

    def first(self) -> dict[str, Table]:
        """Namespace -> table -> lines, before the first frame."""
        number = self._numbers[0] if self._numbers else 0
        held: dict[str, dict[str, Counter[str]]] = {
            netns: {table: Counter(self._lines(netns, table, texts)) for table, texts in tables.items()}
            for netns, tables in self._states.first.items()
        }
        for change in self._states.changes():
            if change.before >= number:
                break
            lines = held.setdefault(change.netns, {}).setdefault(change.table, Counter())
            lines.subtract(self._lines(change.netns, change.table, [change.gone]))
            lines.update(self._lines(change.netns, change.table, [change.new]))
        return {
            netns: {NAMES.get(table, table): [*lines.elements()] for table, lines in tables.items() if +lines}
            for netns, tables in held.items()
            if any(+lines for lines in tables.values())
        }

    def deltas(self) -> list[dict[str, Delta]]:
        """For each frame what changed since the frame before, by namespace and table: lines that are gone, and new ones."""
        found: list[dict[str, Delta]] = [{} for _ in self._numbers]
        first = self._numbers[0] if self._numbers else 0
        for change in self._states.changes():
            at = bisect_left(self._numbers, change.before)
            if change.before < first or at == len(found):
                continue
            gone, new = (
                found[at].setdefault(change.netns, {}).setdefault(NAMES.get(change.table, change.table), ([], []))
            )
            for line in self._lines(change.netns, change.table, [change.gone]):
                new.remove(line) if line in new else gone.append(line)
            for line in self._lines(change.netns, change.table, [change.new]):
                gone.remove(line) if line in gone else new.append(line)
        return [_without_empty(each) for each in found]

    def rules(self) -> dict[str, list[Rules]]:
        """The chains of each namespace, and from which frame on they are in force; those before the first frame count as one."""
        found: dict[str, list[Rules]] = {}
        for each in self._states.rules():
            at = bisect_left(self._numbers, each.before)
            if at == len(self._numbers) and at:
                continue
            kept = found.setdefault(each.netns, [])
            if kept and kept[-1].since == at:
                kept.pop()
            kept.append(Rules(at, chains(each.ruleset)))
        return {netns: kept for netns, kept in found.items() if any(each.chains for each in kept)}

    def _lines(self, netns: str, table: str, texts: Iterable[str]) -> list[str]:
        """An entry may be a text of several lines; none is the empty text."""
        lines = [line for text in texts for line in text.splitlines()]
        return [self._with_number(netns, line) for line in lines] if table == CONNTRACK else lines

    def _with_number(self, netns: str, line: str) -> str:
        ends = _ENDS.search(line)
        number = self._conns.get((netns, tuple(part for part in ends.groups() if part is not None))) if ends else None
        return line if number is None else f"#{number} {line}"


def _without_empty(found: dict[str, Delta]) -> dict[str, Delta]:
    """A line that went and came again is no change."""
    kept = {netns: {table: pair for table, pair in delta.items() if any(pair)} for netns, delta in found.items()}
    return {netns: delta for netns, delta in kept.items() if delta}


def chains(ruleset: RuleSet) -> Mapping[str, Chain]:
    """The chains that have rules, and the base chains beside them; none where no chain has a rule."""
    found = {
        f"{table} {chain.name}": Chain(chain.policy, [rule.spec for rule in chain.rules])
        for table in BUILT_IN
        for chain in ruleset.tables.get(table, {}).values()
        if chain.rules or chain.policy
    }
    return found if any(chain.rules for chain in found.values()) else {}
