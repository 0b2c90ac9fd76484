"""`emu report`: capture files as a page. Must not know what is in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from emu.cli.console import note, out
from emu.cli.options import Force, MoreFiles, examples, named
from emu.cli.outputs import check_page, is_stdout


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("emu report captures/shop/all.pcapng --html shop.html"))(report)


def report(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Captures: those of emu, or any pcap or pcapng."),
    ] = None,
    more: MoreFiles = None,
    html: Annotated[str, typer.Option("--html", metavar="FILE|-", help="Where the page goes.")] = "report.html",
    force: Force = False,
) -> int:
    """Write a page to step through captures: of emu's own with sentence and facts, of any other as far as frames go."""
    return report_files(named(files, more, "capture", "FILE or -f FILE"), html, force=force)


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
