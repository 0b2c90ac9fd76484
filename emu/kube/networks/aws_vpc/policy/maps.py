"""The verdict map of one direction, as the agent fills it: for a prefix, the protocols and ports that are allowed. Pure.

The longest prefix decides alone, so that a prefix inherits what shorter ones around it allow; an exception is a prefix that allows
nothing, unless a rule names just that prefix. Kept as the agent has it, also where that is not what the API means. Source:
pkg/fwruleprocessor and pkg/utils of aws/aws-network-policy-agent c8619c05. Must not know pods or packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from emu.wire.addr import Prefix, ip4_text
from emu.wire.frame import SCTP, TCP, UDP

ANY = 254  # ANY_IP_PROTOCOL: every protocol
NUMBERS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}
NAMES = {number: name for name, number in NUMBERS.items()}
MOST_PORTS = 24  # what a map's value has room for


class L4(NamedTuple):
    """A protocol's port `first`, or ports up to `last` (0: that port alone). `first` 0: all of its ports."""

    protocol: int
    first: int = 0
    last: int = 0

    def has(self, protocol: int, port: int) -> bool:
        if self.protocol not in (ANY, protocol):
            return False
        return not self.first or port == self.first or self.first < port <= self.last

    def __str__(self) -> str:
        name = NAMES.get(self.protocol, "every protocol")
        if not self.first:
            return name
        return f"{name} {self.first}" + (f"-{self.last}" if self.last > self.first else "")


EVERYTHING = L4(ANY)


class Endpoint(NamedTuple):
    """What a policy allows: the ports (none: all) of a prefix, without those in `holes`."""

    prefix: Prefix
    ports: tuple[L4, ...] = ()
    holes: tuple[Prefix, ...] = ()


ALL = Endpoint(Prefix(0, 0))


class Entry(NamedTuple):
    """A key of the map and its value; no ports: RESERVED_IP_PROTOCOL, which denies."""

    prefix: Prefix
    ports: tuple[L4, ...]

    def find(self, protocol: int, port: int) -> L4 | None:
        """The first that allows a destination port; None: none does."""
        for each in self.ports:
            if each.has(protocol, port):
                return each
        return None

    def __str__(self) -> str:
        net, length = ip4_text(self.prefix.net), self.prefix.length
        return f"{net}/{length} {', '.join(map(str, self.ports)) or 'nothing'}"


class Trie:
    """BPF_MAP_TYPE_LPM_TRIE: entries by prefix, the longest one that has an address is found. It never changes."""

    __slots__ = ("_by_length", "entries")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = tuple(entries)
        found: dict[int, dict[int, Entry]] = {}
        for each in self.entries:
            shift = 32 - each.prefix.length
            found.setdefault(shift, {})[each.prefix.net >> shift] = each
        self._by_length = tuple(sorted(found.items()))

    def find(self, addr: int) -> Entry | None:
        for shift, entries in self._by_length:
            entry = entries.get(addr >> shift)
            if entry is not None:
                return entry
        return None


class _Drawn:
    """A prefix while the map is computed."""

    __slots__ = ("holes", "ports")

    def __init__(self, ports: list[L4], holes: list[Prefix]) -> None:
        self.ports, self.holes = ports, holes


def computed(rules: Sequence[Endpoint], node_ip: int) -> Trie:
    """The map of these rules on the node with this address, which may always send (ComputeMapEntriesFromEndpointRules)."""
    found: dict[Prefix, _Drawn] = {}
    holes: dict[Prefix, None] = {}
    for rule in sorted(rules, key=lambda each: each.prefix.length):
        holes.update(dict.fromkeys(rule.holes))
        prefix = rule.prefix
        if prefix.net == node_ip:
            continue
        ports, own_holes = [*(rule.ports or (EVERYTHING,))], [*rule.holes]
        there = found.get(prefix)
        if there is not None:
            ports, own_holes = ports + there.ports, own_holes + there.holes
        else:
            ports += _inherited(prefix, found)
        found[prefix] = _Drawn(ports, own_holes)
    entries = {Prefix(node_ip, 32): Entry(Prefix(node_ip, 32), (EVERYTHING,))}
    for prefix, drawn in found.items():
        entries[prefix] = Entry(prefix, tuple(dict.fromkeys(drawn.ports))[:MOST_PORTS])
    entries |= {hole: Entry(hole, ()) for hole in holes if hole not in found}
    return Trie(entries.values())


def _inherited(prefix: Prefix, found: dict[Prefix, _Drawn]) -> list[L4]:
    """What the prefixes around this one allow, unless it lies in a hole of theirs."""
    ports: list[L4] = []
    for length in range(prefix.length):
        around = found.get(Prefix(prefix.net >> (32 - length) << (32 - length), length))
        if around is not None and not any(prefix.net in hole for hole in around.holes):
            ports += around.ports
    return ports
