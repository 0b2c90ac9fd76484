"""A ladder as Mermaid's sequence diagram: a participant an interface, a box a namespace. Must not know where frames come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from emu.report.ladders.journeys import Hop, Ladder
from emu.report.ladders.sight import DROP
from emu.report.ladders.text import short

# what Mermaid reads as syntax or as HTML, as its own codes of entities
_CODES = {ord("#"): "#35;", ord(";"): "#59;", ord("<"): "#lt;", ord(">"): "#gt;", ord("&"): "#amp;", ord('"'): "#quot;"}
PASSES_ON = "·"  # the packet that the arrow above names


def mermaid(ladders: Iterable[Ladder], *, every_hop: bool = False, fold_arp: bool = False) -> str:
    """One diagram of the flows, one after the other. With `every_hop` each arrow has its frame's sentence, else a packet's first
    arrow names it. Without `fold_arp` ARP is in it."""
    chosen = [each.without_arp() if fold_arp else each for each in ladders]
    columns = list(dict.fromkeys(column for ladder in chosen for column in ladder.columns))
    ids = {column: f"c{number}" for number, column in enumerate(columns, 1)}
    lines = ["sequenceDiagram", *_participants(columns, ids)]
    for ladder in chosen:
        for journey in ladder.journeys:
            for number, hop in enumerate(journey.hops):
                first = f"{journey.number}: {short(journey.first)}"
                words = hop.sight.sentence if every_hop else first if number == 0 else PASSES_ON
                lines += _hop(hop, ids, words, first if number == 1 and not every_hop else words)
    return "\n".join(lines)


def escaped(text: str) -> str:
    """A text for a message or a note."""
    return text.translate(_CODES)


def _participants(columns: Iterable[str], ids: dict[str, str]) -> Iterator[str]:
    for owner, group in groupby(columns, key=lambda column: column.rpartition("/")[0]):
        members = list(group)
        box = len(members) > 1
        if box:
            yield f"    box transparent {escaped(owner)}"
        for column in members:
            yield f"    {'    ' if box else ''}participant {ids[column]} as {escaped(column)}"
        if box:
            yield "    end"


def _hop(hop: Hop, ids: dict[str, str], words: str, second: str) -> Iterator[str]:
    """The arrow to a sight, and what was done there. A packet's first sight has an arrow only where it begins."""
    sight = hop.sight
    here = ids.get(sight.interface)
    before = ids.get(hop.before.interface) if hop.before is not None else None
    if sight.way == DROP:
        dropped = sight.dropped
        at = (ids.get(dropped[1]) if dropped is not None else None) or before or here or next(iter(ids.values()))
        why = (
            " ".join(filter(None, (dropped[0], f"by {dropped[2]}" if dropped[2] else "")))
            if dropped is not None
            else ""
        )
        yield f"    {before or at}-x{at}: {escaped(f'dropped {why}'.strip())}"
        return
    if here is not None and before is not None and before != here:
        yield f"    {before}->>{here}: {escaped(second)}"
    elif here is not None and before == here:
        yield f"    {here}->>{here}: {escaped(words)}"
    for nat in sight.nats:
        yield f"    Note over {here}: {escaped(nat)}"
