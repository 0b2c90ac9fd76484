"""The gallery's stories, run once a process, and their pages' documents."""

from __future__ import annotations

from functools import cache

from emu.report.html.document import document
from emu.report.html.model import Document
from emu.report.html.scene import of_run
from emu.scenario.gallery import story
from emu.scenario.record import Run
from emu.scenario.run import run


@cache
def ran(name: str) -> Run:
    """A story's run. Nothing may change it."""
    return run(story(name), record=True)


@cache
def page_of(name: str) -> Document:
    """The document of a story's page."""
    return document([of_run(ran(name))])
