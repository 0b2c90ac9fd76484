"""`emu ladder` with its options. Must not know how anything is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emu.cli.ladder import LadderForm, draw
from emu.cli.options import examples, one

HELP = """Draw the packets of flows: one column an interface, one row a packet, NAT and drops marked.

CAPTURE is a pcapng that emu wrote, a folder of a run (its all.pcapng), or a scenario, which is run first."""


def ladder(
    file: Annotated[
        Path | None, typer.Argument(metavar="CAPTURE", help="A pcapng of emu's, a run's folder, or a scenario.")
    ] = None,
    more: Annotated[Path | None, typer.Option("-f", "--filename", metavar="FILE", help="The same.")] = None,
    flow: Annotated[
        int | None, typer.Option("--flow", min=0, metavar="N", help="This flow alone; 0: what no flow caused.")
    ] = None,
    every_hop: Annotated[bool, typer.Option("--every-hop", help="A row for each frame, with its sentence.")] = False,
    fold_arp: Annotated[
        bool, typer.Option("--fold-arp", help="ARP as one line, and no column for who got nothing else.")
    ] = False,
    width: Annotated[
        int | None, typer.Option(min=40, metavar="N", help="Letters of a line; the terminal's, or 120.")
    ] = None,
    form: Annotated[
        LadderForm,
        typer.Option("-o", "--output", help="Text, Mermaid's sequenceDiagram, the topology as DOT, or data."),
    ] = LadderForm.text,
) -> int:
    return draw(
        one(file, more, "capture or scenario"), form, flow, every_hop=every_hop, fold_arp=fold_arp, width=width or 0
    )


def add_to(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command(
        help=HELP,
        epilog=examples("emu ladder captures/pod-to-service --flow 1 --fold-arp", "emu ladder shop.yaml -o mermaid"),
    )(ladder)
