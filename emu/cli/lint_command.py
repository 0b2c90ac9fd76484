"""`emu lint`: what is found in files, in the form that people, CI systems and code hosts read. Must not know what is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emu.cli.console import Form, dump, out, show
from emu.cli.options import Dumps, MoreFiles, Namespace, examples, named

if TYPE_CHECKING:
    from emu.modelled import Finding


class Written(StrEnum):
    """How findings are written."""

    text = "text"
    json = "json"
    yaml = "yaml"
    sarif = "sarif"
    junit = "junit"


class Least(StrEnum):
    """From which severity on the exit status is 1."""

    error = "error"
    warning = "warning"
    note = "note"
    never = "never"


EXAMPLES = examples(
    "emu lint shop.yaml manifests/ --fail-on warning",
    "kubectl get nodes,pods,services,endpointslices -A -o yaml | emu lint -",
    "emu lint manifests/ -o sarif > emu.sarif",
    "emu lint dump.yaml --node node-1=/tmp/node-1",
)


def add_to(app: typer.Typer) -> None:
    """The command, for the command line."""
    app.command(epilog=EXAMPLES)(lint)


def lint(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Scenarios, manifests, exports, rules, folders; or -."),
    ] = None,
    more: MoreFiles = None,
    namespace: Namespace = "default",
    dumps: Dumps = None,
    form: Annotated[Written, typer.Option("-o", "--output", help="How findings are written.")] = Written.text,
    fail_on: Annotated[Least, typer.Option("--fail-on", help="Exit 1 from this severity on.")] = Least.error,
    listed: Annotated[bool, typer.Option("--list", help="Look at nothing: print the ids of findings.")] = False,
) -> int:
    """Look for what is wrong or not as people think, without a packet. Exit 1: findings of --fail-on or worse; 2: bad input."""
    from emu.lint.catalogue import KINDS, SEVERITIES, at_least, in_order
    from emu.lint.gather import look
    from emu.lint.writing import junit, report, sarif
    from emu.report import Report, columns

    if listed:
        rows = [{"id": id, "severity": kind.severity, "what": kind.what} for id, kind in KINDS.items()]
        table = columns(("ID", "SEVERITY", "WHAT IT IS"), rows, ("id", "severity", "what"))
        show(Report(rows, table), Form(form.value) if form.value in [*Form] else Form.json)
        return 0
    given = named(files, more, "file", "FILE, FOLDER or -")
    looked = [*look(given, namespace)]
    found = [each for one in looked for each in one.findings]
    if dumps:
        found += _of_nodes(given, namespace, dumps)
    findings = in_order(dict.fromkeys(found))
    if form is Written.sarif:
        out(dump(sarif(findings), Form.json))
    elif form is Written.junit:
        out(junit(findings, [str(each) for one in looked for each in one.files]))
    else:
        show(report(findings), Form(form.value))
    if any(one.error is not None for one in looked):
        return 2
    return int(fail_on is not Least.never and bool(at_least(findings, SEVERITIES[[*Least].index(fail_on)])))


def _of_nodes(files: Sequence[Path], namespace: str, dumps: Sequence[str]) -> list[Finding]:
    """Where nodes are not as kube-proxy, the CNI or an agent would have them, and what their dumps do not state. Raises InputError."""
    from emu.cli.inputs import open_cluster
    from emu.kube.dumped.difference import IDS

    cluster = open_cluster(files, namespace=namespace, capture=False, dumps=dumps).cluster
    reported = cluster.unmodelled.reported
    return [each for each in reported if each.id in IDS or (each.id == "assumed" and each.about != "export")]
