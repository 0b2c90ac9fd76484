"""`--html`: the pages of the runs of a command, in one file or in a folder with an index. Must not know what a page shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from emu.cli.outputs import check_page

if TYPE_CHECKING:
    from emu.report.html.course import Chapter, Entry
    from emu.report.html.scene import Scene
    from emu.scenario.record import Run


class Pages(Protocol):
    """Takes each run when it is done, and ends with the last."""

    def add(self, run: Run) -> None: ...
    def end(self) -> None:
        """Raises InputError where a file cannot be written."""


class NoPages:
    def add(self, run: Run) -> None:
        """Nothing is wanted of it."""

    def end(self) -> None:
        """Nothing was wanted."""


class OneFile:
    """All runs in one page; `compared`: two of them side by side."""

    def __init__(self, name: str, *, compared: bool = False, force: bool = False) -> None:
        check_page(name, force=force)
        self._name, self._compared, self._force = name, compared, force
        self._scenes: list[Scene] = []

    def add(self, run: Run) -> None:
        from emu.report.html.scene import of_run

        self._scenes.append(of_run(run))

    def end(self) -> None:
        from emu.capture.pages import write
        from emu.report.html.page import of

        write(self._name, of(self._scenes, compared=self._compared), force=self._force)


class Folder:
    """A page a run, called by the scenario's name, and `index.html` with a line for each, by chapters. `of_gallery`: the runs are
    stories of the gallery, of which it is known whether a kernel judged them."""

    def __init__(
        self, folder: Path, chapters: Sequence[Chapter], title: str, *, force: bool = False, of_gallery: bool = False
    ) -> None:
        from emu.report.html.course import INDEX
        from emu.report.html.page import SUFFIX

        self._folder, self._chapters, self._title, self._force = folder, chapters, title, force
        self._entries: list[Entry] = []
        self._of_gallery = of_gallery
        for name in (INDEX, *(f"{name}{SUFFIX}" for each in chapters for name in each.stories)):
            check_page(str(folder / name), force=force)

    def add(self, run: Run) -> None:
        from emu.capture.pages import write
        from emu.report.html.course import entry, judged, links
        from emu.report.html.page import SUFFIX, of
        from emu.report.html.scene import of_run

        name, scene = run.scenario.name, of_run(run)
        sentence = judged(name) if self._of_gallery else ""
        scene.notes += [sentence] * bool(sentence)
        write(self._folder / f"{name}{SUFFIX}", of([scene], links=links(self._chapters, name)), force=self._force)
        self._entries.append(entry(run, sentence))

    def end(self) -> None:
        from emu.capture.pages import write
        from emu.report.html.course import INDEX, index

        write(self._folder / INDEX, index(self._chapters, self._entries, self._title), force=self._force)


def is_folder(name: str) -> bool:
    """Whether `--html` names a folder: one that is there, or a name that ends with a slash."""
    return bool(name) and (name.endswith("/") or Path(name).is_dir())


def course(folder: Path, names: Sequence[str], *, force: bool = False) -> Folder:
    """The pages of these stories of the gallery, in the order of the course. Raises InputError."""
    from emu.report.html.course import ordered, words
    from emu.scenario.gallery import story
    from emu.scenario.script import load

    mistakes = [name for name in names if load(story(name)).spec.metadata.mistake is not None]
    return Folder(folder, ordered(names, mistakes), words()["index_title"], force=force, of_gallery=True)
