"""`emu run` and `emu demo`: scenarios one after the other, each shown when it is done. Must not know steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from emu.cli.console import Form, dump, note, out, progress
from emu.cli.outputs import check_writable, is_stdout
from emu.errors import InputError


def run_files(
    files: Sequence[Path],
    folder: Path,
    *,
    split: Literal["flow", "interface"] | str = "flow",
    form: Form = Form.text,
    write: str = "",
    force: bool = False,
    walks: bool = False,
    covered: bool = False,
) -> int:
    """Run scenario files; all are read before the first is run. Gives the worst exit status. Raises InputError."""
    from emu.report.coverage import coverage
    from emu.report.table import summary, table
    from emu.report.walk import walk
    from emu.scenario.run import FAILED, run
    from emu.scenario.script import load

    if not files:
        note("there is no scenario to run")
        return FAILED
    scenarios = [load(path) for path in files]
    names = [each.name for each in scenarios]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f'two scenarios are called "{twice}"', expected="a metadata.name of its own for each")
    if write and len(scenarios) > 1:
        raise InputError("-w takes one scenario", expected="one FILE, or -o DIR")
    check_writable(write, force=force)
    to_stderr = is_stdout(write)
    status, data = 0, []
    for number, scenario in enumerate(scenarios, 1):
        title = scenario.name if len(scenarios) == 1 else f"{number}/{len(scenarios)} {scenario.name}"
        with progress(title) as tell:
            done = run(
                scenario,
                None if write else folder,
                split="interface" if split == "interface" else "flow",
                progress=tell,
                force=force,
            )
            if write and done.cluster.capture is not None:
                done.cluster.capture.write(write, force=force)
        report = table(done)
        unused = coverage(done.cluster) if covered else None
        data.append(report.data if unused is None else report.data | {"coverage": unused.data})
        for text in done.notes:
            note(f"{scenario.name}: {text}")
        if form is Form.text:
            for result in done.flows if walks else ():
                out(f"{result.flow.name}\n{walk(result.flow.frames).text}\n", to_stderr=to_stderr)
            out(report.text, to_stderr=to_stderr)
            for failure in done.failures:
                out(f"FAILED {failure}", to_stderr=to_stderr)
            for text in done.undecided:
                out(f"undecided {text}", to_stderr=to_stderr)
            if unused is not None:
                out(unused.text, to_stderr=to_stderr)
            where = f"; captures in {done.folder}" if done.folder is not None else ""
            out(f"{summary(done)}{where}\n", to_stderr=to_stderr)
        status = max(status, done.exit_status)
    if form is not Form.text:
        out(dump(data[0] if len(data) == 1 else data, form), to_stderr=to_stderr)
    return status
