"""The topology that packets went through, as DOT: a cluster a namespace, a node an interface. Must not know where frames come from.

Solid edges are cables, dashed ones lie inside of a namespace (a bridge, a route, a tunnel's device).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

from emu.report.ladders.journeys import Ladder
from emu.report.ladders.sight import DROP

VIOLET, RED = "#e2d3ff", "#ffa5a5"


def dot(ladders: Iterable[Ladder], *, fold_arp: bool = False) -> str:
    """An undirected graph. NAT colours an interface violet, a drop red; an edge states how many frames crossed it. With `fold_arp`
    ARP does not count."""
    chosen = [each.without_arp() if fold_arp else each for each in ladders]
    hops = list(chain.from_iterable(journey.hops for ladder in chosen for journey in ladder.journeys))
    columns = list(dict.fromkeys(column for ladder in chosen for column in ladder.columns))
    notes: dict[str, dict[str, str]] = {column: {} for column in columns}
    edges: Counter[tuple[str, str]] = Counter()
    order = {column: at for at, column in enumerate(columns)}
    for hop in hops:
        sight, before = hop.sight, hop.before
        if sight.way == DROP:
            reason, place, _by = sight.dropped or ("", "", "")
            at = next((name for name in (place, before.interface if before else "") if name in notes), sight.interface)
            notes.setdefault(at, {})[f"dropped {reason}".strip()] = RED
            continue
        for nat in sight.nats:
            notes[sight.interface].setdefault(nat.partition(" ")[0], VIOLET)
        if before is not None and before.interface != sight.interface:
            ends = sorted((before.interface, sight.interface), key=order.__getitem__)
            edges[ends[0], ends[1]] += 1
    return "\n".join(["graph emu {", *_body(notes, edges), "}"])


def _body(notes: dict[str, dict[str, str]], edges: Counter[tuple[str, str]]) -> Iterator[str]:
    yield "    rankdir=LR;"
    yield '    node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif"];'
    yield '    edge [fontname="sans-serif", fontsize=10];'
    owners: dict[str, list[str]] = {}
    for name in notes:
        owners.setdefault(name.rpartition("/")[0], []).append(name)
    for owner, names in owners.items():
        yield f"    subgraph {quoted(f'cluster_{owner}')} {{"
        yield f"        label={quoted(owner)};"
        for name in names:
            label = "\n".join([name.rpartition("/")[2], *notes[name]])
            colours = notes[name].values()
            fill = RED if RED in colours else VIOLET if VIOLET in colours else ""
            yield f"        {quoted(name)} [label={quoted(label)}{f', fillcolor={quoted(fill)}' if fill else ''}];"
        yield "    }"
    for (one, other), count in edges.items():
        inside = one.rpartition("/")[0] == other.rpartition("/")[0]
        yield f"    {quoted(one)} -- {quoted(other)} [label={quoted(str(count))}{', style=dashed' if inside else ''}];"


def quoted(text: str) -> str:
    """A text as DOT's quoted string; a line break is one in the label."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
