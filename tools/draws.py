"""Draws small scenarios and has this machine's kernel judge them, several at once: `tools/draws` runs it.

The twin mostly waits for the kernel's own timers, so that each CPU has room for a few. The same seed draws the same
scenarios. What differs is tried once more, and kept as a scenario file with its report. Must not know how sides are compared.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings

from emu.clock import MS
from emu.errors import EmuError
from emu.scenario.script import load_text
from emu.spread import spread
from emu.testing.scenarios import ENFORCED, NETWORKS, OFFLOADED, SmallScenario, small_scenarios
from emu.twin import judge
from emu.twin.report import Report

CRASHED = 4
TRIES = 2


class Judged(NamedTuple):
    """A drawn scenario: its number, the exit status of each try and the reports of the tries that were not equal,
    its frames, and by how much a program was late at most."""

    number: int
    statuses: tuple[int, ...]
    reports: tuple[str, ...]
    frames: int
    late_ms: float


def drawn(first: int, count: int, *, odd: bool = True) -> list[str]:
    """The texts of `count` scenarios, with odd packets or without; `first` is the seed."""
    texts: list[str] = []

    @seed(first)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
    )
    @given(small_scenarios(networks=(*NETWORKS, *ENFORCED, *OFFLOADED), wide=True, odd=odd))
    def collect(scenario: SmallScenario) -> None:
        texts.append(scenario.text)

    collect()
    return [*dict.fromkeys(texts)]


def tried(texts: list[str], number: int) -> Judged:
    """Judge the scenario of this number until it is equal, at most TRIES times."""
    statuses: list[int] = []
    reports: list[str] = []
    frames, late_ns = 0, 0
    while len(statuses) < TRIES:
        try:
            report = judge(load_text(texts[number]))
        except EmuError as error:
            statuses.append(error.exit_status)
            reports.append(f"{error}\n")
            break
        except Exception:  # the judge's own fault: the scenario is kept, the others go on
            statuses.append(CRASHED)
            reports.append(traceback.format_exc())
            break
        statuses.append(report.exit_status)
        frames, late_ns = report.frames, max(late_ns, report.late_ns)
        if report.exit_status == 0:
            break
        reports.append(before(report))
    return Judged(number, tuple(statuses), tuple(reports), frames, late_ns / MS)


def before(report: Report) -> str:
    return f"{report.text()}a program was up to {report.late_ns / MS:.1f} ms late\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw small scenarios, and have this machine's kernel judge them.")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn")
    parser.add_argument("--count", type=int, default=100, help="how many scenarios")
    parser.add_argument("-n", "--workers", type=int, default=4, help="how many at once")
    parser.add_argument("--plain", action="store_true", help="without odd packets, which take most of the time")
    parser.add_argument(
        "--dask", default="", metavar="ADDRESS", help="a Dask scheduler, whose workers are root on Linux"
    )
    parser.add_argument("--keep", type=Path, default=Path("draws"), help="folder for the scenarios that differ")
    arguments = parser.parse_args()
    texts, begin = drawn(arguments.seed, arguments.count, odd=not arguments.plain), time.monotonic()
    counts: Counter[str] = Counter()
    frames, late_ms = 0, list[float]()
    every = spread(partial(list, texts), tried, range(len(texts)), jobs=arguments.workers, dask=arguments.dask)
    for done in every:
        word = {(0,): "equal at the first try", (1, 0): "equal at the second try"}.get(done.statuses, "not equal")
        counts[word] += 1
        frames += done.frames
        late_ms.append(done.late_ms)
        if done.reports:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            path = arguments.keep / f"seed-{arguments.seed}-{done.number}"
            path.with_suffix(".yaml").write_text(texts[done.number])
            path.with_suffix(".txt").write_text("\n".join(done.reports))
            print(f"{path}.yaml: exit {', then '.join(map(str, done.statuses))}\n{done.reports[0]}", flush=True)
    words = ", ".join(f"{count} {word}" for word, count in counts.items())
    late = f"programs were late by {median(late_ms):.1f} ms (median), {max(late_ms):.1f} ms at most"
    seconds = time.monotonic() - begin
    print(f"seed {arguments.seed}: {len(texts)} scenarios, {frames} frames: {words}; {late}; {seconds:.0f} s")
    return int(counts["equal at the first try"] != len(texts))


if __name__ == "__main__":
    sys.exit(main())
