"""Compares the lines of both sides: the frames of each interface, then their order within a namespace, then tables.

Every unequal line is a difference; nothing is tolerated here. Must not know kernels or sockets.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

_PROBE = re.compile(r"\[(\S+)>(\S+)\] ARP who-has (\S+) (?:for \S+ )?tell ")
_ANSWER = re.compile(r"\[\S+>(\S+)\] ARP (\S+) is-at ")


class Sight(NamedTuple):
    """One frame at one interface (`node-1/cbr0`) of a namespace, as a line of text. `at_ns` is its time on its side's clock,
    `talk` the conversation that it belongs to."""

    owner: str
    interface: str
    way: str
    line: str
    at_ns: int = 0
    talk: object = None

    @property
    def text(self) -> str:
        return f"{self.way:<8} {self.line}"


class Difference(NamedTuple):
    """One difference: `what` is frames, probes, order, neighbours, fdb, conntrack, counters, routes, rules or result; `where` the
    interface or namespace; `kernel` and `emu` the whole sequences, `at` the index of the first lines that differ."""

    what: str
    where: str
    at: int
    kernel: tuple[str, ...]
    emu: tuple[str, ...]

    @property
    def pair(self) -> tuple[str, str]:
        """The first two lines that differ, the kernel's and the emulator's."""
        nothing = "(nothing more)"
        kernel = self.kernel[self.at] if self.at < len(self.kernel) else nothing
        return kernel, self.emu[self.at] if self.at < len(self.emu) else nothing


def frames(kernel: Sequence[Sight], emu: Sequence[Sight], apart: Collection[str] = ()) -> list[Difference]:
    """The differences of a flow's frames, sorted by the kernel's order of frames. `apart` are namespaces that are no kernel's:
    only the order at each of their interfaces counts."""
    theirs, ours = _by(kernel, _interface), _by(emu, _interface)
    found: list[tuple[int, Difference]] = []
    for interface in sorted({*theirs, *ours}):
        for what, pick in (("frames", _road), ("probes", _beside)):
            want, have = pick(theirs.get(interface, [])), pick(ours.get(interface, []))
            difference = sequences(what, interface, want, have)
            if difference is not None:
                places = [place for place, sight in enumerate(kernel) if sight.interface == interface]
                found.append((places[difference.at] if difference.at < len(places) else len(kernel), difference))
    if found:
        return [difference for _, difference in sorted(found, key=lambda each: each[0])]
    # each interface is equal by itself; within a namespace one capture saw all frames, so that their order counts, too
    theirs, ours = _by(kernel, _owner), _by(emu, _owner)
    orders = [
        sequences("order", name, _road(theirs.get(name, [])), _road(ours.get(name, [])))
        for name in sorted({*theirs, *ours} - {*apart})
    ]
    return [each for each in orders if each is not None]


def probes(sights: Sequence[Sight]) -> int:
    """How many of these frames are unicast probes of neighbours, or their answers."""
    return sum(len(_beside(lines)) for lines in _by(sights, _interface).values())


def sequences(
    what: str,
    where: str,
    kernel: Sequence[str],
    emu: Sequence[str],
) -> Difference | None:
    """The difference of two sequences, if there is one."""
    for at, (one, other) in enumerate(zip_longest(kernel, emu)):
        if one != other:
            return Difference(what, where, at, tuple(kernel), tuple(emu))
    return None


def tables(
    where: str,
    kernel: Mapping[str, Sequence[str]],
    emu: Mapping[str, Sequence[str]],
    alike: Callable[[str, str], bool],
) -> list[Difference]:
    """The differences of a namespace's tables, which are sets: only lines that one side lacks are reported."""
    found = []
    for what in sorted({*kernel, *emu}):
        want, have = list(kernel.get(what, ())), list(emu.get(what, ()))
        for line in list(want):
            if line in have:
                want.remove(line)
                have.remove(line)
        for line in list(want):
            other = next((each for each in have if alike(line, each)), None)
            if other is not None:
                want.remove(line)
                have.remove(other)
        if want or have:
            found.append(Difference(what, where, 0, tuple(want), tuple(have)))
    return found


def _interface(sight: Sight) -> tuple[str, str]:
    return sight.interface, sight.text


def _owner(sight: Sight) -> tuple[str, str]:
    return sight.owner, f"{sight.interface.removeprefix(f'{sight.owner}/'):<14} {sight.text}"


def _by(sights: Sequence[Sight], key: Callable[[Sight], tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for sight in sights:
        name, text = key(sight)
        groups[name].append(text)
    return groups


def background(lines: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """Each line, and whether a timer at a random time caused it: a neighbour's unicast probe, or the reply to one
    (an is-at whose last who-has, by sender and address, was a probe)."""
    probing: dict[tuple[str, str], bool] = {}
    for line in lines:
        aside = False
        if match := _PROBE.search(line):
            aside = match[2] != "bcast"
            probing[match[1], match[3]] = aside
        elif match := _ANSWER.search(line):
            aside = probing.get((match[1], match[2]), False)
        yield aside, line


def _road(lines: Sequence[str]) -> list[str]:
    return [line for aside, line in background(lines) if not aside]


def _beside(lines: Sequence[str]) -> list[str]:
    return [line for aside, line in background(lines) if aside]
