"""`emu twin`: scenarios one after the other, on this machine's kernel and in the emulator. Must not know how they are
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from emu.cli.console import Form, dump, note, out, progress


def judge_files(
    files: Sequence[Path],
    form: Form = Form.text,
    without: Sequence[str] = (),
    *,
    wiring: bool = False,
    tries: int,
    jobs: int = 1,
    dask: str = "",
) -> int:
    """Judge scenario files; all are read before the first is run. `without` names settings to leave out; with
    `wiring` the real CNI plugins wire the pods, too; what differs runs up to `tries` times. `jobs` processes, or a Dask cluster, judge them.
    Gives the worst exit status: 0 equal, 1 different, 3 undecided. Raises InputError, and TwinError with what is missing."""
    from emu.scenario.source import opened
    from emu.twin.lists import judged

    scenarios = [opened(path) for path in files]
    status, data = 0, []
    shown = _Shown()
    reports = judged(
        scenarios, tries=tries, without=without, wiring=wiring, jobs=jobs, dask=dask, progress=shown.update
    )
    for number, (_, scenario) in enumerate(scenarios, 1):
        title = scenario.name if len(scenarios) == 1 else f"{number}/{len(scenarios)} {scenario.name}"
        with progress(title) as shown.now:
            report = next(reports)
        if form is Form.text:
            out(report.text().rstrip("\n"))
        else:
            data.append(report.data())
            for text in report.notes:
                note(f"{scenario.name}: {text}")
        status = max(status, report.exit_status)
    if form is not Form.text:
        out(dump(data[0] if len(data) == 1 else data, form))
    return status


class _Shown:
    """The bar of the scenario that is judged now."""

    now: Callable[[int, int, str], None]

    def update(self, done: int, of: int, what: str) -> None:
        self.now(done, of, what)
