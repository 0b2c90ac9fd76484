"""`emu run` and `emu demo`: scenarios one after the other, each shown when it is done. Must not know steps or views."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from emu.cli import held
from emu.cli.console import Form, detail, dump, note, out, progress
from emu.cli.outputs import check_writable, is_stdout, scratch
from emu.cli.paged import Folder, NoPages, OneFile, Pages, is_folder
from emu.errors import InputError

if TYPE_CHECKING:
    from emu.report import Report
    from emu.scenario.record import Run
    from emu.scenario.script import Scenario


class Result(NamedTuple):
    """A run and what is shown of it: its `table` (None: line by line), the views `before` it (text only) and those `after`, by name.
    `written` names the one file of all frames."""

    run: Run
    table: Report | None
    before: dict[str, Report]
    after: dict[str, Report]
    written: str = ""

    def data(self) -> dict[str, Any]:
        views = self.before | self.after
        assert self.table is not None
        return {**self.table.data, **{name: report.data for name, report in views.items()}}

    def text(self) -> Iterator[str]:
        """What is printed, part by part."""
        from emu.report.table import lines, summary

        run = self.run
        yield from (f"{report.text}\n" for report in self.before.values() if report.text)
        if self.table is not None:
            yield self.table.text
        else:
            left = lines(run)
            while some := list(islice(left, LINES)):
                yield "\n".join(some)
        yield from (f"FAILED {each}" for each in run.failures)
        yield from (f"undecided {each}" for each in run.undecided)
        yield from (report.text for report in self.after.values())
        where = f"; captures in {run.folder}" if run.folder is not None else self.written
        yield f"{summary(run)}{where}\n"


class Bare(NamedTuple):
    """The cluster of manifests that no scenario is around: as for the other commands' options."""

    nodes: int = 2
    network: str = "bridge"
    namespace: str = "default"


@dataclass(frozen=True)
class Part:
    """What is run of the scenarios: `only` these steps, if any are named, and with this `seed`; None: their own."""

    only: tuple[str, ...] = ()
    seed: int | None = None


WHOLE = Part()
LINES = 512  # of a table that are printed at a time


def run_files(
    files: Sequence[Path],
    folder: Path,
    *,
    split: Literal["flow", "interface"] | str = "flow",
    form: Form = Form.text,
    write: str = "",
    force: bool = False,
    walks: bool = False,
    views: Sequence[str] = (),
    bare: Bare | None = None,
    part: Part = WHOLE,
    labels: str = "",
    html: str = "",
    compared: bool = False,
    pages: Pages | None = None,
    results: bool = True,
) -> int:
    """Run scenario files; all are read before the first is run. Manifests alone come up together as one cluster, of which `bare` states
    the rest. `labels` names a file for a row a frame, `html` one for the page, or a folder, and two scenarios are shown side by side if they are `compared`; `pages` takes the runs
    instead. Without `results` the flows of traffic and replays are counted. `views` are shown besides the table. Gives the worst exit status. Raises InputError."""
    from emu.report import run_views
    from emu.report.table import nothing_checked
    from emu.scenario import label_files
    from emu.scenario.files import ALL
    from emu.scenario.labels import COLUMNS, rows
    from emu.scenario.only import chosen
    from emu.scenario.run import FAILED
    from emu.scenario.script import seeded

    if not files:
        note("there is no scenario to run")
        return FAILED
    for name in views:  # an unknown one is reported before anything runs
        run_views[name]
    scenarios = [seeded(each, part.seed) for each in _read(files, write, bare or Bare())]
    steps = [chosen(each, part.only) if part.only else None for each in scenarios]
    if compared and (len(scenarios) != 2 or not html):
        raise InputError("--compare shows two scenarios side by side", expected="emu run A B --html FILE --compare")
    check_writable(write, force=force)
    if labels and not results:
        raise InputError("labels have what each flow came to", expected="--labels without --no-results")
    if labels:
        label_files.check(labels, COLUMNS, force=force)
        if split == "interface" and not write:
            raise InputError("labels number the frames of all.pcapng", expected="--labels without --split interface")
    paged = pages or _pages(html, scenarios, compared=compared, force=force)
    to_stderr = is_stdout(write) or is_stdout(html)
    status, data = 0, []
    labelled: list[Iterator[dict[str, Any]]] = []
    for number, scenario in enumerate(scenarios, 1):
        title = scenario.name if len(scenarios) == 1 else f"{number}/{len(scenarios)} {scenario.name}"
        record, only = not isinstance(paged, NoPages), steps[number - 1]
        for text in held.notes(scenario, only, html=record, rows=form is not Form.text, walks=walks, results=results):
            note(f"{scenario.name}: {text}")
        run = _run(scenario, title, folder, split, write, force, record=record, only=only, results=results)
        detail(f"{scenario.name}: seed {scenario.spec.seed}, {len(run.steps)} of {len(scenario.steps)} steps were run")
        result = Result(
            run,
            _came_up(run) if scenario.bare else None if form is Form.text else run_views["table"](run),
            {"walk": run_views["walk"](run)} if walks else {},
            {name: run_views[name](run) for name in views if name != "table"},
            f"; every frame in {write}" if write and not is_stdout(write) else "",
        )
        if write.endswith(".pcap"):
            note(f"{write} is written as pcapng, whatever its name")
        for text in (*run.notes, *filter(None, [nothing_checked(run)])):
            note(f"{scenario.name}: {text}")
        if form is Form.text:
            for text in result.text():
                out(text, to_stderr=to_stderr)
        else:
            data.append(result.data())
        if labels:
            labelled.append(rows(run, write or str((run.folder or folder) / ALL)))
        paged.add(run)
        if scenario.bare:
            _what_next(run)
        status = max(status, run.exit_status)
    paged.end()
    if labels:
        label_files.write(labels, COLUMNS, chain.from_iterable(labelled), force=force)
    if form is not Form.text:
        out(dump(data[0] if len(data) == 1 else data, form), to_stderr=to_stderr)
    return status


