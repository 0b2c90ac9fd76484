"""What people read: one view, one file of this folder; text and JSON from the same data.

A view is a function that gives a `Report`. Views of a namespace (`emu show NAME`) are on the shelf `views`, views of a run
(`emu run --view NAME`) on the shelf `run_views`; the first sentence of a view's docstring is its help text. Must not know
commands or terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emu import page
from emu.kernel.net.netns import Netns
from emu.registry import Shelf
from emu.scenario.record import Run


@dataclass(frozen=True)
class Report:
    """`data` is what JSON and YAML show, `text` what people read (ends without a newline)."""

    data: Any
    text: str

    def _repr_html_(self) -> str:
        return page.text("", self.text)


View = Callable[[Netns], Report]
RunView = Callable[[Run], Report]
views: Shelf[View] = Shelf("view of a node", __name__)
run_views: Shelf[RunView] = Shelf("view of a run", __name__)


def sentence(view: Callable[..., Report]) -> str:
    """What a view shows: the first sentence of its docstring."""
    text = " ".join((view.__doc__ or "").split())
    return text.partition(". ")[0].rstrip(".")


def columns(headings: Sequence[str], rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> str:
    """A plain table as kubectl prints one: columns aligned by blanks, the last one open. Empty cells show `-`."""
    cells = [list(headings), *([_cell(row.get(key)) for key in keys] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("   ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)
