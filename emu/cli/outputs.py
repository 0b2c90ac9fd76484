"""`-w FILE`, `--html FILE`: where frames and pages are written to, looked at before a run begins. Must not know what is written."""

from __future__ import annotations

from pathlib import Path

from emu.capture import atomic
from emu.capture.pcapng import is_own


def is_stdout(name: str) -> bool:
    """Whether `-w` names standard output (`-`, `/dev/stdout`): the result's text is for stderr then."""
    return bool(name) and atomic.descriptor(name) == atomic.STDOUT


def check_writable(name: str, *, force: bool) -> None:
    """Raise InputError for a file that emu did not write; nothing is written yet. `name` is "" without `-w`."""
    if name and not force:
        atomic.check_writable(name, is_own)


def check_page(name: str, *, force: bool) -> None:
    """Raise InputError where no page can be made, or its file is one that emu did not write. `name` is "" without `--html`."""
    if name:
        from emu.capture.pages import is_own
        from emu.report.html.page import check

        check()
        if not force:
            atomic.check_writable(name, is_own)


def scratch(write: str, goal: Path) -> Path:
    """The folder for what streams to disk: the nearest one of the goal, or the system's for temporary files where `write` names no file to be."""
    if (write and atomic.descriptor(write) is not None) or (goal.exists() and not goal.is_file() and not goal.is_dir()):
        import tempfile

        return Path(tempfile.gettempdir())
    return next(each for each in goal.absolute().parents if each.is_dir())
