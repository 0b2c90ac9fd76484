"""A document as one HTML file: the template with styles, script and data in it. Must not know what the data means."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from emu.capture.pages import makers
from emu.errors import InputError
from emu.kube.flow.flow import Flow
from emu.lab import Lab
from emu.report.html import assets
from emu.report.html.document import document
from emu.report.html.filed import NOT_OURS
from emu.report.html.model import Document, Link, Run, encode
from emu.report.html.scene import Scene, of_flow, of_lab, of_run
from emu.scenario.record import Run as Record

SUFFIX = ".html"
TEXT_LINES = 600  # lines of the page's text, for browsers without scripts


def render(content: Document, title: str) -> str:
    """The page. Raises InputError where jinja2 is not installed."""
    words = assets.read("words.json")
    if any(NOT_OURS in run.notes for run in content.runs):
        table = json.loads(words)
        words = json.dumps(table | {"modelled": table["read_in"]}, ensure_ascii=False)
    return str(
        template(assets.read("page.html.j2")).render(
            title=title,
            css=assets.read("style.css"),
            js=assets.script(),
            w=SimpleNamespace(**json.loads(words)),
            words=safe(words),
            data=safe(encode(content).decode()),
            text=plain(content),
            version=content.emu,
        )
    )


def check() -> None:
    """Raise InputError where jinja2 is not installed."""
    template("")


def template(source: str) -> Any:
    """A template of jinja2. Raises InputError where that is not installed."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise InputError("a page needs jinja2", expected="pip install 'kubemu[report]'") from None
    return Environment(autoescape=True, keep_trailing_newline=True, undefined=StrictUndefined).from_string(source)


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


def title(scenes: Sequence[Scene]) -> str:
    """What the browser's tab shows."""
    return f"{scenes[0].name} - emu" if len(scenes) == 1 else f"{len(scenes)} scenarios - emu"


def of(scenes: Sequence[Scene], *, compared: bool = False, links: Sequence[Link] = (), opens: str = "") -> str:
    """The page of some scenes; `compared`: of two, side by side. `links` are the pages beside it, `opens` is what to see first, as
    `flow=1&step=14`. Raises InputError."""
    return render(document(scenes, compared=compared, links=links, opens=opens), title(scenes))


@makers.add("run")
def _of_run(run: Record) -> str:
    return of([of_run(run)])


@makers.add("two runs")
def _of_two_runs(runs: tuple[Record, Record]) -> str:
    return of([of_run(each) for each in runs], compared=True)


@makers.add("flow")
def _of_flow(flow: Flow) -> str:
    return of([of_flow(flow)])


@makers.add("lab")
def _of_lab(lab: Lab) -> str:
    return of([of_lab(lab)])
