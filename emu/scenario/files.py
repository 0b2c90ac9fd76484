"""A run's captures as files: `DIR/SCENARIO/NN-step.pcapng`, one a flow, and `all.pcapng`.

Everything is written into a folder beside the goal and put in place when it is whole, all files or none. `LIST` names
the files: what an earlier run of the same scenario wrote and this one does not is removed, and nothing else. A file
that emu did not write is not replaced unless forced. Must not know what is in a capture.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from emu.capture.atomic import beginning, cannot_write
from emu.capture.capture import Capture
from emu.capture.pcapng import is_own
from emu.errors import InputError
from emu.kube.flow.flow import Flow
from emu.scenario.record import Run
from emu.scenario.results import FlowResult, StepResult

Split = Literal["flow", "interface"]
LOST = "classic pcap files hold no comments, no names and no interface names: those are lost"
ALL = "all.pcapng"
LIST = ".emu-files"
_HEADING = "# Written by emu run. The next run of this scenario replaces or removes these files, and no others.\n"
_LONG = 60


def write(run: Run, out_dir: str | os.PathLike[str], *, split: Split = "flow", force: bool = False) -> list[Path]:
    """Write a run's captures below `out_dir`, and note them in the run. `force` replaces files that emu did not write.
    Raises InputError where that cannot be."""
    capture = run.cluster.capture
    if capture is None:
        raise InputError("the cluster was built without captures", expected="capture=True")
    goal = Path(out_dir) / run.scenario.name
    with _whole_folder(goal, force) as part:
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


def put(goal: Path, files: Mapping[str, bytes], *, force: bool = False) -> None:
    """Files by name, put into a folder as `write` puts those of a run. Raises InputError where that cannot be."""
    with _whole_folder(goal, force) as part:
        for name, data in files.items():
            (part / name).write_bytes(data)


@contextmanager
def _whole_folder(goal: Path, force: bool) -> Iterator[Path]:
    """A folder to write into. When the block ends well its files are in place in `goal`, else `goal` is as it was."""
    made = [folder for folder in (goal, goal.parent, *goal.parent.parents) if not os.path.lexists(folder)]
    try:
        if goal.is_symlink():
            raise InputError("is a symbolic link", file=str(goal), expected="a folder")
        if os.path.lexists(goal) and not goal.is_dir():
            raise NotADirectoryError(20, "Not a directory", str(goal))
        goal.parent.mkdir(parents=True, exist_ok=True)
        with beginning(goal, folder=True) as (part, _):
            yield part
            _put_in_place(part, goal, force)
    except OSError as error:
        _remove_empty(made)
        raise cannot_write(error, str(error.filename or goal)) from None
    except BaseException:
        _remove_empty(made)
        raise


def _put_in_place(part: Path, goal: Path, force: bool) -> None:
    names = sorted(path.name for path in part.iterdir())
    (part / LIST).write_text(_HEADING + "".join(f"{_mark(part / name)}  {name}\n" for name in names), encoding="utf-8")
    listed = _listed(goal)
    for name in names:
        _check_replaceable(goal / name, listed, force)
    if os.path.lexists(goal / LIST) and not _is_file(goal / LIST):
        raise InputError("is in the way", file=str(goal / LIST), expected="no folder, link or device of that name")
    stale = [name for name in listed if name not in names and _is_listed(goal / name, listed)]
    goal.mkdir(exist_ok=True)
    old = part / ".old"
    old.mkdir()
    new = [*names, LIST]
    try:
        for name in new:
            _keep(goal / name, old / name)
            (part / name).replace(goal / name)
        for name in stale:
            (goal / name).replace(old / name)
    except BaseException:
        for name in (*new, *stale):
            with suppress(OSError):
                if os.path.lexists(old / name):
                    (old / name).replace(goal / name)
                elif name in new and not os.path.lexists(part / name):
                    (goal / name).unlink()
        raise


def _keep(path: Path, at: Path) -> None:
    """Keep what is at `path`, too, at another name. Where the file system has no links, instead."""
    if os.path.lexists(path):
        try:
            os.link(path, at, follow_symlinks=False)
        except OSError:
            path.replace(at)


def _listed(goal: Path) -> dict[str, str]:
    """The names that an earlier run wrote into a folder, and their marks."""
    found = {}
    with suppress(OSError, UnicodeDecodeError):
        if _is_file(goal / LIST):
            for line in (goal / LIST).read_text(encoding="utf-8").splitlines():
                mark, _, name = line.partition("  ")
                if name and not line.startswith("#") and "/" not in name:
                    found[name] = mark
    return found


def _check_replaceable(path: Path, listed: dict[str, str], force: bool) -> None:
    if not os.path.lexists(path):
        return
    if not _is_file(path) and not (force and path.is_symlink()):
        raise InputError("is in the way", file=str(path), expected="no folder, link or device of that name")
    if not force and path.stat().st_size and not is_own(path) and not _is_listed(path, listed):
        what = "is there already, and emu did not write it"
        raise InputError(what, file=str(path), expected="another folder, or --force")


def _is_listed(path: Path, listed: dict[str, str]) -> bool:
    """Whether an earlier run wrote this file, and it is still what the run wrote."""
    mark = listed.get(path.name)
    return mark is not None and _is_file(path) and _mark(path) == mark


def _mark(path: Path) -> str:
    """What shows that a file is the one in the list: our pcapng names emu, of others it is the SHA-256."""
    if is_own(path):
        return "emu"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_file(path: Path) -> bool:
    with suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def slug(text: str) -> str:
    """A text as part of a file's name: lower case letters, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONG].rstrip("-")


def _by_flow(run: Run, step: StepResult, part: Path, goal: Path) -> None:
    capture = run.cluster.capture
    assert capture is not None
    stems = _Stems(step)
    for index, result in enumerate(step.flows):
        stem, number = stems.of(result), result.flow.number
        if not capture.log.count_of(number):
            continue  # a local error: nothing was sent
        names = [f"{stem}.pcapng"]
        with (part / names[0]).open("xb") as file:  # no reader sees this folder yet
            capture.write(file, flow=number)
        own = _own_interface(capture, result.flow)
        if own:
            names.append(f"{stem}.client.pcapng")
            with (part / names[1]).open("xb") as file:
                capture.write(file, flow=number, interface=own)
        result.files = tuple(goal / name for name in names)
        step.flows[index] = result


class _Stems:
    """The names of a step's files without their endings: no two are the same."""

    def __init__(self, step: StepResult) -> None:
        self._begin = f"{step.number:02}-{slug(step.name) or step.action}"
        sources, targets = set[str](), set[str]()
        if len(step.flows) > 1:
            for each in step.flows:
                sources.add(each.flow.source)
                targets.add(str(each.flow.target))
        self._by_source, self._by_target = len(sources) > 1, len(targets) > 1
        self._taken: dict[str, int] = {}  # to each the number to try next

    def of(self, result: FlowResult) -> str:
        flow, stem, taken = result.flow, self._begin, self._taken
        if self._by_source:
            stem += "." + slug(flow.source)
        if self._by_target:
            stem += "." + slug(getattr(flow.target, "name", "") or str(flow.target))
        found = stem
        if stem in taken:
            number = taken[stem]
            while f"{stem}.{number}" in taken:
                number += 1
            taken[stem], found = number + 1, f"{stem}.{number}"
        taken[found] = 2
        return found


def _own_interface(capture: Capture, flow: Flow) -> str:
    """The client's interface by which the flow left: what tcpdump there would listen on."""
    for captured in capture.each(flow=flow.number):
        if captured.place.owner == flow.client.name and captured.direction != "drop":
            return str(captured.interface)
    return ""
