"""`emu diff`: which flows differ between two clusters. Must not know how flows are compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from emu.cli.console import Form, note, progress, show
from emu.cli.matrix_command import SourceGlobs, TargetGlobs
from emu.cli.options import Dask, Jobs, Live, Network, Nodes, OutputForm, examples
from emu.cli.settings import settings

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
    ask = partial(_ask, choice=choice, nodes=nodes, network=network, live=live, jobs=jobs, dask=dask)
    other = ask(after)
    one = ask(before, enforcing=other.enforces)
    if one.enforces and not other.enforces:
        other = ask(after, enforcing=True)
    found = difference(one.table, other.table)
    show(Report(data_of(found), text_of(found)), form)
    _noted(one, other)
    return 1 if found.changes or found.missing else 0


class _Side(NamedTuple):
    """One of the two clusters, asked. `enforces`: an export in which something runs that enforces policies; `policies`: there are
    some."""

    path: Path
    table: Table
    notes: Sequence[str]
    enforces: bool
    policies: bool


def _ask(
    path: Path,
    *,
    choice: Choice,
    nodes: int,
    network: str,
    live: bool | None,
    jobs: int,
    dask: str,
    enforcing: bool = False,
) -> _Side:
    from emu.cli.inputs import open_cluster
    from emu.kube.policy.dataplane import NONE
    from emu.matrix.ask import Question
    from emu.matrix.whole import ask_all

    opened = open_cluster(
        [path],
        namespace=choice.namespace or "default",
        nodes=nodes,
        network=network,
        live=live,
        from_start=False,
        enforcing=enforcing,
    )
    question = Question(choice, shared=not opened.ran)
    with progress(f"asking {path}") as update:
        table = ask_all(
            opened.again, question, cluster=opened.cluster, jobs=jobs, dask=dask, line=opened.line, progress=update
        )
    config = opened.cluster.config
    policies = any(key.kind.endswith("networkpolicy") for key in opened.places)
    return _Side(path, table, opened.notes, config.live and config.policy != NONE, policies)


def _noted(one: _Side, other: _Side) -> None:
    """What is to be known of both clusters once, and what only one has with its file. Of what both exports have otherwise only how much it is."""
    from emu.cli.inputs import EXPORT, counted

    if one.enforces and other.enforces and one.policies is not other.policies:
        without = other if one.policies else one
        note(
            f"{without.path} has no NetworkPolicy: what enforces them runs there, too, so that only the policies differ"
        )
    noted = [{_placeless(side, each): each for each in side.notes} for side in (one, other)]
    both = [first for text, first in noted[0].items() if text in noted[1]]
    brief = not settings.verbose and any(each.startswith(EXPORT) for each in both)
    stated = [each for each in both if each.startswith(EXPORT) or not brief]
    for first in stated:
        note(first)
    for side, notes, others in ((one, noted[0], noted[1]), (other, noted[1], noted[0])):
        for text, first in notes.items():
            if text not in others:
                note(first if first.startswith(f"{side.path}:") else f"{side.path}: {first}")
    counted(len(both) - len(stated), more=True)


def _placeless(side: _Side, text: str) -> str:
    """A note without the line of the file that it begins with."""
    return re.sub(rf"^{re.escape(str(side.path))}:\d+: ", "", text)
