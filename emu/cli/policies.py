"""`emu policy`: what the policies of manifests or of a scenario mean. Must not know policies."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emu.cli.console import Form, note, show
from emu.cli.options import Namespace, OutputForm, SomeManifests, examples
from emu.errors import InputError

if TYPE_CHECKING:
    from emu.kube.policy.ends import End
    from emu.kube.policy.index import PolicyIndex

OUTSIDE = "external"


class Question(StrEnum):
    """What is asked."""

    explain = "explain"
    matrix = "matrix"
    diff = "diff"
    suggest = "suggest"
    coverage = "coverage"


def add_to(app: typer.Typer) -> None:
    """Put the command into the application."""
    shown = (
        "emu policy explain -D shop/db -f shop.yaml",
        "emu policy matrix -f shop.yaml --port 8080/TCP",
        "emu policy diff before.yaml after.yaml",
    )
    app.command(epilog=examples(*shown))(policy)


def policy(
    question: Annotated[
        Question,
        typer.Argument(
            help="explain: who may come in to a pod and go out; matrix: all pairs; diff: two sets; suggest: what would allow a flow; coverage: rules that a scenario never uses."
        ),
    ],
    sets: Annotated[
        list[Path] | None, typer.Argument(metavar="[BEFORE AFTER]", help="With diff: manifests or scenarios.")
    ] = None,
    files: SomeManifests = None,
    source: Annotated[
        str, typer.Option("-S", "--source", help="With suggest: the sender, as `emu why` takes it.")
    ] = "",
    destination: Annotated[
        str,
        typer.Option(
            "-D",
            "--destination",
            metavar="NS/POD",
            help="The pod to explain, or deploy/NAME; with suggest the receiver, as `emu why` takes it.",
        ),
    ] = "",
    port: Annotated[
        list[str] | None, typer.Option(metavar="PORT/PROTOCOL", help="A port of the matrix, such as 8080/TCP.")
    ] = None,
    namespace: Namespace = "default",
    form: OutputForm = Form.text,
) -> int:
    """Show what policies mean: who may connect, and the rule that decides. Exit 1: diff found a difference, suggest finds nothing that would help."""
    from emu.kube.flow import spoken
    from emu.report.policies import declared, difference, explain, matrix

    if question is Question.diff:
        if len(sets or ()) != 2 or files:
            raise InputError("diff compares two sets of manifests", expected="emu policy diff BEFORE AFTER")
        before, after = (_known(_cluster([path], namespace)) for path in sets or ())
        report = difference(before, after)
        show(report, form)
        return 1 if report.data else 0
    if sets:
        raise InputError(f"{question} takes no file by its place", expected="-f FILE")
    if question is Question.suggest:
        return _suggest(files or [], source, destination, namespace, form)
    if question is Question.coverage:
        return _coverage(files or [], form)
    cluster = _cluster(files or (), namespace)
    index, ends = _known(cluster)
    if question is Question.matrix:
        ports = [_port(text) for text in port or ()] or declared(index, ends)
        show(matrix(index, ends, ports), form)
        return 0
    if not destination:
        raise InputError("explain needs a pod", expected="-D NAMESPACE/POD")
    name = spoken.source(cluster, destination, namespace).ref
    if name not in ends or ends[name].pod is None:
        raise InputError(f"policies know no pod {name}", expected=", ".join([*ends][:6]))
    show(explain(index, name, ends), form)
    return 0


def _suggest(files: list[Path], source: str, destination: str, namespace: str, form: Form) -> int:
    from emu.cli.inputs import open_cluster
    from emu.why.ask import ask
    from emu.why.suggested import report

    if not source or not destination:
        raise InputError("a suggestion is about a flow", expected="-S SENDER -D RECEIVER")
    opened = open_cluster(files, namespace=namespace, capture=False, ends=(source, destination))
    case, meant = ask(opened.cluster, source, destination, namespace=namespace, line=opened.line)
    for each in meant:
        note(each)
    found = report(case)
    show(found, form)
    return 0 if found.data else 1


def _coverage(files: list[Path], form: Form) -> int:
    from emu.cli.inputs import cluster_of
    from emu.report.policy_coverage import policy_coverage

    show(policy_coverage(cluster_of(files, capture=False).policies), form)
    return 0


def _cluster(files: Sequence[Path], namespace: str) -> Any:
    from emu.cli.inputs import cluster_of

    return cluster_of(files, namespace=namespace, capture=False)


def _known(cluster: Any) -> tuple[PolicyIndex, dict[str, End]]:
    """The policies of a cluster, and all who may connect: pods, nodes and the outside."""
    index = cluster.policies.index
    ends = {str(end): end for end in index.pods}
    for name in cluster.nodes:
        node = index.node(name)
        if node is not None:
            ends[f"node/{name}"] = node
    outside = cluster.layout.hosts[OUTSIDE].ip
    ends[OUTSIDE] = index.end(outside)
    return index, ends


def _port(text: str) -> tuple[str, int]:
    number, _, protocol = text.partition("/")
    word = (protocol or "TCP").upper()
    if not number.isdecimal() or not 1 <= int(number) <= 65535 or word not in ("TCP", "UDP", "SCTP"):
        raise InputError(f"{text!r} is not a port", expected="PORT/PROTOCOL, such as 8080/TCP")
    return word, int(number)
