"""A run's captures as files: `DIR/SCENARIO/NN-step.pcapng`, one a flow, and `all.pcapng`.

Everything is written into a folder beside the goal and moved there when it is whole; what an earlier run of the same
scenario wrote and this one does not is taken away. Must not know what is in a capture.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from emu.errors import InputError
from emu.kube.flow.flow import Flow
from emu.scenario.record import Run
from emu.scenario.results import FlowResult, StepResult

Split = Literal["flow", "interface"]
LOST = "classic pcap files hold no comments, no names and no interface names: those are lost"
ALL = "all.pcapng"
_OURS = re.compile(r"\d\d-.*\.pcapng|all\.pcapng|.*\.pcap")
_LONG = 60


def write(run: Run, out_dir: str | os.PathLike[str], *, split: Split = "flow") -> list[Path]:
    """Write a run's captures below `out_dir`, and note them in the run. Raises InputError where that cannot be."""
    capture = run.cluster.capture
    if capture is None:
        raise InputError("the cluster was built without captures", expected="capture=True")
    goal = Path(out_dir) / run.scenario.name
    with _whole_folder(goal) as part:
        if split == "interface":
            capture.write_split(part)
            run.notes.append(LOST)
        else:
            for step in run.steps:
                _by_flow(run, step, part, goal)
            capture.write(part / ALL)
        names = sorted(path.name for path in part.iterdir())
    run.folder, run.files = goal, [goal / name for name in names]
    return run.files


@contextmanager
def _whole_folder(goal: Path) -> Iterator[Path]:
    part = goal.with_name(f".{goal.name}.{os.getpid()}.part")
    made = [folder for folder in (goal.parent, *goal.parent.parents) if not folder.exists()]
    try:
        if goal.exists() and not goal.is_dir():
            raise NotADirectoryError(20, "Not a directory", str(goal))
        part.mkdir(parents=True)
        try:
            yield part
            goal.mkdir(exist_ok=True)
            new = {path.name for path in part.iterdir()}
            for name in sorted(new):
                (part / name).replace(goal / name)
            for path in goal.iterdir():
                if path.name not in new and _OURS.fullmatch(path.name):
                    path.unlink()
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        _remove_empty(made)
        raise InputError(f"cannot be written: {error.strerror}", file=str(error.filename or goal)) from None
    except BaseException:
        _remove_empty(made)
        raise


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def slug(text: str) -> str:
    """A text as part of a file's name: lower case letters, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONG].rstrip("-")


def _by_flow(run: Run, step: StepResult, part: Path, goal: Path) -> None:
    capture = run.cluster.capture
    assert capture is not None
    taken: set[str] = set()
    for result in step.flows:
        stem = _stem(step, result, taken)
        taken.add(stem)
        flow = result.flow
        frames = flow.frames
        if not frames:
            continue  # a local error: nothing was sent
        files = [part / f"{stem}.pcapng"]
        capture.write(files[0], flow=flow.number)
        own = _own_interface(flow)
        if own:
            files.append(part / f"{stem}.client.pcapng")
            capture.write(files[1], flow=flow.number, interface=own)
        result.files = tuple(goal / path.name for path in files)


def _stem(step: StepResult, result: FlowResult, taken: set[str]) -> str:
    flow = result.flow
    stem = f"{step.number:02}-{slug(step.name) or step.action}"
    if len(step.flows) > 1:
        ends = {each.flow.source for each in step.flows}, {str(each.flow.target) for each in step.flows}
        if len(ends[0]) > 1:
            stem += "." + slug(flow.source)
        if len(ends[1]) > 1:
            stem += "." + slug(getattr(flow.target, "name", "") or str(flow.target))
    if stem not in taken:
        return stem
    return next(f"{stem}.{number}" for number in range(2, len(taken) + 3) if f"{stem}.{number}" not in taken)


def _own_interface(flow: Flow) -> str:
    """The client's interface by which the flow left: what tcpdump there would listen on."""
    prefix = f"{flow.client.name}/"
    for captured in flow.frames:
        if captured.interface.startswith(prefix) and captured.direction != "drop":
            return str(captured.interface)
    return ""
