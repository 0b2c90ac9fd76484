"""The matrix as text for 80 columns, and as CSV. A small one has a line for each source; a large one a line for sources that are alike.

Must not know how the answers were found.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Hashable, Iterable, Iterator, Sequence
from textwrap import wrap
from typing import NamedTuple

from emu.matrix.ask import LETTERS
from emu.matrix.table import HEADINGS, LEGEND, Cell, Table, facts

WIDTH, LABEL = 80, 30
HAIRPIN = "hairpin"
SMALL = 40  # rows or columns of a table that is shown whole
MOST = 25  # causes of one text
NAMES = 4  # of those that are alike


class Line(NamedTuple):
    """Rows, or columns, that are alike, by their numbers; the first stands for all."""

    numbers: tuple[int, ...]

    @property
    def first(self) -> int:
        return self.numbers[0]


def text_of(table: Table) -> str:
    """The head with what was asked, the table, the columns' names, what is alike, the causes."""
    large = is_large(table)
    rows, columns = lines_of(table, large)
    blocks = [_paragraphs(head(table)), _legend(table), _grid(table, rows, columns, large), _named(table, columns)]
    if large:
        blocks.append(_alike("sources", rows, [each.name for each in table.rows]))
        blocks.append(_alike("targets", columns, [each.name for each in table.columns]))
    blocks.append(_causes(table, columns))
    return "\n\n".join("\n".join(each) for each in blocks if each)


def is_large(table: Table) -> bool:
    return len(table.rows) > SMALL or len(table.columns) > SMALL


def lines_of(table: Table, large: bool) -> tuple[list[Line], list[Line]]:
    """Rows and columns as they are shown; those of a large table that are alike together."""
    keys = [[seen(cell, large) for cell in cells] for cells in table.cells]
    turned = [tuple(row[number] for row in keys) for number in range(len(table.columns))]
    return alike([tuple(each) for each in keys], large), alike(turned, large)


def seen(cell: Cell, large: bool) -> tuple[str, str]:
    """The letter that is shown, and its cause. A large table does not show what a pod alone meets that is its own Service's endpoint."""
    failed = {answer.cause for answer, _ in cell.answers if answer.outcome != "delivered"}
    if large and cell.delivered and failed == {HAIRPIN}:
        return LETTERS["delivered"], ""
    return cell.letter, cell.first.cause if cell.first is not None else ""


def alike(keys: Sequence[Hashable], large: bool) -> list[Line]:
    """Each by itself, or those of equal keys together."""
    if not large:
        return [Line((number,)) for number in range(len(keys))]
    found: dict[Hashable, list[int]] = {}
    for number, key in enumerate(keys):
        found.setdefault(key, []).append(number)
    return [Line(tuple(numbers)) for numbers in found.values()]


def head(table: Table) -> Iterator[str]:
    """How much was asked, and what that rests on."""
    cells, pairs = f"{table.asked:,} cells", f"{table.pairs:,} pairs of a source and an endpoint"
    ways = f"{len(table.columns):,} ways to Service ports" if len(table.columns) != 1 else "1 way to a Service port"
    if not table.columns:
        yield (
            f"{len(table.rows):,} sources, and no Service whose ports have an IPv4 address: a matrix asks Services alone. "
            "`emu why` asks from a pod to a pod."
        )
        return
    yield f"{len(table.rows):,} sources, {ways}: {cells}, {pairs}."
    if table.shared:
        yield (
            f"{table.flows:,} flows were sent. A flow stands for all pairs that no object, policy, route or setting distinguishes; "
            "--each sends one for every pair."
        )
    else:
        yield f"{table.flows:,} flows were sent, one for every pair."
    if is_large(table):
        yield (
            "Sources and targets that are alike share a line. That a pod does not reach itself by its own Service counts among the causes, "
            "not in the lines."
        )


def _paragraphs(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in wrap(text, WIDTH, break_on_hyphens=False)]


def _legend(table: Table) -> list[str]:
    used = {cell.letter for row in table.cells for cell in row}
    return _paragraphs(["; ".join(f"{letter} {what}" for letter, what in LEGEND.items() if letter in used)])


