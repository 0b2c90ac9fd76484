"""A ladder as text: one column an interface, one row a packet (or a frame), for a terminal of some width.

    o────>o────>N════>o      o a frame here, N it was rewritten here, X it was dropped here, ═ since it was rewritten

Must not know where frames come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from string import ascii_lowercase

from emu.report.ladders.journeys import Hop, Journey, Ladder
from emu.report.ladders.sight import DROP, Sight

NARROWEST, WIDEST, BESIDE = 2, 12, 44  # between columns, letters; how much a text beside the ladder needs
MARGIN = 2
TAP, NAT, DROPPED = "o", "N", "X"
PLAIN, REWRITTEN, LIFELINE = "─", "═", "│"


def text(ladder: Ladder, width: int, *, every_hop: bool = False, fold_arp: bool = False) -> str:
    """The ladder for `width` letters. Where the columns alone need more, lines are longer."""
    shown = ladder.without_arp() if fold_arp else ladder
    return "\n".join(line.rstrip() for line in _Drawing(shown, width).lines(ladder.journeys, every_hop))


def letters(count: int) -> list[str]:
    """a to z, then aa, ab and so on."""
    more = (first + second for first in ascii_lowercase for second in ascii_lowercase)
    return [*ascii_lowercase, *more][:count]


class _Drawing:
    """One ladder with its columns' places."""

    def __init__(self, ladder: Ladder, width: int) -> None:
        self.ladder, self.width = ladder, width
        self.names = letters(len(ladder.columns))
        gaps = max(1, len(ladder.columns) - 1)
        room = width - MARGIN - 1
        beside = (room - BESIDE) // gaps
        self.beside = beside >= 6
        self.gap = max(NARROWEST, min(WIDEST, (beside if self.beside else room // gaps)))
        self.places = {name: MARGIN + self.gap * at for at, name in enumerate(ladder.columns)}
        self.wide = MARGIN + self.gap * (len(ladder.columns) - 1) + 1

    def lines(self, journeys: Iterable[Journey], every_hop: bool) -> Iterator[str]:
        """The legend, the columns' letters and the rows. What of `journeys` is not in the ladder is folded into a line."""
        yield from self._legend()
        header = [" "] * (self.wide + 1)
        for name, column in zip(self.names, self.ladder.columns, strict=True):
            header[self.places[column] : self.places[column] + len(name)] = name
        yield "".join(header)
        folded: list[Journey] = []
        drawn = {id(journey) for journey in self.ladder.journeys}
        for journey in journeys:
            if id(journey) not in drawn:
                folded.append(journey)
                continue
            yield from self._folded(folded)
            folded = []
            yield from self._hops(journey) if every_hop else self._packet(journey)
        yield from self._folded(folded)

    def _legend(self) -> Iterator[str]:
        """Which letter is which interface, in as many columns as fit, downwards."""
        entries = [f"{name}  {column}" for name, column in zip(self.names, self.ladder.columns, strict=True)]
        size = max((len(entry) for entry in entries), default=0) + 3
        across = max(1, (self.width - MARGIN) // size)
        down = -(-len(entries) // across)
        for row in range(down):
            yield " " * MARGIN + "".join(entry.ljust(size) for entry in entries[row::down])

    def _packet(self, journey: Journey) -> Iterator[str]:
        steps = f"({', '.join(journey.steps)}) " if journey.steps else ""
        label = f"{journey.number}  {self._ms(journey.first)}  {steps}{short(journey.first)}"
        legs = _legs(journey.hops, self._across)
        yield from self._row(self._drawn(legs[0], journey.hops), label, journey.hops)
        for leg in legs[1:]:
            yield self._drawn(leg, journey.hops)

    def _hops(self, journey: Journey) -> Iterator[str]:
        for hop in journey.hops:
            label = f"#{hop.sight.number}  {self._ms(hop.sight)}  {hop.sight.sentence}"
            yield from self._row(self._drawn([hop], journey.hops), label, [hop])

    def _row(self, drawn: str, label: str, hops: list[Hop]) -> Iterator[str]:
        notes = [note for hop in hops for note in self._notes(hop)]
        if self.beside:
            at = self.wide + MARGIN
            yield drawn.ljust(at) + shortened(label, self.width - at)
            for note in notes:
                yield self._lifelines().ljust(at) + shortened(f"   {note}", self.width - at)
        else:
            yield shortened(label, self.width)
            for note in notes:
                yield shortened(f"   {note}", self.width)
            yield drawn

    def _notes(self, hop: Hop) -> Iterator[str]:
        sight = hop.sight
        where = self.names[self.ladder.columns.index(self._column(hop))]
        for nat in sight.nats:
            yield f"{NAT} at {where}: {nat}"
        if sight.dropped is not None:
            reason, place, by = sight.dropped
            yield f"{DROPPED} at {where}: {reason} at {place}" + (f" by {by}" if by else "")
            if sight.forbidden:
                yield f"{DROPPED} at {where}: {sight.forbidden}"

    def _folded(self, journeys: list[Journey]) -> Iterator[str]:
        if journeys:
            count = sum(len(journey.hops) for journey in journeys)
            asked = [short(each.first) for each in journeys if " who-has " in each.first.text]
            what = f"ARP: {count} frames" + (f", {'; '.join(asked)}" if asked else "")
            yield from self._row(self._lifelines(), f"...  {what}", [])

    def _lifelines(self) -> str:
        return "".join(self._blank())

    def _blank(self) -> list[str]:
        canvas = [" "] * self.wide
        for place in self.places.values():
            canvas[place] = LIFELINE
        return canvas

    def _column(self, hop: Hop) -> str:
        """Where a sight is drawn: a drop at the interface that it states, else where the packet came from."""
        sight = hop.sight
        if sight.way == DROP:
            dropped = sight.dropped
            wanted = [dropped[1] if dropped is not None else "", hop.before.interface if hop.before is not None else ""]
            here = [column for column in self.ladder.columns if column.rpartition("/")[0] == sight.owner]
            return next((name for name in [*wanted, *here] if name in self.places), sight.interface)
        return sight.interface

    def _across(self, hop: Hop) -> int:
        """How far to the right the packet came to this sight, columns; below 0: to the left."""
        before = self.places.get(hop.before.interface) if hop.before is not None else None
        return 0 if before is None else self.places[self._column(hop)] - before

    def _drawn(self, hops: Iterable[Hop], way: Iterable[Hop]) -> str:
        """The arrows of some hops; `way` is the whole journey, for what was rewritten before."""
        rewritten: set[int] = set()
        for hop in way:
            if hop.sight.nats or (hop.before is not None and id(hop.before) in rewritten):
                rewritten.add(id(hop.sight))
        canvas, marks = self._blank(), dict[int, str]()
        for hop in hops:
            at = self.places[self._column(hop)]
            before = self.places.get(hop.before.interface, at) if hop.before is not None else at
            self._arrow(
                canvas, before, at, REWRITTEN if hop.before is not None and id(hop.before) in rewritten else PLAIN
            )
            mark = DROPPED if hop.sight.way == DROP else NAT if hop.sight.nats else TAP
            if marks.get(at, TAP) == TAP:
                marks[at] = mark
            if before != at:
                marks.setdefault(before, TAP)
        for at, mark in marks.items():
            canvas[at] = mark
        return "".join(canvas)

    @staticmethod
    def _arrow(canvas: list[str], start: int, end: int, line: str) -> None:
        if start == end:
            return
        low, high = sorted((start, end))
        canvas[low + 1 : high] = line * (high - low - 1)
        canvas[end - 1 if end > start else end + 1] = ">" if end > start else "<"

    def _ms(self, sight: Sight) -> str:
        return f"{(sight.time_ns - self.ladder.start_ns) / 1e6:.3f} ms"


def _legs(hops: list[Hop], across: Callable[[Hop], int]) -> list[list[Hop]]:
    """A journey cut where it turns back, so that no arrow hides another (a hairpin goes out of the port that it came in by)."""
    legs: list[list[Hop]] = [[]]
    towards = 0
    for hop in hops:
        way = across(hop)
        if way * towards < 0:
            legs.append([])
        towards = way or towards
        legs[-1].append(hop)
    return legs


def short(sight: Sight) -> str:
    """A frame in one line, without the MACs."""
    return sight.text.partition("] ")[2] or sight.text


def shortened(text: str, width: int) -> str:
    """At most `width` letters; what is cut ends with an ellipsis."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
