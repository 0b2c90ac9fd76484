"""Holds the committed captures against the gallery made anew: byte for byte, whatever makes them. `tools/golden check` runs it.

It needs what emu itself needs, so that another Python can run it, and for `--dask` dask. Must not know what a capture holds.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from emu.errors import EmuError
from emu.scenario.gallery import stories
from emu.scenario.run import run
from emu.spread import cpus, spread

CAPTURES = Path(__file__).parent.parent / "captures"
LOCAL = "local"
Digests = dict[str, str]


def digests(folder: Path) -> Digests:
    """Each file of a story's folder, by name."""
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def made(stories: dict[str, Path], name: str) -> Digests:
    """A story's files, made anew."""
    with TemporaryDirectory(prefix="emu-") as folder:
        run(stories[name], folder)
        return digests(Path(folder) / name)


def differing(
    names: list[str], captures: Path, *, jobs: int = 1, dask: str = ""
) -> Iterator[tuple[str, int, list[str]]]:
    """Of each story its name, how many files it has, and those that are not the committed ones, are missing, or are new."""
    for name, anew in zip(names, spread(stories, made, names, jobs=jobs, dask=dask), strict=True):
        there = digests(captures / name) if (captures / name).is_dir() else {}
        yield name, len(anew), sorted(file for file, _ in there.items() ^ anew.items())


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the gallery anew, and compare with captures/ byte for byte.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="stories; all if none is named")
    parser.add_argument("-j", "--jobs", type=int, default=0, help="how many processes; 0: one for each processor")
    parser.add_argument("--dask", default="", metavar="ADDRESS", help=f"a Dask scheduler; {LOCAL}: one of this machine")
    parser.add_argument("--captures", type=Path, default=CAPTURES, metavar="DIR", help="what is compared with")
    given = parser.parse_args()
    names = given.names or sorted(stories())
    who = f"CPython {platform.python_version()}" if platform.python_implementation() == "CPython" else sys.version
    how = f"{given.jobs or cpus()} processes"
    with ExitStack() as open_:
        dask = given.dask
        if dask:
            how = "workers of Dask"
        if dask == LOCAL:
            from distributed import LocalCluster

            cluster = LocalCluster(n_workers=cpus(), threads_per_worker=1, dashboard_address=":0", host="127.0.0.1")  # type: ignore[no-untyped-call]
            dask = open_.enter_context(cluster).scheduler_address
        files, wrong = 0, dict[str, list[str]]()
        try:
            for name, count, other in differing(names, given.captures, jobs=given.jobs, dask=dask):
                files += count
                if other:
                    wrong[name] = [*dict.fromkeys(other)]
        except EmuError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_status
    for name, other in wrong.items():
        print(f"{name}: {', '.join(other)}")
    print(f"{len(names)} stories, {files} files, {who}, {how}: {f'{len(wrong)} stories differ' if wrong else 'equal'}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
