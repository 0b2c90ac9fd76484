"""packetdrill's scripts that ran, in words: of each that failed the line, the event, and what was expected and what was there.

Must not know how a script is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emu.packetdrill.run import Result
from emu.report import Report


@dataclass(frozen=True)
class Refused:
    """A script that is outside of the subset, or cannot be read: the error's text, with its place."""

    file: str
    error: str


def packetdrill(results: Sequence[Result | Refused]) -> Report:
    """The scripts that held, failed or were refused."""
    lines: list[str] = []
    data: list[dict[str, object]] = []
    for each in results:
        if isinstance(each, Refused):
            lines.append(f"refused  {each.error}")
            data.append({"file": each.file, "outcome": "refused", "error": each.error})
            continue
        failure, file = each.failure, each.script.file
        entry: dict[str, object]
        entry = {
            "file": file,
            "outcome": "held" if failure is None else "failed",
            "events": each.events,
        }
        if failure is None:
            lines.append(f"held     {file}: {each.events} events")
        else:
            event = failure.event
            lines += [
                f"failed   {file}:{event.line}: {failure.what}",
                f"         event   {event.text}",
                *_table(failure.rows),
            ]
            entry |= {
                "line": event.line,
                "event": event.text,
                "what": failure.what,
                "fields": [{"field": name, "expected": one, "actual": other} for name, one, other in failure.rows],
            }
        entry["notes"] = list(each.notes)
        data.append(entry)
    counts = [sum(entry["outcome"] == word for entry in data) for word in ("held", "failed", "refused")]
    plural = "" if len(data) == 1 else "s"
    lines.append(f"{len(data)} script{plural}: {counts[0]} held, {counts[1]} failed, {counts[2]} refused")
    return Report(data, "\n".join(lines))


def _table(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    if not rows:
        return []
    shown = [("field", "expected", "actual"), *rows]
    wide = [max(len(row[column]) for row in shown) for column in range(3)]
    return ["         " + "   ".join(text.ljust(wide[at]) for at, text in enumerate(row)).rstrip() for row in shown]
