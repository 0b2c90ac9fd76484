"""The matrix as one HTML file that asks nothing of a network and has no script. Must not know how the answers were found."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from emu.matrix.shown import Line, causes_of, head, is_large, lines_of, seen
from emu.matrix.table import LEGEND, Table
from emu.report.html.page import template
from emu.version import VERSION

ALIKE = 40  # names of a group that are listed
LOOKS = {".": "ok", "-": "quiet"}


def page_of(table: Table, sources: Sequence[Path]) -> str:
    """The page. Raises InputError where jinja2 is not installed."""
    large = is_large(table)
    rows, columns = lines_of(table, large)
    causes = causes_of(table)
    numbers = {key: number for number, key in enumerate(causes, 1)}
    used = {cell.letter for row in table.cells for cell in row}
    folder = files(__package__)
    return str(
        template(folder.joinpath("matrix.html.j2").read_text(encoding="utf-8")).render(
            title=f"Who reaches what in {', '.join(each.name for each in sources)}",
            css=folder.joinpath("matrix.css").read_text(encoding="utf-8"),
            version=VERSION,
            head=[*head(table)],
            legend=[(letter, what) for letter, what in LEGEND.items() if letter in used],
            columns=[_column(table, each) for each in columns],
            rows=[
                {
                    "name": table.rows[row.first].name,
                    "more": len(row.numbers) - 1,
                    "cells": [_cell(table, row.first, column.first, numbers, large) for column in columns],
                }
                for row in rows
            ],
            alike=[_names([table.rows[each].name for each in row.numbers]) for row in rows if len(row.numbers) > 1],
            causes=[
                {
                    "letter": letter, "cause": cause, "cells": len(places), "source": table.rows[places[0][0]].name, "target": table.columns[places[0][1]].name,
                    **_decided(table, *places[0]),
                }
                for (letter, cause, _), places in causes.items()
            ],
        )
    )  # fmt: skip


def _names(names: Sequence[str]) -> str:
    more = len(names) - ALIKE
    return ", ".join(names[:ALIKE]) + (f" and {more} more" if more > 0 else "")


def _column(table: Table, line: Line) -> dict[str, Any]:
    names = [table.columns[each].name for each in line.numbers]
    return {"name": names[0], "more": len(names) - 1, "alike": _names(names[1:])}


def _cell(table: Table, row: int, column: int, numbers: dict[tuple[str, str, str], int], large: bool) -> dict[str, Any]:
    cell = table.cells[row][column]
    letter, _ = seen(cell, large)
    first = cell.first if letter not in LOOKS else None
    key = (cell.letter, first.cause or first.outcome, first.object) if first is not None else None
    part = f", {cell.delivered:,} of {cell.pairs:,} pairs" if letter == "~" else ""
    return {
        "letter": letter, "look": LOOKS.get(letter, "bad"), "what": LEGEND[letter] + part, "cause": numbers[key] if key is not None else 0,
        "title": f"{table.rows[row].name} to {table.columns[column].name}: {key[1]}" if key is not None else "",
    }  # fmt: skip


def _decided(table: Table, row: int, column: int) -> dict[str, str]:
    first = table.cells[row][column].first
    assert first is not None
    return {"sentence": first.sentence or first.detail or first.outcome, "remedy": first.remedy}
