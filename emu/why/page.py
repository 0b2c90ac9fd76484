"""The page of an answer: the flow that decides, with verdict and cause, opened at the step that decides.

Must not know how a cause is found.
"""

from __future__ import annotations

from collections.abc import Sequence

from emu.report.html.page import of
from emu.report.html.scene import Sighted, of_flow
from emu.trail import Natted
from emu.why.answer import sentence_of
from emu.why.case import Because, Case
from emu.wire.captured import is_ipv4

ANSWERS = ("refused", "rejected")  # a host sends an answer back


def page(case: Case, because: Because | None) -> str:
    """One HTML file. Raises InputError where nothing was captured, or jinja2 is not installed."""
    scene = of_flow(case.flow)
    scene.name, scene.description = f"why {case.source} to {case.target}", sentence_of(case)
    if because is not None:
        scene.description += f" Cause: {because.sentence} [{because.cause}]. Change: {because.remedy}."
        scene.notes += [f"assumed: {each}" for each in because.assumed]
    scene.notes += [each for each in case.places.warnings if each.startswith("export: ")]
    return of([scene], opens=f"flow=1&step={step(case.word, scene.frames)}")


def step(word: str, frames: Sequence[Sighted]) -> int:
    """Which frame decides, from 1: the first drop; else the first sight of the reset or ICMP error; of a name that is not found, or where
    nothing answers, the last one; of a flow that arrives the first one behind a NAT, else the beginning."""
    dropped = [number for number, each in enumerate(frames, 1) if each.direction == "drop"]
    if word == "delivered":
        translated = (
            number for number, each in enumerate(frames, 1) if any(isinstance(fact, Natted) for fact in each.trail)
        )
        return next(translated, 1)
    if dropped:
        return dropped[0]
    if word in ANSWERS:
        answers = (number for number, each in enumerate(frames, 1) if each.cause and is_ipv4(each.data))
        return next(answers, len(frames) or 1)
    return len(frames) or 1
