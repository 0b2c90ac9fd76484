"""Many scenarios judged one after the other, over several processes, or over a Dask cluster: reports in the order of the scenarios.

A namespace of the kernel has no name, so that processes on one machine never meet. Must not know how sides are compared.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from emu.scenario.script import Scenario
from emu.scenario.source import Source
from emu.spread import spread
from emu.twin.judge import TRIES, judge
from emu.twin.report import Report
from emu.twin.space import TwinError, missing

Progress = Callable[[int, int, str], None]


class How(NamedTuple):
    """What `judge` is given beside a scenario."""

    tries: int = TRIES
    without: tuple[str, ...] = ()
    wiring: bool = False


class _List(NamedTuple):
    scenarios: Sequence[Scenario]
    how: How
    progress: Progress | None = None


def judged(
    scenarios: Sequence[tuple[Source, Scenario]],
    *,
    tries: int = TRIES,
    without: Collection[str] = (),
    wiring: bool = False,
    jobs: int = 1,
    dask: str = "",
    progress: Progress | None = None,
) -> Iterator[Report]:
    """A report for each of these scenarios, which `emu.scenario.source.opened` gives, in their order. `jobs` processes (0: one for each processor) or the workers of a
    Dask scheduler at `dask` judge them, each as root on Linux. `progress` is called in this process only: with one job. Raises
    InputError, and TwinError that names what is missing, and on which machine where that is another one."""
    how = How(tries, tuple(without), wiring)
    here = None if dask else _List([scenario for _, scenario in scenarios], how, progress if jobs == 1 else None)
    make = partial(_made, tuple(source for source, _ in scenarios), how)
    return spread(make, _judged, range(len(scenarios)), jobs=jobs, dask=dask, made=here)


def _made(sources: Sequence[Source], how: How) -> _List:
    """The list, on a machine that is not the caller's perhaps."""
    lost = missing()
    if lost:
        raise TwinError(f"{platform.node()}: {lost}")
    return _List([source.scenario() for source in sources], how)


def _judged(what: _List, number: int) -> Report:
    how = what.how
    return judge(what.scenarios[number], what.progress, tries=how.tries, without=how.without, wiring=how.wiring)
