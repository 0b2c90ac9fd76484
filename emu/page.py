"""Small plain HTML for notebooks: a heading, and a table of text. Must not know what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

MOST = 200  # rows of a table


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a title; of a long one the first rows, and how many more there are."""
    found = list(rows)
    head = "".join(f"<th>{escape(each)}</th>" for each in headings)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in found[:MOST])
    more = f"<p>... {len(found) - MOST} more</p>" if len(found) > MOST else ""
    return f"<p><b>{escape(title)}</b></p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def text(title: str, lines: str) -> str:
    """Text whose columns stay as they are."""
    return f"<p><b>{escape(title)}</b></p><pre>{escape(lines)}</pre>"


def _cell(value: object) -> str:
    shown = escape(str(value)).replace("\n", "<br>")
    return f"<td>{shown}</td>"
