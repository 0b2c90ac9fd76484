"""Options that several commands have, each with one meaning, and how a command's examples are written. Must not know commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from emu.cli.console import Form
from emu.errors import InputError

OutputForm = Annotated[Form, typer.Option("-o", "--output", help="How the result is written.")]
OldForm = Annotated[Form | None, typer.Option("--format", hidden=True)]
Folder = Annotated[Path, typer.Option("-d", "--out", metavar="DIR", help="Where captures go, a folder a scenario.")]
Manifests = Annotated[list[Path], typer.Option("-f", "--filename", help="Manifests, folders of them, or a scenario.")]
SomeManifests = Annotated[
    list[Path] | None, typer.Option("-f", "--filename", help="Manifests, folders of them, or a scenario.")
]
MoreFiles = Annotated[
    list[Path] | None, typer.Option("-f", "--filename", metavar="FILE", help="The same, as kubectl takes it.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that emu did not write.")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="The namespace where none is named.")]
Nodes = Annotated[int, typer.Option(min=1, max=5000, help="How many nodes, where no scenario is given.")]
Network = Annotated[str, typer.Option(help="A built-in network or a .conflist, where no scenario is given.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Of all random draws, in place of the scenario's.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=0, help="How many processes; 0: one for each processor.")]
Dask = Annotated[str, typer.Option("--dask", metavar="ADDRESS", help="A Dask scheduler, which is asked instead.")]
Live = Annotated[
    bool | None,
    typer.Option(
        "--live/--declared", help="The objects are the state of a running cluster, or manifests; known by their status."
    ),
]
Dumps = Annotated[
    list[str] | None,
    typer.Option(
        "--node",
        metavar="NAME=FOLDER",
        help="What tools/collect or a capture of Retina has of a node, a folder or tar: it counts for that node (repeatable).",
    ),
]


def named(files: Sequence[Path] | None, more: Sequence[Path] | None, what: str, expected: str) -> list[Path]:
    """The files by place and those of -f. Raises InputError where there is none."""
    found = [*(files or ()), *(more or ())]
    if not found:
        raise InputError(f"no {what} is named", expected=expected)
    return found


def one(files: Path | None, more: Path | None, what: str) -> Path:
    """The one file, by place or by -f. Raises InputError."""
    found = [each for each in (files, more) if each is not None]
    if len(found) != 1:
        raise InputError(f"{'two files' if found else 'no ' + what}", expected=f"one {what}, by place or as -f FILE")
    return found[0]


def examples(*lines: str) -> str:
    """The end of a command's help: a line an example, as it is written here."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
