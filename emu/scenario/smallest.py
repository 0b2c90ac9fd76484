"""The smallest scenario that fails in the same way: steps and objects are left out as long as the failure stays.

Must not know files or tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emu.errors import EmuError
from emu.kube.api.loader import read
from emu.kube.api.meta import to_value
from emu.scenario.record import Run
from emu.scenario.run import run
from emu.scenario.script import load_text

TRIES = 60  # runs, in all

Way = tuple[str, ...]
"""How a run failed: what did not hold, without names and numbers."""


@dataclass(frozen=True)
class Failing:
    """A scenario that fails, as text with its manifests in it, and its run."""

    text: str
    run: Run


def smallest(failed: Run) -> Failing:
    """The smallest scenario found in at most `TRIES` runs. The run itself, where it does not fail in one way again."""
    way = how(failed)
    head, objects = _documents(failed)
    folder = Path(failed.scenario.file).parent
    found = _Search(head, objects, folder, way)
    first = found.tried(head.get("steps", []), objects)
    if first is None:
        return Failing(_text(head, head.get("steps", []), objects), failed)
    steps = found.fewer(head.get("steps", []), lambda steps: found.tried(steps, objects))
    kept = found.fewer(objects, lambda kept: found.tried(steps, kept))
    return Failing(_text(head, steps, kept), found.best or first)


def how(done: Run) -> Way:
    """The way in which a run fails first; empty for one that holds."""
    for result in done.flows:
        if result.checked.failures:
            outcome = result.flow.outcome
            keys = sorted({each.partition(" ")[0] for each in result.checked.failures})
            return result.flow.kind, outcome.word, outcome.detail, *keys
    for verdict in done.invariants:
        if verdict.failures:
            return "invariant", verdict.name
    return ("undecided", done.undecided[0].rpartition(": ")[2]) if done.undecided else ()


class _Search:
    """`best` is the run of the smallest scenario so far."""

    def __init__(self, head: dict[str, Any], objects: list[Any], folder: Path, way: Way) -> None:
        self._head, self._folder, self._way, self._left = head, folder, way, TRIES
        self.best: Run | None = None

    def tried(self, steps: list[Any], objects: list[Any]) -> Run | None:
        """The run with these steps and objects, if it fails in the same way."""
        if not self._way or self._left == 0:
            return None
        self._left -= 1
        try:
            done = run(load_text(_text(self._head, steps, objects), folder=self._folder))
        except EmuError:
            return None
        if how(done) != self._way:
            return None
        self.best = done
        return done

    def fewer(self, parts: list[Any], tried: Callable[[list[Any]], Run | None]) -> list[Any]:
        """Leave out halves, quarters, ... and single parts, the last ones first."""
        size = max(1, len(parts) // 2)
        while parts:
            end = len(parts)
            while end > 0:
                start = max(0, end - size)
                without = parts[:start] + parts[end:]
                if tried(without) is not None:
                    parts = without
                end = start
            if size == 1:
                break
            size //= 2
        return parts


def _documents(failed: Run) -> tuple[dict[str, Any], list[Any]]:
    """The scenario's own document, and its manifests: those in its file, and those of the files that it names."""
    scenario = failed.scenario
    head = dict(scenario.document.value)
    path = Path(scenario.file)
    named = head.pop("manifests", ())
    if path.is_file():
        objects = [each.value for each in read(path)][1:]
        objects += [each.value for name in named for each in read(path.parent / name)]
    else:  # it was a text
        objects = [*map(to_value, scenario.objects)]
    if scenario.conflist:
        head["cluster"] = {**head["cluster"], "network": str(Path(scenario.conflist).resolve())}
    return head, objects


def _text(head: dict[str, Any], steps: list[Any], objects: list[Any]) -> str:
    return yaml.safe_dump_all([{**head, "steps": steps}, *objects], sort_keys=False, allow_unicode=True)
