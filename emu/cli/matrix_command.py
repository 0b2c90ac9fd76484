"""`emu matrix`: who reaches which Service. Must not know how answers are found."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emu.cli.console import dump, note, out, progress
from emu.cli.options import Dask, Dumps, Force, Jobs, Live, Network, Nodes, examples


class Printed(StrEnum):
    """How the matrix is written."""

    text = "text"
    json = "json"
    yaml = "yaml"
    csv = "csv"


EXAMPLES = examples(
    "kubectl get all,nodes,endpointslices,networkpolicies -A -o json > dump.json",
    "emu matrix -f dump.json",
    "emu matrix -f dump.json -S 'shop/*' -D 'books/*' -o csv > shop-to-books.csv",
    "emu matrix -f dump.json --dask tcp://10.0.0.5:8786 --html matrix.html",
)
SourceGlobs = Annotated[
    list[str] | None,
    typer.Option("-S", "--source", "--from", metavar="GLOB", help="Only these sources: NS/OWNER, nodes, external."),
]
TargetGlobs = Annotated[
    list[str] | None,
    typer.Option("-D", "--destination", "--to", metavar="GLOB", help="Only these Services: NS/NAME, NS/NAME:PORT."),
]


def add_to(app: typer.Typer) -> None:
    """The command, for the command line."""
    app.command(epilog=EXAMPLES)(matrix)


def matrix(
    files: Annotated[
        list[Path],
        typer.Option("-f", "--filename", help="An export, a dump's folder or tar, manifests, or a scenario."),
    ],
    sources: SourceGlobs = None,
    targets: TargetGlobs = None,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Only owners and Services of this one.")] = "",
    everywhere: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="Of every namespace: the default.")
    ] = False,
    outer: Annotated[
        bool, typer.Option("--outer", help="Pods and nodes ask for nodePorts and outer addresses, too.")
    ] = False,
    each: Annotated[
        bool, typer.Option("--each", help="A flow for every pair, also for those that nothing distinguishes.")
    ] = False,
    form: Annotated[Printed, typer.Option("-o", "--output", help="How the result is written.")] = Printed.text,
    html: Annotated[str, typer.Option("--html", metavar="FILE|-", help="The matrix as a page.")] = "",
    jobs: Jobs = 0,
    dask: Dask = "",
    nodes: Nodes = 2,
    network: Network = "bridge",
    live: Live = None,
    dumps: Dumps = None,
    force: Force = False,
) -> int:
    """Ask from every kind of source for every port of every Service, by real flows: outcome letters, and the first cause of each cell."""
    from emu.cli.inputs import open_cluster, rest_noted
    from emu.cli.outputs import check_page, is_stdout
    from emu.matrix.ask import Question
    from emu.matrix.ends import Choice
    from emu.matrix.shown import csv_of, text_of
    from emu.matrix.table import data_of
    from emu.matrix.whole import ask_all

    check_page(html, force=force)
    opened = open_cluster(
        files,
        namespace=namespace or "default",
        nodes=nodes,
        network=network,
        live=live,
        capture=False,
        dumps=dumps or (),
    )
    choice = Choice("" if everywhere else namespace, tuple(sources or ()), tuple(targets or ()), outer)
    alike = not opened.ran and not opened.cluster.config.dumps
    question = Question(choice, shared=not each and alike)
    if not alike and not each:
        what = "steps of a scenario" if opened.ran else "dumps"
        note(f"{what} may make nodes differ: every pair has a flow of its own")
    with progress("asking") as update:
        table = ask_all(
            opened.again, question, cluster=opened.cluster, jobs=jobs, dask=dask, line=opened.line, progress=update
        )
    if html:
        from emu.capture.pages import write
        from emu.matrix.page import page_of

        write(html, page_of(table, files), force=force)
        if is_stdout(html):
            rest_noted(opened, stating=True)
            return 0
    if form is Printed.text:
        out(text_of(table))
    elif form is Printed.csv:
        out(csv_of(table))
    else:
        from emu.cli.console import Form

        out(dump(data_of(table), Form(form.value)))
    rest_noted(opened, stating=True)
    return 0
