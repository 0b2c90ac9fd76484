"""`emu get`: the objects of a cluster, as kubectl lists them. Must not know columns."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emu.cli.console import Form, show
from emu.cli.options import Live, Namespace, Network, Nodes, Seed, examples


class Printed(StrEnum):
    """How `emu get` prints objects."""

    text = "text"
    wide = "wide"
    json = "json"
    yaml = "yaml"
    name = "name"


EXAMPLES = examples(
    "emu get pods -A -o wide -f dump.yaml",
    "emu get all -l app=web -f shop.yaml",
    "emu get deploy/web svc/web -f shop.yaml",
    "kubectl get nodes,pods,services -A -o json | emu get services -n shop -f -",
)


def add_to(app: typer.Typer) -> None:
    """The command, for the command line."""
    app.command(epilog=EXAMPLES)(get)


def get(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="pods, services, endpoints, endpointslices, nodes, networkpolicies, deployments and other workloads; all; "
            "with commas, or KIND/NAME.",
        ),
    ],
    files: Annotated[
        list[Path],
        typer.Option("-f", "--filename", help="An export, a dump's folder or tar, manifests, or a scenario."),
    ],
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Only these.")] = None,
    namespace: Namespace = "default",
    everywhere: Annotated[bool, typer.Option("-A", "--all-namespaces", help="Of every namespace.")] = False,
    selector: Annotated[
        str | None, typer.Option("-l", "--selector", help="Only with these labels, such as app=web,tier!=db.")
    ] = None,
    labels: Annotated[bool, typer.Option("--show-labels", help="Print their labels, too.")] = False,
    form: Annotated[Printed, typer.Option("-o", "--output", help="How the objects are printed.")] = Printed.text,
    nodes: Nodes = 2,
    network: Network = "bridge",
    seed: Seed = None,
    live: Live = None,
) -> int:
    """List the objects of a cluster, as kubectl get does: pods, Services, what is behind them, nodes, policies, workloads."""
    from emu.cli.inputs import open_cluster, rest_noted
    from emu.kube.api.selectors import parse_selector
    from emu.report.listing import Shown, listing

    chosen = None if selector is None else parse_selector(selector)
    opened = open_cluster(files, namespace=namespace, nodes=nodes, network=network, seed=seed, live=live, capture=False)
    where = None if everywhere else namespace
    shown = Shown(form is Printed.wide, labels, form is Printed.name)
    report = listing(opened.cluster.store, kind, names or (), namespace=where, selector=chosen, shown=shown)
    show(report, Form(form.value) if form in (Printed.json, Printed.yaml) else Form.text)
    rest_noted(opened)
    return 0
