"""A step's story: the sentences that it gives to the comments of its frames. Must not know steps or files."""

from __future__ import annotations

from fnmatch import fnmatchcase

from emu.capture.capture import Captured
from emu.scenario.kinds import StoryLine

Story = str | tuple[StoryLine, ...]


def lines_of(story: Story, captured: Captured) -> tuple[StoryLine, ...]:
    """The lines of a story that are for this frame: a text is for every frame, a line chooses its frames."""
    if isinstance(story, str):
        return (StoryLine(story),) if story else ()
    return tuple(line for line in story if _is_for(line, captured))


def _is_for(line: StoryLine, captured: Captured) -> bool:
    return (
        any(fnmatchcase(name, line.at) for name in (captured.place.path, captured.interface))
        and line.way in ("any", captured.way.partition("-")[0])
        and (line.when == "*" or fnmatchcase(captured.line(), line.when))
    )


def text_of(line: StoryLine) -> str:
    """The line as comments have it: `story (4), on AWS: ...`, `way back (1): ...`."""
    if not line.step:
        return line.says
    chapter = "way back" if line.leg == "back" else line.chapter or "story"
    number = ") and (".join(line.step.split(" and "))
    return f"{chapter} ({number}){f', {line.how}' if line.how else ''}: {line.says}"


class Teller:
    """What a story has to state about each frame of a flow."""

    __slots__ = ("story",)

    def __init__(self, story: Story) -> None:
        self.story = story

    def __call__(self, captured: Captured) -> str | None:
        return "\n".join(map(text_of, lines_of(self.story, captured))) or None
