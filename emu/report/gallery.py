"""The gallery's contents: lessons with their first sentence, mistakes with their symptom. Must not know terminals."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins

from emu.report import Report
from emu.scenario.gallery import stories
from emu.scenario.script import load


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


def _line(each: dict[str, Any]) -> str:
    if "mistake" in each:
        return " ".join(each["mistake"]["seen"].split())
    return " ".join(each["description"].split()).partition(". ")[0].rstrip(".") + "."
