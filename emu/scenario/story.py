"""A step's story: the sentences that it gives to the comments of its frames. Must not know steps or files."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from emu.capture.capture import Captured
from emu.scenario.kinds import StoryLine

Teller = Callable[[Captured], str | None]


def teller(story: str | tuple[StoryLine, ...]) -> Teller:
    """What the story states about a frame: a text is the same for every frame, a line chooses its frames."""
    if isinstance(story, str):
        return lambda captured: story

    def lines_of(captured: Captured) -> str | None:
        found = [
            line.says
            for line in story
            if any(fnmatchcase(name, line.at) for name in (captured.place.path, captured.interface))
            and line.way in ("any", captured.way.partition("-")[0])
            and (line.when == "*" or fnmatchcase(captured.line(), line.when))
        ]
        return "\n".join(found) or None

    return lines_of
