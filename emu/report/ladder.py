"""The ladder: every captured frame in the order of time, one line each, all interfaces merged.

Must not know flows' outcomes.
"""

from __future__ import annotations

from collections.abc import Iterable

from emu.capture.capture import Captured
from emu.capture.rungs import rungs
from emu.report import Report, run_views
from emu.report.walk import hop
from emu.scenario.record import Run


@run_views.add("ladder")
def of_run(run: Run) -> Report:
    """Every captured frame of the run in the order of time, a line each."""
    return ladder(run.cluster.capture.frames() if run.cluster.capture is not None else ())


def ladder(frames: Iterable[Captured]) -> Report:
    """Times are milliseconds since the first frame."""
    chosen = list(frames)
    return Report([hop(frame) for frame in chosen], rungs(chosen))
