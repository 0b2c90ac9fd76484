"""The cells of a matrix, made of the answers of its columns: a letter, how many pairs deliver, the first cause. Must not know how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from emu.matrix.ask import LETTERS, NOT_ASKED, SOME, Answer, Answers
from emu.matrix.ends import Column, Row

LEGEND = {
    ".": "delivered", "x": "dropped", "r": "rejected (ICMP)", "R": "refused (RST)", "t": "timeout: no answer, no known drop", "E": "the client's call fails",
    "?": "undecided: not modelled", "~": "some pairs deliver, some do not", "-": "not asked",
}  # fmt: skip


class Cell(NamedTuple):
    """One source kind and one way into a Service's port. `pairs` are of a source and an endpoint (or of a source alone where there is none);
    `answers` are those of its flows, each with its pairs. `first` is the first one that was not delivered."""

    letter: str
    pairs: int = 0
    delivered: int = 0
    first: Answer | None = None
    answers: tuple[tuple[Answer, int], ...] = ()


class Table(NamedTuple):
    """`cells` by row and column; `flows` is how many were sent."""

    rows: Sequence[Row]
    columns: Sequence[Column]
    cells: list[list[Cell]]
    endpoints: list[list[str]]
    flows: int
    shared: bool

    @property
    def asked(self) -> int:
        return sum(cell.letter != NOT_ASKED for row in self.cells for cell in row)

    @property
    def pairs(self) -> int:
        return sum(cell.pairs for row in self.cells for cell in row)


def table_of(rows: Sequence[Row], columns: Sequence[Column], found: Iterable[Answers], *, shared: bool) -> Table:
    """The table of every column's answers, which come in the order of columns."""
    made: list[list[Cell]] = [[] for _ in rows]
    endpoints, flows = [], 0
    for each in found:
        endpoints.append(each.endpoints)
        flows += len(each.answers)
        known: dict[tuple[tuple[int, int], ...], Cell] = {}
        for own, parts in zip(made, each.cells, strict=True):
            if parts not in known:
                known[parts] = _cell([(each.answers[number], count) for number, count in parts])
            own.append(known[parts])
    return Table(rows, columns, made, endpoints, flows, shared)


def _cell(answers: Sequence[tuple[Answer, int]]) -> Cell:
    if not answers:
        return Cell(NOT_ASKED)
    pairs = sum(count for _, count in answers)
    good = sum(count for answer, count in answers if answer.outcome == "delivered")
    first = next((answer for answer, _ in answers if answer.outcome != "delivered"), None)
    if first is None:
        return Cell(LETTERS["delivered"], pairs, good, None, tuple(answers))
    return Cell(SOME if good else first.letter, pairs, good, first, tuple(answers))


# -- as plain values -----------------------------------------------------------------------------------------

HEADINGS = (
    "source", "kind", "target", "by", "letter", "outcome", "detail", "pairs", "delivered", "cause", "object", "sentence", "remedy", "asked",
)  # fmt: skip


def facts(table: Table) -> Iterator[dict[str, Any]]:
    """Each cell as plain values, by rows: the keys are `HEADINGS`."""
    for row, cells in zip(table.rows, table.cells, strict=True):
        for column, cell in zip(table.columns, cells, strict=True):
            yield fact(row, column, cell)


def fact(row: Row, column: Column, cell: Cell) -> dict[str, Any]:
    """`asked` is the source whose flow the outcome is of."""
    shown = cell.first or (cell.answers[0][0] if cell.answers else None)
    outcome = "not asked" if shown is None else shown.outcome
    values = (
        row.name, row.kind, column.name, column.by, cell.letter, outcome, shown.detail if shown is not None else "", cell.pairs, cell.delivered,
        *((shown.cause, shown.object, shown.sentence, shown.remedy, shown.source) if shown is not None else ("",) * 5),
    )  # fmt: skip
    return dict(zip(HEADINGS, values, strict=True))


def data_of(table: Table) -> dict[str, Any]:
    """The whole matrix as plain values."""
    return {
        "flows": table.flows,
        "cells_asked": table.asked,
        "pairs": table.pairs,
        "shared": table.shared,
        "legend": LEGEND,
        "sources": [
            {"name": row.name, "kind": row.kind, "members": len(row.members), "not_running": row.idle} for row in table.rows
        ],
        "targets": [
            {
                "name": column.name, "namespace": column.namespace, "service": column.service, "port": column.number, "protocol": column.protocol,
                "by": column.by, "address": column.address, "endpoints": endpoints,
            }
            for column, endpoints in zip(table.columns, table.endpoints, strict=True)
        ],
        "cells": [*facts(table)],
    }  # fmt: skip
