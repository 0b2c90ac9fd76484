"""A sweep as text, as data and as CSV: a row a run, with the outcome of each step. Must not know how a run is made."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

from emu.report import columns
from emu.report.flows import outcome_words
from emu.sweep.axis import shown
from emu.sweep.runs import Ran, Swept

MOST = 25  # sentences of one text
WORDS = ("held", "failed", "undecided", "nothing checked", "error")


def text_of(swept: Swept) -> str:
    """The table, the steps' names, what did not hold, and how many runs held."""
    steps = _sending(swept)
    keys = [axis.key for axis in swept.axes]
    headings = [*keys, "RESULT", *map(str, steps)]
    rows = [
        {**_written(swept, each), "RESULT": each.result, **{str(n): text for n, text in _outcomes(each).items()}}
        for each in swept.runs
    ]
    named = [f"step {number}: {name}" for number, name in steps.items()]
    blocks = [columns(headings, rows, headings), "\n".join(named), "\n".join(_sentences(swept)), summary(swept)]
    return "\n\n".join(each for each in blocks if each)


def summary(swept: Swept) -> str:
    """`shop: 6 runs, 5 held, 1 failed`."""
    counts = Counter(each.result for each in swept.runs)
    found = ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
    return f"{swept.scenario.name}: {len(swept.runs)} run{'s' * (len(swept.runs) != 1)}, {found}"


def _sending(swept: Swept) -> dict[int, str]:
    """The steps that have flows in some run, with their names."""
    found: dict[int, str] = {}
    for each in swept.runs:
        for step in each.data.get("steps", ()):
            if step["flows"]:
                found.setdefault(step["number"], step["name"] or step["action"])
    return dict(sorted(found.items()))


def _written(swept: Swept, each: Ran) -> dict[str, str]:
    return {axis.key: shown(value) for axis, value in zip(swept.axes, each.values, strict=True)}


def _outcomes(each: Ran) -> dict[int, str]:
    """What the flows of each step came to; those of equal outcome are counted."""
    found = {}
    for step in each.data.get("steps", ()):
        counts = Counter(("FAILED: " if flow["failures"] else "") + outcome_words(flow) for flow in step["flows"])
        several = len(step["flows"]) > 1
        found[step["number"]] = ", ".join(f"{count} {text}" if several else text for text, count in counts.items())
    return found


def _sentences(swept: Swept) -> Iterator[str]:
    found = [
        f"{word} {', '.join(f'{key}={value}' for key, value in _written(swept, each).items())}: {text}"
        for each in swept.runs
        for word, text in [
            *(("FAILED", text) for text in each.data.get("failures", ())),
            *(("undecided", text) for text in each.data.get("undecided", ())),
            *([("error", each.error)] if each.error else []),
        ]
    ]
    yield from found[:MOST]
    if len(found) > MOST:
        yield f"{len(found) - MOST} more: -o json, -o csv"


def notes_of(swept: Swept) -> list[str]:
    """What the runs note, each once."""
    counts = Counter(text for each in swept.runs for text in [*each.data.get("notes", ())])
    counts.update(text for each in swept.runs if (text := each.data.get("nothingChecked")))
    of = len(swept.runs)
    return [text if count == of else f"{text} (in {count} of {of} runs)" for text, count in counts.items()]


def data_of(swept: Swept) -> dict[str, Any]:
    """Plain values: of each run what `emu run -o json` has, with its values and result."""
    return {
        "scenario": swept.scenario.name,
        "file": swept.scenario.file,
        "over": [{"key": axis.key, "values": list(axis.values)} for axis in swept.axes],
        "runs": [
            {
                "values": dict(zip((axis.key for axis in swept.axes), each.values, strict=True)),
                "result": each.result,
                "exitStatus": each.exit_status,
                "error": each.error,
                "folder": folder or None,
                **{key: value for key, value in each.data.items() if key not in OWN},
            }
            for each, folder in zip(swept.runs, swept.folders, strict=True)
        ],
        "exitStatus": swept.exit_status,
    }


OWN = ("scenario", "file", "folder", "exitStatus")  # what a run's data has that a sweep has once, or in its own way


def csv_of(swept: Swept) -> str:
    """A line a run, the headings first: its values, its result, of each step the outcome, its frames and virtual time. Quoted as RFC 4180
    has it, with plain line ends."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    steps = _sending(swept)
    own = [f"step {number} {word}" for number in steps for word in ("outcome", "frames", "ns")]
    writer.writerow([*(axis.key for axis in swept.axes), "result", "exit status", "checks", "failures", "folder", *own])
    for each, folder in zip(swept.runs, swept.folders, strict=True):
        outcomes = _outcomes(each)
        by_number = {step["number"]: step for step in each.data.get("steps", ())}
        row: list[object] = [*_written(swept, each).values(), each.result, each.exit_status, each.data.get("checks", 0)]
        wrong = [*each.data.get("failures", ()), *each.data.get("undecided", ()), *([each.error] if each.error else [])]
        row += ["; ".join(wrong), folder]
        for number in steps:
            step = by_number.get(number)
            row += ["", "", ""] if step is None else [
                outcomes[number], sum(flow["frames"] for flow in step["flows"]), step["endedNs"] - step["startedNs"],
            ]  # fmt: skip
        writer.writerow(row)
    return made.getvalue().rstrip("\n")
