"""Pages: what makes one HTML file of a flow, a run or a lab, to step through its frames.

The makers put themselves on the shelf by the kind of what they show; they are on a higher floor. Must not know what a page shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from emu.capture.atomic import whole_file
from emu.registry import Shelf

SIGN = b'<meta name="generator" content="emu'  # in every page, near its beginning
NEAR = 1024
TALL_PX = 720  # of a page in a notebook

makers: Shelf[Callable[[Any], str]] = Shelf("page", "emu.report.html")


def page(kind: str, of: Any, path: str | os.PathLike[str] | None = None, *, force: bool = False) -> str:
    """The page of a thing of this kind, as text; with `path` it is written there, too. `force` replaces a file that emu did not
    write. Raises InputError: nothing was captured, jinja2 is not installed, the file cannot be written."""
    text = makers[kind](of)
    if path is not None:
        write(path, text, force=force)
    return text


def write(path: str | os.PathLike[str], text: str, *, force: bool = False) -> None:
    """Write a page. Raises InputError."""
    with whole_file(path, (lambda path: True) if force else is_own) as file:
        file.write(text.encode())


def is_own(path: Path) -> bool:
    """Whether a file is a page that emu wrote."""
    with path.open("rb") as file:
        return SIGN in file.read(NEAR)


def frame(text: str) -> str:
    """A page within another one, as notebooks show it."""
    style = f"width:100%;height:{TALL_PX}px;border:0"
    return (
        f'<iframe srcdoc="{escape(text)}" style="{style}" title="emu" sandbox="allow-scripts allow-downloads"></iframe>'
    )
