"""`emu ladder`: where the frames come from, how wide the terminal is. Must not know how a ladder is drawn."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emu.cli.console import Form, dump, note, out
from emu.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emu.capture.captured import Captured
    from emu.report.ladders.journeys import Ladder
    from emu.report.ladders.sight import Sight

WIDTH = 120  # where standard output is no terminal


class LadderForm(StrEnum):
    """How `emu ladder` draws."""

    text = "text"
    mermaid = "mermaid"
    dot = "dot"
    json = "json"
    yaml = "yaml"


def draw(path: Path, form: LadderForm, flow: int | None, *, every_hop: bool, fold_arp: bool, width: int) -> int:
    """Show the ladders of a scenario, a run's folder or a capture. Raises InputError."""
    from emu.report.ladders.dot import dot
    from emu.report.ladders.journeys import ladders
    from emu.report.ladders.mermaid import mermaid
    from emu.report.ladders.text import text

    found = [each for each in ladders(_sights(path)) if (each.flow == flow if flow is not None else each.flow)]
    if not found:
        wanted = "any flow" if flow is None else f"flow {flow}"
        raise InputError(
            f"there is no frame of {wanted}", file=str(path), expected="--flow N; 0 is what no flow caused"
        )
    if form is LadderForm.mermaid:
        out(mermaid(found, every_hop=every_hop, fold_arp=fold_arp))
    elif form is LadderForm.dot:
        out(dot(found, fold_arp=fold_arp))
    elif form is LadderForm.text:
        wide = width or (shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH)
        for number, each in enumerate(found):
            if number:
                out("")
            if len(found) > 1:
                out(f"flow {each.flow}")
            out(text(each, wide, every_hop=every_hop, fold_arp=fold_arp))
    else:
        out(dump([_data(each, fold_arp) for each in found], Form(form.value)))
    return 0


def topology(frames: Iterable[Captured]) -> str:
    """The interfaces that a flow's frames went through, as DOT; ARP does not count."""
    from emu.report.ladders.dot import dot
    from emu.report.ladders.journeys import ladders
    from emu.report.ladders.sight import of_captured

    return dot(ladders(of_captured(frames)), fold_arp=True)


def _sights(path: Path) -> list[Sight]:
    from emu.capture.reader import SECTION
    from emu.report.ladders.sight import of_captured, of_file
    from emu.scenario.files import ALL

    if path.is_dir() and (path / ALL).is_file():
        return of_file(path / ALL)
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as wrong:
        raise InputError(
            wrong.strerror or str(wrong), file=str(path), expected="a scenario, a run's folder, or a pcapng of emu's"
        ) from None
    if head == SECTION:
        return of_file(path)
    from emu.scenario.run import run
    from emu.scenario.script import load

    done = run(load(path))
    for each in (*done.notes, *done.failures):
        note(each)
    capture = done.cluster.capture
    return list(of_captured(capture.frames())) if capture is not None else []


def _data(ladder: Ladder, fold_arp: bool) -> dict[str, Any]:
    """A ladder as plain data."""
    ladder = ladder.without_arp() if fold_arp else ladder
    return {
        "flow": ladder.flow,
        "columns": ladder.columns,
        "packets": [
            {
                "number": journey.number,
                "steps": journey.steps,
                "hops": [
                    {
                        "frame": hop.sight.number, "timeNs": hop.sight.time_ns, "interface": hop.sight.interface, "way": hop.sight.way,
                        "from": hop.before.interface if hop.before is not None else None, "packet": hop.sight.text,
                        "nat": hop.sight.nats, "dropped": hop.sight.dropped[0] if hop.sight.dropped is not None else None,
                    }
                    for hop in journey.hops
                ],
            }
            for journey in ladder.journeys
        ],
    }  # fmt: skip
