"""Options that several commands have, each with one meaning. Must not know commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emu.cli.console import Form

OutputForm = Annotated[Form, typer.Option("-o", "--output", help="How the result is written.")]
Manifests = Annotated[list[Path], typer.Option("-f", "--filename", help="Manifests, folders of them, or a scenario.")]
SomeManifests = Annotated[
    list[Path] | None, typer.Option("-f", "--filename", help="Manifests, folders of them, or a scenario.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that emu did not write.")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="The namespace where none is named.")]
Nodes = Annotated[int, typer.Option(min=1, max=5000, help="How many nodes, where no scenario is given.")]
Network = Annotated[str, typer.Option(help="A built-in network or a .conflist, where no scenario is given.")]
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
        help="What tools/collect gathered on a node, a folder or tar: it counts for that node (repeatable).",
    ),
]
