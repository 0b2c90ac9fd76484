"""The ladder: every captured frame in the order of time, one line each, all interfaces merged.

The form of the lines is that of ladders recorded on real kernels. Must not know flows' outcomes.
"""

from __future__ import annotations

from collections.abc import Iterable

from emu.capture.capture import Captured
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
    start_ns = chosen[0].time_ns if chosen else 0
    rungs = [frame.line().split(" ", 2) for frame in chosen]
    wide = max((len(place) for place, *_ in rungs), default=0)
    lines = [
        f"{(frame.time_ns - start_ns) / 1e6:10.3f}  {place:<{wide}} {way:<8} {what}"
        for frame, (place, way, what) in zip(chosen, rungs, strict=True)
    ]
    return Report([hop(frame) for frame in chosen], "\n".join(lines))
