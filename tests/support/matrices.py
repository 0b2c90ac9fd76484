"""Matrices as tests compare them: of a cluster or an export, the letters and causes by source and target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from emu.kube.cluster import Cluster
from emu.matrix.ask import Question
from emu.matrix.ends import Choice
from emu.matrix.table import Table
from emu.matrix.whole import ask_all
from export_objects import Object

Facts = dict[tuple[str, str], Counter[tuple[str, str, str]]]


def live(export: Object, *, capture: bool = False) -> Cluster:
    return Cluster.live(export, capture=capture)


def asked(
    again: Callable[[], Cluster], *, shared: bool = True, acquainted: bool = True, outer: bool = False, **more: Any
) -> Table:
    """The matrix of a cluster, in this process unless `jobs` or `dask` are given."""
    question = Question(Choice(outer=outer), shared=shared, acquainted=acquainted)
    return ask_all(again, question, **({"jobs": 1} | more))


def letters(table: Table) -> dict[str, str]:
    """Each source's letters, in the order of targets."""
    return {
        row.name: "".join(cell.letter for cell in cells) for row, cells in zip(table.rows, table.cells, strict=True)
    }


def facts(table: Table) -> Facts:
    """How many pairs of each cell have which outcome, detail and cause."""
    found: Facts = {}
    for row, cells in zip(table.rows, table.cells, strict=True):
        for column, cell in zip(table.columns, cells, strict=True):
            parts = found[row.name, column.name] = Counter()
            for answer, pairs in cell.answers:
                parts[answer.outcome, answer.detail, answer.cause] += pairs
    return found
