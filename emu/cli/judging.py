"""`emu twin`: scenarios one after the other, on this machine's kernel and in the emulator. Must not know how they are
compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emu.cli.console import Form, dump, note, out, progress


def judge_files(
    files: Sequence[Path], form: Form = Form.text, without: Sequence[str] = (), *, wiring: bool = False, tries: int = 2
) -> int:
    """Judge scenario files; all are read before the first is run. `without` names settings to leave out; with
    `wiring` the real CNI plugins wire the pods, too; what differs runs up to `tries` times. Gives the worst exit status: 0 equal, 1 different, 3
    undecided. Raises InputError, and TwinError with what is missing here."""
    from emu.scenario.script import load
    from emu.twin import judge

    scenarios = [load(path) for path in files]
    status, data = 0, []
    for number, scenario in enumerate(scenarios, 1):
        title = scenario.name if len(scenarios) == 1 else f"{number}/{len(scenarios)} {scenario.name}"
        with progress(title) as update:
            report = judge(scenario, update, tries=tries, without=without, wiring=wiring)
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