def _grid(table: Table, rows: Sequence[Line], columns: Sequence[Line], large: bool) -> list[str]:
    label = min(LABEL, max(len(_label(table, each)) for each in rows))
    gap = " " if len(columns) * 2 <= WIDTH - label - 1 else ""
    each_block = (WIDTH - label - 1) // (1 + len(gap))
    lines: list[str] = []
    for start in range(0, len(columns), each_block):
        block = columns[start : start + each_block]
        numbers = [str(number) for number in range(start + 1, start + 1 + len(block))]
        lines += [""] if lines else []
        for digit in range(len(numbers[-1]), 0, -1):
            marks = (number[-digit] if len(number) >= digit else " " for number in numbers)
            lines.append(f"{'':{label}} {gap.join(marks)}".rstrip())
        for row in rows:
            letters = gap.join(seen(table.cells[row.first][column.first], large)[0] for column in block)
            lines.append(f"{_shortened(_label(table, row), label):{label}} {letters}")
    return lines


def _label(table: Table, line: Line) -> str:
    more = len(line.numbers) - 1
    return table.rows[line.first].name + (f" +{more}" if more else "")


def _shortened(text: str, width: int) -> str:
    """The end of a name is worth more than its beginning: `..api/payments-worker`."""
    return text if len(text) <= width else f"..{text[len(text) - width + 2 :]}"


def _named(table: Table, columns: Sequence[Line]) -> list[str]:
    digits = len(str(len(columns)))
    more = [f" +{len(each.numbers) - 1}" if len(each.numbers) > 1 else "" for each in columns]
    return [
        f"{number:{digits}} {table.columns[each.first].name}{extra}"
        for number, (each, extra) in enumerate(zip(columns, more, strict=True), 1)
    ]


def _alike(what: str, lines: Sequence[Line], names: Sequence[str]) -> list[str]:
    found = []
    for each in lines:
        if len(each.numbers) > 1:
            shown = ", ".join(names[number] for number in each.numbers[:NAMES])
            more = len(each.numbers) - NAMES
            text = f"{len(each.numbers)} {what} are alike: {shown}" + (f" and {more} more" if more > 0 else "")
            found += wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return found


def causes_of(table: Table) -> dict[tuple[str, str, str], list[tuple[int, int]]]:
    """The cells, by row and column, of each letter, cause (or outcome) and object."""
    found: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for row, cells in enumerate(table.cells):
        for column, cell in enumerate(cells):
            if cell.first is not None:
                key = cell.letter, cell.first.cause or cell.first.outcome, cell.first.object
                found.setdefault(key, []).append((row, column))
    return found


def _causes(table: Table, columns: Sequence[Line]) -> list[str]:
    """Each cause and object once, with its cells and the sentence of the first one; of a large table each cause once."""
    place = {number: str(at) for at, line in enumerate(columns, 1) for number in line.numbers}
    large, lines = is_large(table), list[str]()
    groups: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    objects: dict[tuple[str, ...], set[str]] = {}
    for (letter, cause, obj), cells in causes_of(table).items():
        group: tuple[str, ...] = (letter, cause) if large else (letter, cause, obj)
        groups.setdefault(group, []).extend(cells)
        objects.setdefault(group, set()).add(obj)
    for shown, places in [*groups.items()][:MOST]:
        row, column = min(places)
        first = table.cells[row][column].first
        assert first is not None
        numbers = sorted({place[each] for _, each in places}, key=int)
        where = ", ".join(numbers[:NAMES]) + (f" and {len(numbers) - NAMES} more" if len(numbers) > NAMES else "")
        many = (
            f"{len(places):,} cells, the first of {table.rows[row].name}" if len(places) > 1 else table.rows[row].name
        )
        many += f"; {len(objects[shown]):,} objects" if len(objects[shown]) > 1 else ""
        text = f"{shown[0]} {where}: {first.sentence or first.detail or first.outcome} [{shown[1]}] ({many})"
        lines += wrap(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
    more = len(groups) - MOST
    return [*lines, *([f"{more} more causes: -o json, -o csv"] if more > 0 else [])]


def csv_of(table: Table) -> str:
    """A line for each cell, the headings first; quoted as RFC 4180 has it, with plain line ends."""
    made = io.StringIO()
    writer = csv.DictWriter(made, HEADINGS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(facts(table))
    return made.getvalue().rstrip("\n")
