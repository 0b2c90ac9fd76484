"""What people read: one view, one file of this folder; text and JSON from the same data.

A view is a function that gives a `Report`. Views of a namespace (`emu show NAME`) are on the shelf `views`, views of a run
(`emu run --view NAME`) on the shelf `run_views`; the first sentence of a view's docstring is its help text. Must not know
commands or terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emu import page
from emu.kernel.net.netns import Netns
from emu.registry import Shelf
from emu.scenario.record import Run


class Report(NamedTuple):
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
    return "\n".join(aligned(headings, lambda: rows, keys))


def aligned(
    headings: Sequence[str], rows: Callable[[], Iterable[Mapping[str, Any]]], keys: Sequence[str]
) -> Iterator[str]:
    """The lines of such a table. `rows` gives the rows; it is called twice, so that none needs to be held."""
    widths = [len(each) for each in headings]
    for row in rows():
        widths = [max(width, len(_cell(row.get(key)))) for width, key in zip(widths, keys, strict=True)]
    yield _line(headings, widths)
    for row in rows():
        yield _line([_cell(row.get(key)) for key in keys], widths)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)