def _pages(html: str, scenarios: Sequence[Scenario], *, compared: bool, force: bool) -> Pages:
    """What takes the runs for their pages. Raises InputError."""
    if is_folder(html) and not compared:
        from emu.report.html.course import Chapter, words

        names = tuple(each.name for each in scenarios)
        title = words()["index"]
        return Folder(Path(html), [Chapter(title, names)], title, force=force)
    return OneFile(html, compared=compared, force=force) if html else NoPages()


def _came_up(run: Run) -> Report:
    """The pods, in place of the table of a scenario's steps."""
    from emu.report import Report, run_views

    pods = run_views["pods"](run)
    return Report({**run_views["table"](run).data, "pods": pods.data}, pods.text)


def _what_next(run: Run) -> None:
    """How a check begins, on stderr."""
    from emu.scenario.sketch import sketch

    text = sketch(run.scenario, run.cluster.store)
    if text:
        note("a scenario states what is sent, and what is expected of it. This is one to begin with (emu run FILE):")
        out(text, to_stderr=True)


def _read(files: Sequence[Path], write: str, bare: Bare) -> list[Scenario]:
    """The scenarios of the files and folders, or one of all their manifests. Raises InputError, also for two of one name."""
    from emu.kube.api.kustomization import left_out
    from emu.kube.api.loader import files_of
    from emu.scenario.script import load_found, load_manifests, opened

    for finding in chain.from_iterable(map(left_out, files)):
        note(str(finding))
    found = [(path, *opened(path)) for each in files for path in files_of(each)]
    if not any(own for _, own, _ in found):
        every = chain.from_iterable(documents for _, _, documents in found)
        scenarios = [load_manifests(files, every, nodes=bare.nodes, network=bare.network, namespace=bare.namespace)]
    else:
        for path, own, _ in found:
            if not own:
                what = "manifests beside scenarios"
                raise InputError(
                    what, file=str(path), expected="scenarios, which name their manifests, or manifests alone"
                )
        scenarios = [load_found(path, documents) for path, _, documents in found]
    names = [each.name for each in scenarios]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f'two scenarios are called "{twice}"', expected="a metadata.name of its own for each")
    if write and len(scenarios) > 1:
        raise InputError("-w takes one scenario", expected="one FILE, or -d DIR")
    return scenarios


def _run(
    scenario: Scenario,
    title: str,
    folder: Path,
    split: str,
    write: str,
    force: bool,
    *,
    record: bool,
    only: Container[int] | None,
    results: bool,
) -> Run:
    from emu.scenario.run import run

    with progress(title) as update:
        try:
            done = run(
                scenario,
                None if write or scenario.bare else folder,
                split="interface" if split == "interface" else "flow",
                progress=update,
                force=force,
                record=record,
                only=only,
                stream=scratch(write, Path(write) if write else folder / scenario.name),
                results=results,
            )
        except InputError:
            for each in scenario.loaded.objects.notes:  # a misspelt kind or field is most often why
                note(f"{scenario.name}: {each}")
            raise
        if write and done.cluster.capture is not None:
            done.cluster.capture.write(write, force=force)
    return done
