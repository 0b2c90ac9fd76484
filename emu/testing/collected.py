"""Scenario files as tests of pytest: one item a file, which fails as `emu run` fails. Must not know fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emu.errors import EmuError
from emu.kube.api.loader import read
from emu.scenario.script import API_VERSION
from emu.scenario.smallest import Failing, smallest

if TYPE_CHECKING:
    from emu.scenario.record import Run
    from emu.testing.artefacts import Left

HEAD = f"apiVersion: {API_VERSION}"


class Failed(Exception):
    """What did not hold, as the report shows it."""


def is_scenario_file(path: Path) -> bool:
    """Whether the first document is a scenario. One that cannot be read is ours if it has our first line: its test fails."""
    try:
        first = next(read(path), None)
    except EmuError:
        return any(line.rstrip() == HEAD for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    value = first.value if first is not None else None
    return isinstance(value, dict) and value.get("apiVersion") == API_VERSION and value.get("kind") == "Scenario"


def verdict(run: Run) -> str:
    """Why a run does not pass, a line each; "" for one that does. A test in which nothing is checked does not pass."""
    if not run.exit_status and run.checks:
        return ""
    found = [*run.failures, *(f"undecided: {each}" for each in run.undecided)]
    return "\n".join(found) or "nothing was checked: no step has an `expect`"


class ScenarioFile(pytest.File):
    """The file of one scenario."""

    def collect(self) -> Iterator[pytest.Item]:
        item: ScenarioItem = ScenarioItem.from_parent(self, name="scenario")
        yield item


class ScenarioItem(pytest.Item):
    """One scenario. When it fails, `left` has its artefacts: of the smallest scenario that fails in the same way."""

    left: list[Left]

    def runtest(self) -> None:
        from emu.scenario.run import run

        self.left = []
        done = run(self.path)
        failure = verdict(done)
        if failure:
            self.left = self._leave(done)
            raise Failed(failure)

    def _leave(self, done: Run) -> list[Left]:
        from emu.testing.artefacts import FOLDER, leave_scenario

        root = self.config.getoption("--emu-captures") or self.config.rootpath / FOLDER
        found: Failing = smallest(done)
        return [leave_scenario(Path(root), self.nodeid, found)]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Wrong input and what did not hold need no traceback."""
        if isinstance(excinfo.value, Failed | EmuError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"scenario {self.path.name}"
