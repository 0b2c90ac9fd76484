"""`emu sweep`: a scenario over many values. Must not know how runs are made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emu.cli.console import Form, dump, note, out, progress
from emu.cli.matrix_command import Printed
from emu.cli.options import Dask, Force, Jobs, examples, one
from emu.errors import InputError

EXAMPLES = examples(
    "emu sweep shop.yaml --over cluster.network=bridge,flannel --over seed=0..9",
    "emu sweep shop.yaml --over cluster.nodes=2,4,8 -o csv > nodes.csv",
    "emu sweep shop.yaml --over 'steps[0].link.loss=0.01,0.05' -d captures",
    "emu sweep shop.yaml --over seed=0..999 --dask tcp://10.0.0.5:8786",
)


def add_to(app: typer.Typer) -> None:
    """The command, for the command line."""
    app.command(epilog=EXAMPLES)(sweep)


def sweep(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A scenario, or -.")] = None,
    more: Annotated[Path | None, typer.Option("-f", "--filename", metavar="FILE", help="The same.")] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            "--over",
            metavar="KEY=VALUES",
            help="A key of the file and its values: V1,V2 or FIRST..LAST (repeatable: every combination).",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("-d", "--out", metavar="DIR", help="Write captures, a folder a run; without it there are none."),
    ] = None,
    form: Annotated[Printed, typer.Option("-o", "--output", help="How the result is written.")] = Printed.text,
    force: Force = False,
    jobs: Jobs = 0,
    dask: Dask = "",
) -> int:
    """Run a scenario over many values, seeds or clusters: a row for each combination.

    A key is written as messages show it: cluster.nodes, steps[0].link.loss (the first step is 0), steps.NAME.tcp.to by a step's name,
    cluster.sysctls["net.ipv4.ip_forward"]. What a run writes, and every row, is the same whatever runs it.

    Exit status: 0, every run held; 1, some failed; 2, bad input, or a scenario that cannot be run; 3, some are undecided.
    """
    from emu.sweep.runs import sweep as swept_over
    from emu.sweep.shown import csv_of, data_of, notes_of, text_of

    if not over:
        raise InputError("nothing is swept over", expected="--over KEY=VALUE,VALUE")
    path = one(file, more, "scenario")
    with progress("sweeping") as update:
        swept = swept_over(path, over, folder=folder, jobs=jobs, dask=dask, force=force, progress=update)
    if form is Printed.text:
        out(text_of(swept))
    elif form is Printed.csv:
        out(csv_of(swept))
    else:
        out(dump(data_of(swept), Form(form.value)))
    for text in notes_of(swept):
        note(f"{swept.scenario.name}: {text}")
    return swept.exit_status
