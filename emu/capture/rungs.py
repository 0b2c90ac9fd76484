"""The lines of a ladder: every captured frame in the order of time, one line each, all interfaces merged.

The form is that of ladders recorded on real kernels. Must not know flows or reports.
"""

from __future__ import annotations

from collections.abc import Iterable

from emu.capture.captured import Captured


def rungs(frames: Iterable[Captured]) -> str:
    """One line a frame. Times are milliseconds since the first."""
    chosen = list(frames)
    start_ns = chosen[0].time_ns if chosen else 0
    parts = [frame.line().split(" ", 2) for frame in chosen]
    wide = max((len(place) for place, *_ in parts), default=0)
    return "\n".join(
        f"{(frame.time_ns - start_ns) / 1e6:10.3f}  {place:<{wide}} {way:<8} {what}"
        for frame, (place, way, what) in zip(chosen, parts, strict=True)
    )
