"""`emu quiz`: the questions of a run in a terminal, one before each hop that is hidden. Must not know how questions are made."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emu.cli.console import Form, dump, note, out
from emu.errors import InputError

if TYPE_CHECKING:
    from emu.quiz import Question
    from emu.report.html.scene import Scene, Sighted

ALL_RIGHT, NOT_ALL_RIGHT = 0, 1


def quiz(
    scenario: str,
    *,
    answers: str = "",
    seed: int = 0,
    only: Sequence[str] = (),
    key: bool = False,
    form: Form = Form.text,
) -> int:
    """Ask the questions of a scenario: a file, or the name of a story of the gallery.

    `answers` names a file with one answer a line, the number of a choice or its text ("-" or "": standard input). `seed` orders the
    choices, `only` keeps these kinds. `key` prints the questions with their answers and asks nothing. Exit status 0: all are
    right. Raises InputError: no such scenario, file or kind, or there is nothing to ask.
    """
    scene, asked = _asked(scenario, seed, only)
    if key:
        _print_key(asked, form)
        return ALL_RIGHT
    given = _given(answers)
    if answers in ("", "-") and sys.stdin.isatty():
        note("answer with the number of a choice; an empty line is no answer")
    results = [
        _one(question, number, len(asked), scene, asked, given, form) for number, question in enumerate(asked, 1)
    ]
    right = sum(result["right"] for result in results)
    missing = sum(result["given"] is None for result in results)
    if form is Form.text:
        out(f"{right} of {len(results)} right" + (f", {missing} without an answer" if missing else ""))
    else:
        out(dump({"right": right, "of": len(results), "questions": results}, form))
    return ALL_RIGHT if right == len(results) else NOT_ALL_RIGHT


def _asked(scenario: str, seed: int, only: Sequence[str]) -> tuple[Scene, list[Question]]:
    from emu.quiz.kinds import KINDS
    from emu.report.html.document import asked
    from emu.report.html.scene import of_run
    from emu.scenario.gallery import story
    from emu.scenario.run import run

    for kind in only:
        if kind not in KINDS:
            raise InputError(f"no kind of question is called {kind!r}", expected=", ".join(sorted(KINDS)))
    path = Path(scenario)
    scene = of_run(run(path if path.exists() or path.suffix else story(scenario)))
    found = [each for each in asked(scene, seed) if not only or each.kind in only]
    if not found:
        raise InputError("there is nothing to ask about this run", expected="a scenario with flows that send packets")
    return scene, found


def _given(answers: str) -> Iterator[str]:
    """The answers, a line each; lines that begin with # are left out in a file."""
    if answers in ("", "-"):
        return (line.strip() for line in sys.stdin)
    try:
        text = Path(answers).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(getattr(error, "strerror", None) or "is not UTF-8", file=answers) from None
    return (line.strip() for line in text.splitlines() if not line.startswith("#"))


def _one(
    question: Question, number: int, of: int, scene: Scene, asked: Sequence[Question], given: Iterator[str], form: Form
) -> dict[str, Any]:
    """Ask one question, and give it with its result as data."""
    if form is Form.text:
        for line in _hops(scene, asked, number - 1):
            out(line)
        out(f"\nQuestion {number} of {of}: {question.ask}")
        out("\n".join(f"  {place}  {choice}" for place, choice in enumerate(question.choices, 1)))
    answer = next(given, None)
    chosen = None if answer is None else _choice(answer, question)
    right = chosen == question.answer
    if form is Form.text:
        out(f"{'Right.' if right else 'Not so: ' + question.choices[question.answer] + '.'} {question.why}\n")
    choice = None if chosen is None else question.choices[chosen]
    return {**_data(question), "given": answer, "chosen": choice, "right": right}


def _choice(answer: str, question: Question) -> int | None:
    """The place of a choice by its number from 1 or its text."""
    if answer.isascii() and answer.isdecimal():
        place = int(answer) - 1
    else:
        place = question.choices.index(answer) if answer in question.choices else -1
    if 0 <= place < len(question.choices):
        return place
    if answer:
        note(f"{answer!r} is none of the choices (expected 1 to {len(question.choices)}, or a choice's text)")
    return None


def _hops(scene: Scene, asked: Sequence[Question], place: int) -> Iterable[str]:
    """What is seen between the question before and this one: the hops before the hidden one, a line each."""
    question = asked[place]
    earlier = [each.hop for each in asked[:place] if each.flow == question.flow]
    since = earlier[-1] if earlier else 1
    if not earlier:
        yield _title(scene, question.flow)
    mine: Iterable[Sighted] = (each for each in scene.frames if each.flow == question.flow)
    for frame in mine:
        if since <= frame.hop < question.hop:
            sentence = frame.comment().partition("\n")[0]
            yield f"{frame.flow}/{frame.hop:<4} {frame.place.name} {frame.way}: {sentence}"


def _title(scene: Scene, flow: int) -> str:
    data = next(each for each in scene.flows if each["flow"] == flow)
    return f"Flow {flow}, {data['name'] or data['kind']}: {data['source']} -> {data['target']}"


def _data(question: Question) -> dict[str, Any]:
    return {
        "flow": question.flow, "hop": question.hop, "kind": question.kind, "ask": question.ask, "choices": question.choices,
        "answer": question.answer + 1, "why": question.why,
    }  # fmt: skip


def _print_key(asked: Sequence[Question], form: Form) -> None:
    if form is not Form.text:
        out(dump([_data(each) for each in asked], form))
        return
    for number, each in enumerate(asked, 1):
        out(f"# {number}, flow/hop {each.flow}/{each.hop}: {each.ask}\n{each.choices[each.answer]}")
