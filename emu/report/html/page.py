"""A document as one HTML file: the template with styles, script and data in it. Must not know what the data means."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from emu.capture.atomic import whole_file
from emu.errors import InputError
from emu.report.html.document import document
from emu.report.html.model import Document, Run, encode
from emu.report.html.scene import Scene

SIGN = b'<meta name="generator" content="emu'  # in every page, near its beginning
NEAR = 1024
TEXT_LINES = 600  # lines of the page's text, for browsers without scripts


def render(content: Document, title: str) -> str:
    """The page. Raises InputError where jinja2 is not installed."""
    here = files(__package__)
    template = _template(here.joinpath("page.html.j2").read_text(encoding="utf-8"))
    return str(
        template.render(
            title=title,
            css=here.joinpath("style.css").read_text(encoding="utf-8"),
            js=here.joinpath("app.js").read_text(encoding="utf-8"),
            data=safe(encode(content).decode()),
            text=plain(content),
            version=content.emu,
        )
    )


def check() -> None:
    """Raise InputError where jinja2 is not installed."""
    _template("")


def _template(source: str) -> Any:
    try:
        from jinja2 import Environment
    except ImportError:
        raise InputError("a page needs jinja2", expected="pip install 'kubemu[report]'") from None
    return Environment(autoescape=True, keep_trailing_newline=True).from_string(source)


def safe(data: str) -> str:
    """JSON that cannot end the script element that it stands in."""
    return data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def plain(content: Document) -> str:
    """The flows and their hops as text."""
    lines = [line for run in content.runs for line in _lines(run)]
    more = len(lines) - TEXT_LINES
    return "\n".join([*lines[:TEXT_LINES], *([f"... {more} more lines"] if more > 0 else [])])


def _lines(run: Run) -> Iterable[str]:
    for flow in run.flows:
        ends = " ".join(str(flow[key]) for key in ("outcome", "detail") if flow[key])
        yield f"{run.name}: {flow['name']}: {ends} {flow['at'] or flow['place']}".rstrip()
        for frame in run.frames:
            if frame.f == flow["flow"]:
                yield f"{frame.h:4} {run.interfaces[frame.i].name:<24} {frame.w:<8} {run.words[frame.s]}"


def write(path: str | os.PathLike[str], scenes: Iterable[Scene], title: str, *, force: bool = False) -> None:
    """Write a page of scenes. `force` replaces a file that emu did not write. Raises InputError."""
    shown = render(document(scenes), title)
    with whole_file(path, (lambda path: True) if force else is_own) as file:
        file.write(shown.encode())


def is_own(path: Path) -> bool:
    """Whether a file is a page that emu wrote."""
    with path.open("rb") as file:
        return SIGN in file.read(NEAR)
