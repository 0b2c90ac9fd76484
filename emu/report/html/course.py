"""The gallery as a course: chapters with the usual description's words beside what Linux does, and a page for each story.

Must not know how a story is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec

from emu.report.gallery import first_sentence
from emu.report.html import assets
from emu.report.html.model import Link
from emu.report.html.page import SUFFIX, template
from emu.scenario.kinds import Metadata, Mistake
from emu.scenario.record import Run
from emu.version import VERSION

INDEX = f"index{SUFFIX}"


class Chapter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chapter: `usual` are the usual description's words, `linux` what Linux does, `differs` where they differ."""

    title: str
    stories: tuple[str, ...]
    usual: str = ""
    linux: str = ""
    differs: tuple[str, ...] = ()


class Entry(msgspec.Struct, frozen=True):
    """A line of the index: the page of one run. `judged`: whether a kernel was asked, a sentence; "": not known."""

    name: str
    about: str
    flows: int
    frames: int
    held: bool
    judged: str = ""
    mistake: Mistake | None = None


class Course(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The gallery in order. `unjudged`: the stories whose frames no kernel is compared with, and why."""

    chapters: tuple[Chapter, ...]
    unjudged: dict[str, str]


def course() -> Course:
    """The course, without the gallery's mistakes."""
    import yaml

    return msgspec.convert(yaml.load(assets.read("course.yaml"), yaml.CSafeLoader), type=Course, strict=False)


def chapters() -> tuple[Chapter, ...]:
    """The chapters of the gallery, without its mistakes."""
    return course().chapters


def judged(name: str) -> str:
    """Whether the tests compare a story of the gallery with a Linux kernel, in a sentence."""
    why = course().unjudged.get(name)
    return words()["judged"] if why is None else words()["not_judged"].replace("{why}", why)


def ordered(stories: Iterable[str], mistakes: Iterable[str]) -> list[Chapter]:
    """The chapters with those of these stories that are in them; mistakes are the last one, and what is in none comes before."""
    wanted, wrong = list(stories), set(mistakes)
    found = [msgspec.structs.replace(each, stories=_only(each.stories, wanted)) for each in chapters()]
    placed = {name for each in found for name in each.stories}
    rest = tuple(name for name in wanted if name not in placed and name not in wrong)
    last = tuple(name for name in wanted if name in wrong)
    found += [Chapter(words()["index_others"], rest), Chapter(words()["index_mistakes"], last)]
    return [each for each in found if each.stories]


def _only(names: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in wanted)


def words() -> dict[str, str]:
    """The texts of pages, by key."""
    found: dict[str, str] = msgspec.json.decode(assets.read("words.json"))
    return found


def entry(run: Run, judged: str = "") -> Entry:
    """The line of a run; `judged` states whether a kernel was asked."""
    about = run.scenario.spec.metadata
    flows = list(run.flows)
    frames = sum(len(each.flow.frames) for each in flows)
    return Entry(run.scenario.name, _about(about), len(flows), frames, not run.exit_status, judged, about.mistake)


def _about(about: Metadata) -> str:
    return about.mistake.seen if about.mistake is not None else first_sentence(about.description)


def index(parts: Sequence[Chapter], entries: Sequence[Entry], title: str) -> str:
    """The index page. Raises InputError where jinja2 is not installed."""
    known = {each.name: each for each in entries}
    shown: list[dict[str, Any]] = [
        {**msgspec.structs.asdict(part), "entries": [known[name] for name in part.stories if name in known]}
        for part in parts
    ]
    text = template(assets.read("index.html.j2"))
    return str(
        text.render(
            title=title,
            css=assets.read("index.css"),
            chapters=shown,
            w=SimpleNamespace(**words()),
            version=VERSION,
            suffix=SUFFIX,
        )
    )


def links(parts: Sequence[Chapter], name: str) -> list[Link]:
    """The pages beside a story's: the index, and the stories before and after it."""
    order = [each for part in parts for each in part.stories]
    at = order.index(name)
    found = [Link("index", INDEX, words()["index"])]
    found += [Link("prev", f"{order[at - 1]}{SUFFIX}", order[at - 1])] if at else []
    return found + ([Link("next", f"{order[at + 1]}{SUFFIX}", order[at + 1])] if at + 1 < len(order) else [])
