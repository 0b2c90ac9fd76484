"""The gallery's contents: lessons with their first sentence, mistakes with their symptom. Must not know terminals."""

from __future__ import annotations

import textwrap
from typing import Any

from msgspec import to_builtins

from emu.report import Report
from emu.scenario.gallery import stories, story
from emu.scenario.kinds import Metadata
from emu.scenario.script import load

WIDE = 120  # columns of a paragraph


def gallery() -> Report:
    """Each story's name and what it is about; a mistake's cause and cure are in the data."""
    data: list[dict[str, Any]] = []
    for name, path in stories().items():
        about = load(path).spec.metadata
        mistake = {} if about.mistake is None else {"mistake": to_builtins(about.mistake)}
        data.append({"name": name, "description": about.description, **mistake})
    wide = max(len(each["name"]) for each in data)
    groups = (
        ("Lessons", [each for each in data if "mistake" not in each]),
        ("Mistakes", [each for each in data if "mistake" in each]),
    )
    lines = [
        line
        for title, found in groups
        for line in (f"{title}:", *(f"  {each['name']:{wide}}  {_line(each)}" for each in found), "")
    ]
    return Report(data, "\n".join(lines).rstrip())


def page(name: str) -> Report:
    """One story: what it is about; of a mistake its symptom, cause, the command that shows it, and its cure; the frames to look
    at. Raises InputError for an unknown name."""
    about = load(story(name)).spec.metadata
    return Report({"name": name, **to_builtins(about)}, "\n".join(_parts(about)))


def _parts(about: Metadata) -> list[str]:
    parts = [textwrap.fill(about.description, WIDE), ""]
    mistake = about.mistake
    if mistake is not None:
        cured = f" See the story {mistake.cured_in}." if mistake.cured_in else ""
        rows = (
            ("Seen", mistake.seen),
            ("Cause", mistake.cause),
            ("Find", mistake.find),
            ("Cure", mistake.cure + cured),
            ("Report", ", ".join(mistake.report)),
        )
        parts += [_row(word, text) for word, text in rows if text]
    parts += [_row("Look", f"{each.file}: {each.filter}") + "\n" + _row("", each.see) for each in about.look]
    return parts


def _row(word: str, text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDE, initial_indent=f"{word:7}", subsequent_indent=" " * 7)


def _line(each: dict[str, Any]) -> str:
    if "mistake" in each:
        return " ".join(each["mistake"]["seen"].split())
    return first_sentence(each["description"])


def first_sentence(text: str) -> str:
    """The first sentence of a text of several lines."""
    return " ".join(text.split()).partition(". ")[0].rstrip(".") + "."
