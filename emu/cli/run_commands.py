"""`emu run` and `emu demo` with their options. Must not know how anything is done."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emu.cli.console import Form, out, show
from emu.cli.listing import ListsRunViews
from emu.cli.options import (
    Folder,
    Force,
    MoreFiles,
    Namespace,
    Network,
    Nodes,
    OldForm,
    OutputForm,
    Seed,
    examples,
    named,
)

CAPTURES = Path("captures")


class Splitting(StrEnum):
    """One file a flow, or one an interface."""

    flow = "flow"
    interface = "interface"


Split = Annotated[Splitting, typer.Option(help="One pcapng a flow, or one classic pcap an interface.")]
Labels = Annotated[
    str,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Write a row for each frame, its ground truth, as in --labels truth.csv; or .jsonl, .parquet.",
    ),
]
Html = Annotated[
    str,
    typer.Option(
        "--html",
        metavar="FILE|DIR|-",
        help="Write a page to step through the flows: one file, or one a scenario in DIR/.",
    ),
]
Walks = Annotated[bool, typer.Option("--walk", help="Show every flow hop by hop before the table.")]
Coverage = Annotated[bool, typer.Option("--coverage", help="Show which rules, routes and endpoints were never used.")]
Views = Annotated[
    list[str] | None, typer.Option("--view", metavar="VIEW", help="Show a view of the run after the table.")
]
RUN_EXAMPLES = examples(
    "emu run shop.yaml",
    "emu run shop.yaml -d captures --only 'pod to service' --walk",
    "emu run -f manifests/ --nodes 3 -o json",
    "emu run shop.yaml -w - | wireshark -k -i -",
)
DEMO_EXAMPLES = examples(
    "emu demo --list",
    "emu demo pod-to-service --walk",
    "emu demo --files gallery",
)


def add_to(app: typer.Typer) -> None:
    """Put both commands on the command line."""
    app.command(cls=ListsRunViews, epilog=RUN_EXAMPLES)(run)
    app.command(cls=ListsRunViews, epilog=DEMO_EXAMPLES)(demo)


def run(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Scenarios, or manifests alone, or folders of either; or -."),
    ] = None,
    more: MoreFiles = None,
    folder: Folder = CAPTURES,
    split: Split = Splitting.flow,
    form: OutputForm = Form.text,
    old_form: OldForm = None,
    write: Annotated[
        str, typer.Option("-w", metavar="FILE|-", help="Instead of a folder, one pcapng with every interface.")
    ] = "",
    labels: Labels = "",
    html: Html = "",
    compared: Annotated[
        bool, typer.Option("--compare", help="With --html: two scenarios side by side, hop by hop.")
    ] = False,
    force: Force = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="STEP",
            help="Only this step, by number, name or pattern, and what changes the cluster before it (repeatable).",
        ),
    ] = None,
    seed: Seed = None,
    walks: Walks = False,
    coverage: Coverage = False,
    views: Views = None,
    no_results: Annotated[
        bool,
        typer.Option(
            "--no-results", help="Count the flows of traffic and replays; only what is not as expected has a row."
        ),
    ] = False,
    nodes: Nodes = 2,
    network: Network = "bridge",
    namespace: Namespace = "default",
) -> int:
    """Run scenarios: write their captures, hold their expectations, end with a table.

    Manifests alone come up, too: emu run -f FOLDER --nodes 3 lists their pods, notes what is left out, and proposes a scenario.

    Exit status: 0, everything held, or nothing is expected (which is stated); 1, an expectation failed; 2, bad input; 3, undecided.
    """
    from emu.cli.running import Bare, Part, run_files

    after = [*(views or ()), *(("coverage",) if coverage else ())]
    return run_files(
        named(files, more, "scenario", "FILE, -f FILE or -f FOLDER"), folder, split=split.value, form=old_form or form,
        write=write, force=force, walks=walks, views=after, bare=Bare(nodes, network, namespace), labels=labels, html=html,
        compared=compared, part=Part(tuple(only or ()), seed), results=not no_results,
    )  # fmt: skip


def demo(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Scenarios; all if none is named.")] = None,
    folder: Folder = CAPTURES,
    split: Split = Splitting.flow,
    form: OutputForm = Form.text,
    old_form: OldForm = None,
    labels: Labels = "",
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="DIR", help="Write an index and a page a story into DIR, as a course."),
    ] = None,
    force: Force = False,
    seed: Seed = None,
    walks: Walks = False,
    views: Views = None,
    files_to: Annotated[
        Path | None,
        typer.Option("--files", metavar="DIR", help="Run nothing: write the scenarios and their manifests into DIR."),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Run nothing: what each scenario is about; with a name, all that it shows.")
    ] = False,
    indexed: Annotated[
        bool, typer.Option("--index", help="Run nothing: the index of the captures, with the frames to look at.")
    ] = False,
) -> int:
    """Run the embedded gallery."""
    from emu.cli.paged import course
    from emu.cli.running import Part, run_files
    from emu.scenario.gallery import copy, index, stories, story

    form = old_form or form
    if indexed:
        out(index())
        return 0
    if listed:
        from emu.report.gallery import gallery, page

        for report in [page(name) for name in names] if names else [gallery()]:
            show(report, form)
        return 0
    if files_to is not None:
        out(f"{len(copy(files_to, force=force))} files in {files_to}")
        return 0
    files = [story(name) for name in names] if names else list(stories().values())
    return run_files(
        files, folder, split=split.value, form=form, force=force, walks=walks, views=views or (), labels=labels,
        pages=course(html, [path.stem for path in files], force=force) if html is not None else None, part=Part((), seed),
    )  # fmt: skip
