"""`emu wireshark`: the profile on this machine, and a capture opened with it. Must not know what is in the profile."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from emu.cli.console import note, out
from emu.cli.options import examples
from emu.errors import InputError

app = typer.Typer(
    help="emu's captures in Wireshark: columns, colours, filters and fields for what the comments state.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Folder = Annotated[
    Path | None,
    typer.Option("--folder", metavar="DIR", help="Wireshark's configuration folder, where it is not the usual one."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write and start nothing: show what would be done.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the profile's files also where you changed them.")]


@app.command(epilog=examples("emu wireshark install", "emu wireshark install captures/shop/all.pcapng --folder ws"))
def install(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="CAPTURE", help="Captures whose interfaces give names to MACs (the file ethers)."),
    ] = None,
    folder: Folder = None,
    dry_run: DryRun = False,
    force: Force = False,
) -> int:
    """Put the profile `emu` and the script that makes fields of comments where Wireshark looks for them.

    What you changed is kept; --force replaces it. An `ethers` that emu did not write is always kept.
    """
    _install(files or [], folder, dry_run=dry_run, force=force)
    out("open a capture with: emu wireshark open FILE, or wireshark -C emu FILE")
    return 0


@app.command("open", epilog=examples("emu wireshark open captures/shop/all.pcapng -Y emu.step"))
def open_capture(
    file: Annotated[Path, typer.Argument(metavar="CAPTURE", help="A pcapng that emu wrote.")],
    where: Annotated[str, typer.Option("-Y", metavar="FILTER", help="A display filter, as in emu.step.")] = "",
    folder: Folder = None,
    dry_run: DryRun = False,
) -> int:
    """Open a capture in Wireshark with the profile `emu`; the profile is installed first where it is not there."""
    from emu.capture.reader import reading
    from emu.wireshark.folders import PROFILE, how_to_get_it

    with reading(file):  # what is no capture is refused before anything is written
        program = _program()
    if program is None:
        raise InputError(
            f"Wireshark is not on this machine ({how_to_get_it(sys.platform)})", expected="wireshark in PATH"
        )
    _install([file], folder, dry_run=dry_run, force=False, quiet=True)
    command = [program, "-C", PROFILE, *(["-Y", where] if where else []), str(file)]
    if dry_run:
        out(shlex.join(command))
        return 0
    environment = {**os.environ, **({"WIRESHARK_CONFIG_DIR": str(folder)} if folder is not None else {})}
    try:
        subprocess.Popen(
            command, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as wrong:
        raise InputError(f"cannot be started: {wrong.strerror}", file=program) from None
    return 0


def _install(files: list[Path], folder: Path | None, *, dry_run: bool, force: bool, quiet: bool = False) -> None:
    """Write the files, and show what became of each; `quiet` shows only what is written. Raises InputError."""
    from emu.wireshark.folders import Folders, folders, how_to_get_it
    from emu.wireshark.install import plan, write
    from emu.wireshark.macs import macs_of

    usual = folders(sys.platform, os.environ, Path.home())
    places = usual if folder is None else Folders(folder, folder / "plugins")
    if folder is None and not usual.configuration.is_dir() and _program() is None:
        raise InputError(
            f"there is no Wireshark here: neither the program nor {usual.configuration}",
            expected=f"Wireshark ({how_to_get_it(sys.platform)}), or --folder DIR and copy DIR to its machine",
        )
    placed = plan(places, macs_of(files), force=force)
    if not dry_run:
        write(placed)
    for each in placed:
        if each.word == "written" or not quiet:
            out(f"{'would be ' if dry_run and each.word == 'written' else ''}{each.word:<8} {each.path}")
        if each.word == "kept" and not quiet:
            note(f"{each.path} is not as emu wrote it, and is kept")
    if folder is not None and not quiet:
        note(
            f"Wireshark finds it with WIRESHARK_CONFIG_DIR={folder}, and the script with -X lua_script:{placed[5].path}"
        )


def _program() -> str | None:
    """Wireshark's program, as a path."""
    from emu.wireshark.folders import programs

    found = (shutil.which(name) for name in programs(sys.platform, os.environ))
    return next((path for path in found if path is not None), None)
