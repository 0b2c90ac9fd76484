"""`emu packetdrill`: scripts read and run one after the other. Must not know the language of scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emu.cli.console import Form, note, show
from emu.errors import InputError


def run_scripts(files: Sequence[Path], tolerance_us: int, form: Form) -> int:
    """Run scripts and show what came of each. Exit status: 0 all held; 1 one failed; 2 one is refused or cannot be read."""
    from emu.kube.api.documents import read_text
    from emu.packetdrill.run import Result, run
    from emu.report.packetdrill import Refused, packetdrill

    results: list[Result | Refused] = []
    noted: set[str] = set()
    status = 0
    for path in files:
        try:
            result = run(read_text(path), str(path), tolerance_us)
        except InputError as error:
            results.append(Refused(str(path), str(error)))
            status = 2
            continue
        for text in result.notes:
            if text not in noted:
                noted.add(text)
                note(text)
        status = max(status, int(result.failure is not None))
        results.append(result)
    show(packetdrill(results), form)
    return status
