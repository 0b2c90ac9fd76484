"""The runs of a sweep: each combination of values is a scenario, is checked before the first one runs, and gives one record.

What a run needs is made once where it runs: the manifests are read once, and runs that follow each other with the same seed, cluster and
manifests are forks of one build. Must not know how records are shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from emu.errors import InputError
from emu.fork import Snapshot
from emu.report.table import nothing_checked, table
from emu.scenario.build import build
from emu.scenario.files import put as put_files
from emu.scenario.files import slug, write
from emu.scenario.record import FAILED, UNDECIDED, Run
from emu.scenario.run import run
from emu.scenario.script import Scenario
from emu.scenario.source import Source, opened
from emu.spread import spread
from emu.sweep.axis import Axis, Scalar, axes_of, put, shown

BUILT = ("seed", "cluster", "manifests")  # the keys of a scenario that its cluster is built of, before the first step
BAD_INPUT = 2
Values = tuple[Scalar, ...]
Progress = Callable[[int, int, str], None]


class Ran(NamedTuple):
    """One run. `data` is what `emu run -o json` has, empty where the run could not be, which `error` states; `files` are its captures."""

    values: Values
    result: str
    exit_status: int
    data: dict[str, Any]
    error: str = ""
    files: dict[str, bytes] = {}


class Sweep:
    """A scenario file and the axes that it is run over."""

    def __init__(self, source: Source, axes: tuple[Axis, ...], *, captures: bool = False) -> None:
        self.source, self.axes, self.captures = source, axes, captures
        self._key: str = ""
        self._snapshot: Snapshot[Any] | None = None
        self._several = any(axis.path[0] not in BUILT for axis in axes)

    @property
    def items(self) -> list[Values]:
        """Every combination; the last axis changes first."""
        return [*product(*(axis.values for axis in self.axes))]

    def scenario(self, values: Values) -> Scenario:
        """The scenario with these values. Raises InputError with its place, and the values."""
        value = self.source.document.value
        for axis, each in zip(self.axes, values, strict=True):
            value = put(value, axis.path, each)
        try:
            return self.source.scenario(value)
        except InputError as error:
            what = f"{error.what} (--over {', '.join(self.words(values))})"
            raise InputError(what, file=error.file, line=error.line, path=error.path, expected=error.expected) from None

    def words(self, values: Values) -> list[str]:
        """`cluster.nodes=2`, one an axis."""
        return [f"{axis.key}={shown(each)}" for axis, each in zip(self.axes, values, strict=True)]

    def prepare(self) -> Sweep:
        """Build the cluster of all runs now, where all have the same: processes that fork later have it."""
        if all(axis.path[0] not in BUILT for axis in self.axes):
            with suppress(InputError):  # each run reports it
                self.build(self.scenario(self.items[0]))
        return self

    def build(self, scenario: Scenario) -> Any:
        """The cluster of a scenario: a fork of the last one that was built, if that is the same."""
        if not self._several:
            return build(scenario)
        value = scenario.document.value
        key = json.dumps([value.get(each) for each in BUILT])
        if self._snapshot is None or key != self._key:
            self._snapshot = None
            self._key, self._snapshot = key, build(scenario).snapshot()
        return self._snapshot.fork()

    def run(self, values: Values) -> Ran:
        """One run, whichever were before. A scenario that cannot be run gives a record, too."""
        try:
            done = run(self.scenario(values), build=self.build)
        except InputError as error:
            return Ran(values, "error", BAD_INPUT, {}, str(error))
        files = _captures(done) if self.captures else {}
        data = table(done).data
        for flow in (flow for step in data["steps"] for flow in step["flows"]):
            flow["files"] = [Path(each).name for each in flow["files"]]
        return Ran(values, _result(done), done.exit_status, data, "", files)


def _result(done: Run) -> str:
    if done.exit_status == UNDECIDED:
        return "undecided"
    if done.exit_status == FAILED:
        return "failed"
    return "nothing checked" if nothing_checked(done) else "held"


def _captures(done: Run) -> dict[str, bytes]:
    """A run's files by name, as `emu run` writes them."""
    with TemporaryDirectory(prefix="emu-") as folder:
        return {path.name: path.read_bytes() for path in write(done, folder)}


class Swept(NamedTuple):
    """A sweep's records in the order of its values; `folders` has that of each run's captures."""

    scenario: Scenario
    axes: tuple[Axis, ...]
    runs: list[Ran]
    folders: list[str]

    @property
    def exit_status(self) -> int:
        """2 where a run could not be; else 3 where one is undecided, 1 where one failed, 0."""
        found = {each.exit_status for each in self.runs}
        return BAD_INPUT if BAD_INPUT in found else max(found)


def sweep(
    path: Path,
    over: Sequence[str],
    *,
    folder: Path | None = None,
    jobs: int = 0,
    dask: str = "",
    force: bool = False,
    progress: Progress = lambda done, of, what: None,
) -> Swept:
    """Run a scenario file over every combination of values. With `folder` each run's captures go into a folder of its own there.
    Raises InputError, before anything runs for what the scenario's own checks refuse."""
    source, scenario = opened(path)
    axes = axes_of(over, source.document)
    whole = Sweep(source, axes, captures=folder is not None)
    items = whole.items
    for number, values in enumerate(items):
        progress(number, len(items), "checking")
        whole.scenario(values)
    make = partial(Sweep, source, axes, captures=folder is not None)
    found = spread(
        make, Sweep.run, items, jobs=jobs, dask=dask, made=None if dask else whole.prepare(),
        done=lambda count: progress(count, len(items), "runs"),
    )  # fmt: skip
    names = [*_folders(whole, items)]
    runs, folders = [], []
    for name, each in zip(names, found, strict=True):
        goal = folder / scenario.name / name if folder is not None and each.files else None
        if goal is not None:
            put_files(goal, each.files, force=force)
        runs.append(each._replace(files={}))
        folders.append(str(goal or ""))
    return Swept(scenario, axes, runs, folders)


def _folders(whole: Sweep, items: Sequence[Values]) -> Iterator[str]:
    """A name for each run's folder: its values behind the last words of their keys."""
    taken: set[str] = set()
    for values in items:
        words = (f"{_last(axis)}-{shown(each)}" for axis, each in zip(whole.axes, values, strict=True))
        stem = ".".join(slug(word) or "value" for word in words)
        name = next(each for each in (stem, *(f"{stem}.{n}" for n in range(2, len(items) + 2))) if each not in taken)
        taken.add(name)
        yield name


def _last(axis: Axis) -> str:
    return next(each for each in reversed(axis.path) if isinstance(each, str))
