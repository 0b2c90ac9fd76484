"""`emu diff`: which flows differ between two clusters. Must not know how flows are compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emu.cli.console import Form, progress, show
from emu.cli.matrix_command import Dask, Jobs, SourceGlobs, TargetGlobs
from emu.cli.options import Live, Network, Nodes, OutputForm, examples

if TYPE_CHECKING:
    from emu.matrix.ends import Choice
    from emu.matrix.table import Table

EXAMPLES = examples(
    "emu diff monday.json tuesday.json",
    "emu diff k8s/ k8s.new/ -S 'shop/*' -o json",
    "kubectl get all,nodes,endpointslices -A -o json | emu diff before.json -",
)


def add_to(app: typer.Typer) -> None:
    """The command, for the command line."""
    app.command(epilog=EXAMPLES)(diff)


def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="An export, a dump's folder or tar, or manifests.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="The same, changed.")],
    sources: SourceGlobs = None,
    targets: TargetGlobs = None,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Only owners and Services of this one.")] = "",
    outer: Annotated[
        bool, typer.Option("--outer", help="Pods and nodes ask for nodePorts and outer addresses, too.")
    ] = False,
    form: OutputForm = Form.text,
    jobs: Jobs = 0,
    dask: Dask = "",
    nodes: Nodes = 2,
    network: Network = "bridge",
    live: Live = None,
) -> int:
    """State which flows change outcome, endpoints, NAT or path, and the first hop that differs. Exit 0: none; 1: some; 2: bad input."""
    from emu.matrix.difference import data_of, difference, text_of
    from emu.matrix.ends import Choice
    from emu.report import Report

    choice = Choice(namespace, tuple(sources or ()), tuple(targets or ()), outer)
    one, other = (
        _table(path, choice, nodes=nodes, network=network, live=live, jobs=jobs, dask=dask) for path in (before, after)
    )
    found = difference(one, other)
    show(Report(data_of(found), text_of(found)), form)
    return 1 if found.changes or found.missing else 0


def _table(path: Path, choice: Choice, *, nodes: int, network: str, live: bool | None, jobs: int, dask: str) -> Table:
    from emu.cli.inputs import noted, open_cluster
    from emu.matrix.ask import Question
    from emu.matrix.whole import ask_all

    opened = open_cluster(
        [path], namespace=choice.namespace or "default", nodes=nodes, network=network, live=live, capture=True
    )
    noted(opened)
    question = Question(choice, shared=not opened.ran)
    with progress(f"asking {path}") as update:
        return ask_all(
            opened.again, question, cluster=opened.cluster, jobs=jobs, dask=dask, line=opened.line, progress=update
        )
