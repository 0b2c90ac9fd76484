"""What a failed test leaves in a folder: its manifests, its capture with comments, its page, and the walk of its frames.

ARP is left out of the walk unless it matters. Must not know fixtures.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from emu.errors import EmuError

if TYPE_CHECKING:
    from emu.capture.captured import Captured
    from emu.kube.cluster import Cluster
    from emu.kube.flow.flow import Flow
    from emu.lab import Lab
    from emu.report.html.scene import Scene
    from emu.scenario.smallest import Failing

    Bench = Cluster | Lab

FOLDER = "emu-captures"  # in the root folder, unless --emu-captures names another
MANIFESTS, CAPTURE, WALK, SCENARIO = "manifests.yaml", "all.pcapng", "walk.txt", "scenario.yaml"
PAGE = "page.html"
MOST_FRAMES = 3000  # of a page
MOST_LINES = 200  # of the walk in a report; the file has all
MOST_BENCHES = 3
ARP = b"\x08\x06"
IGNORE = "*\n"  # what a failed test left is no part of a project


@dataclass(frozen=True)
class Left:
    """The files of one cluster or lab, as the report names them, and its walk."""

    text: str
    walk: str


def leave(root: Path, nodeid: str, made: list[Bench], again: str) -> list[Left]:
    """Write the artefacts of these clusters and labs below `root`; those of an earlier failure are replaced."""
    found = []
    for number, bench in enumerate(made[-MOST_BENCHES:], 1):
        folder = _folder(root, nodeid) / ("" if number == 1 else str(number))
        objects = getattr(bench, "given", None)
        files = {} if objects is None else {MANIFESTS: manifests(objects)}
        found.append(_left(root, folder, bench, files, walked(bench), again, partial(scene, bench)))
    return found


def leave_scenario(root: Path, nodeid: str, failing: Failing) -> Left:
    """The same of a scenario: the smallest one that fails."""
    folder = _folder(root, nodeid)
    cluster = failing.run.cluster
    bad = [each.flow.number for each in failing.run.flows if each.checked.failures]
    walk, again = walked(cluster, bad or None), f"emu run {_shown(folder / SCENARIO)}"
    return _left(root, folder, cluster, {SCENARIO: failing.text}, walk, again, partial(_recorded, failing))


def _recorded(failing: Failing) -> Scene:
    """The same scenario once more: now what its tables held is recorded, too."""
    from emu.report.html.scene import of_run
    from emu.scenario.run import run

    return of_run(run(failing.run.scenario, record=True))


def _left(
    root: Path, folder: Path, bench: Bench, files: dict[str, str], walk: str, again: str, shown: Callable[[], Scene]
) -> Left:
    at = ""
    if walk:
        files[WALK] = f"{walk}\n"
    try:
        if not root.exists():
            root.mkdir(parents=True, exist_ok=True)
            (root / ".gitignore").write_text(IGNORE, encoding="utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        if bench.capture is not None:
            bench.capture.write(folder / CAPTURE, force=True)
            files[CAPTURE] = ""
            at = _page(folder / PAGE, shown())
            files |= {PAGE: ""} if at.startswith("#") else {}
    except (OSError, EmuError) as error:  # a report without files is better than none
        return Left(f"nothing could be left in {folder}: {error}", _cut(walk))
    lines = [_shown(folder / name) for name in (SCENARIO, MANIFESTS, CAPTURE, WALK) if name in files]
    lines += [_shown(folder / PAGE) + at] if PAGE in files else [at] * bool(at)
    return Left("\n".join([*lines, f"seed {bench.clock.seed}; again: {again}"]), _cut(walk))


def _page(path: Path, shown: Scene) -> str:
    """Write the page. Gives the part of its address that names the step to look at; without jinja2, what is missing."""
    from emu.capture.pages import write
    from emu.report.html.page import check, of
    from emu.report.html.scene import opening

    try:
        check()
    except EmuError as missing:
        return f"no page: {missing}"
    write(path, of([shown]), force=True)
    return opening(shown)


def scene(bench: Bench) -> Scene:
    """What the page of a cluster or lab shows: the flows that were not delivered, or else all; of many frames the first flows."""
    from emu.report.html.scene import of_flows, of_lab

    known: list[Flow] = list(getattr(bench, "flows", {}).values())
    if not known:
        return of_lab(bench)
    chosen: list[Flow] = []
    frames = 0
    for each in [flow for flow in known if not flow.delivered] or known:
        frames += len(each.frames)
        if chosen and frames > MOST_FRAMES:
            break
        chosen.append(each)
    found = of_flows(bench, chosen, "failed test")
    if len(known) > len(chosen):
        found.notes.append(f"{len(known) - len(chosen)} of {len(known)} flows are left out")
    return found


def _shown(path: Path) -> str:
    """As people in the current folder name it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _folder(root: Path, nodeid: str) -> Path:
    """A folder for one test: its name as far as it is plain, and a mark that keeps parametrized ones apart."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in nodeid)[-80:].strip("-.")
    return root / f"{plain}-{hashlib.sha256(nodeid.encode()).hexdigest()[:6]}"


def _cut(walk: str) -> str:
    lines = walk.splitlines()
    if len(lines) > MOST_LINES:
        lines = [f"... {len(lines) - MOST_LINES} lines before", *lines[-MOST_LINES:]]
    return "\n".join(lines)


def manifests(objects: Iterable[Any]) -> str:
    """Objects as a text of manifests."""
    import yaml

    from emu.kube.api.meta import to_value

    return yaml.safe_dump_all(map(to_value, objects), sort_keys=False, allow_unicode=True)


# -- the walk ------------------------------------------------------------------------------------------


def walked(bench: Bench, flows: Iterable[int] | None = None) -> str:
    """The frames of the flows, hop by hop, with what was decided about each. Without `flows`: of those that were not
    delivered, or else of all."""
    from emu.report.walk import walk

    if bench.capture is None:
        return ""
    if flows is None:
        known = getattr(bench, "flows", {})
        flows = [number for number, flow in known.items() if not flow.delivered] or list(known)
    wanted = set(flows)
    every = bench.capture.frames()
    frames = [each for each in every if each.flow in wanted] or [each for each in every if each.flow] or every
    return walk(without_arp(frames)).text


def without_arp(frames: list[Captured]) -> list[Captured]:
    """The frames without ARP, unless it matters: a packet was lost for want of a neighbour, or there is nothing else."""
    rest = [each for each in frames if each.data[12:14] != ARP]
    lost = any(each.direction == "drop" and "NEIGH" in each.comment() for each in rest)
    return frames if lost or not rest else rest


# -- which clusters and labs a failure is about --------------------------------------------------------


def benches(error: BaseException, made: Iterable[Bench] = ()) -> list[Bench]:
    """Those in the frames that the error went through, and those that fixtures made. A property's error went through its
    last, smallest example alone."""
    if not {"emu.kube.cluster", "emu.lab"} & sys.modules.keys():
        return []
    found = {id(each): each for each in made}
    for frame in _frames(error):
        for value in frame.values():
            found.update((id(each), each) for each in _held(value))
    return list(found.values())


def _frames(error: BaseException) -> Iterator[dict[str, Any]]:
    """The local variables of each frame, outermost first; of the errors of a group, and of the cause, too."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_locals
        trace = trace.tb_next
    for each in getattr(error, "exceptions", ()):
        yield from _frames(each)


def _held(value: Any, deeper: bool = True) -> Iterator[Bench]:
    from emu.kube.cluster import Cluster
    from emu.kube.flow.flow import Flow
    from emu.lab import Lab
    from emu.scenario.record import Run

    if isinstance(value, Cluster | Lab):
        yield value
    elif isinstance(value, Flow):
        if isinstance(value.testbed, Cluster):
            yield value.testbed
    elif isinstance(value, Run):
        yield value.cluster
    elif deeper and not isinstance(value, type):
        held = getattr(value, "__dict__", None)
        if isinstance(held, dict):  # a state machine, or a drawn network
            for each in list(held.values()):
                yield from _held(each, deeper=False)
