"""`emu why`: the question on the command line, and its answer. Must not know how causes are found."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emu.cli.console import Form, note, show
from emu.cli.options import Dumps, Force, Live, Namespace, Network, Nodes, OutputForm, Seed, examples
from emu.errors import InputError


class Protocol(StrEnum):
    """What is sent."""

    tcp = "tcp"
    udp = "udp"
    icmp = "icmp"


EXAMPLES = examples(
    "kubectl get nodes,pods,services,endpointslices -A -o yaml > dump.yaml",
    "emu why -S shop/toolbox -D svc/cart.shop:7070 -f dump.yaml",
    "emu why -S deploy/web -n shop -D api.shop:80 -f dump.yaml -o json",
    "emu why -S shop/toolbox -D svc/cart.shop -f dump.yaml --node n1=n1.tar",
)


def add_to(app: typer.Typer) -> None:
    """The command, for the command line."""
    app.command(epilog=EXAMPLES)(why)


def why(
    source: Annotated[
        str,
        typer.Option(
            "-S", "--source", "--from", help="The sender: NS/POD, deploy/NAME, node/NAME, an address, external."
        ),
    ] = "",
    destination: Annotated[
        str,
        typer.Option(
            "-D",
            "--destination",
            "--to",
            help="The receiver: svc/NAME.NS:PORT, a DNS name, NS/POD:PORT, ADDRESS:PORT/udp.",
        ),
    ] = "",
    files: Annotated[
        list[Path] | None,
        typer.Option("-f", "--filename", help="An export of the cluster, a dump's folder or tar, manifests, or -."),
    ] = None,
    namespace: Namespace = "default",
    protocol: Annotated[
        Protocol | None, typer.Option("-p", "--protocol", help="That of the port, else tcp; icmp without a port.")
    ] = None,
    sport: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="The client's port.")] = 0,
    size: Annotated[int, typer.Option(min=0, max=65000, metavar="BYTES", help="How much data is sent.")] = 0,
    form: OutputForm = Form.text,
    html: Annotated[
        str, typer.Option("--html", metavar="FILE|-", help="Write a page that opens at the step that decides.")
    ] = "",
    force: Force = False,
    nodes: Nodes = 2,
    network: Network = "bridge",
    seed: Seed = None,
    live: Live = None,
    dumps: Dumps = None,
    listed: Annotated[bool, typer.Option("--list", help="Ask nothing: print the causes that may be named.")] = False,
) -> int:
    """State whether a packet arrives, and why not: the verdict, the cause with the object that decides, what would change it, what was assumed."""
    from emu.why.causes import CAUSES

    if listed:
        from emu.report import Report, columns

        rows = [{"cause": name, "what": what} for name, what in CAUSES.items()]
        show(Report(rows, columns(("CAUSE", "WHAT IT IS"), rows, ("cause", "what"))), form)
        return 0
    if not source or not destination:
        raise InputError("a question has two ends", expected="-S SENDER -D RECEIVER")
    from emu.cli.inputs import open_cluster, rest_noted
    from emu.cli.outputs import check_page, is_stdout
    from emu.why import answer
    from emu.why.ask import ask, idle
    from emu.why.case import Seen
    from emu.why.causes import cause
    from emu.why.causes.pods import why_not_ready

    check_page(html, force=force)
    opened = open_cluster(
        files or [],
        namespace=namespace,
        nodes=nodes,
        network=network,
        live=live,
        seed=seed,
        capture=bool(html),
        ends=(source, destination),
        dumps=dumps or (),
    )
    cluster = opened.cluster
    if html and cluster.capture is not None:
        cluster.capture.record()
    for end, sends in ((source, True), (destination, False)):
        pod = idle(cluster, end, namespace)
        if pod is not None:
            idles = why_not_ready(Seen(cluster.store, opened.line), pod)
            show(answer.idle(pod, idles, source, destination, sends), form)
            rest_noted(opened)
            if html:
                note(f"nothing was sent: {html} is not written")
            return 0
    case, meant = ask(
        cluster, source, destination, namespace=namespace, protocol=protocol.value if protocol is not None else "",
        sport=sport, size=size, line=opened.line,
    )  # fmt: skip
    for each in meant:
        note(each)
    because = cause(case)
    if html:
        from emu.capture.pages import write
        from emu.why.page import page

        write(html, page(case, because), force=force)
    answered = answer.answer(case, because)
    show(answered, form, to_stderr=is_stdout(html))
    rest_noted(opened, answered.data["assumed"])
    return 3 if case.word == "undecided" else 0
