"""`emu report`: capture files as a page. Must not know what is in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emu.cli.console import note, out
from emu.cli.outputs import check_page, is_stdout


def report_files(files: Sequence[Path], html: str, *, force: bool = False) -> int:
    """Write the page of captures, and note what they do not have. Raises InputError."""
    check_page(html, force=force)
    from emu.capture.pages import write
    from emu.report.html.filed import of_file
    from emu.report.html.page import of

    scenes = [of_file(path) for path in files]
    write(html, of(scenes), force=force)
    for path, scene in zip(files, scenes, strict=True):
        for text in scene.notes:
            note(f"{path}: {text}")
    frames = sum(len(scene.frames) for scene in scenes)
    out(
        f"{frames} frames of {len(scenes)} {'file' if len(scenes) == 1 else 'files'} in {html}",
        to_stderr=is_stdout(html),
    )
    return 0
