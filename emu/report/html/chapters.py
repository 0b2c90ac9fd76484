"""The chapters of a flow: the numbered steps of its story, each at the hop where it is stated first. Must not know how they look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emu.report.html.model import Chapter
from emu.report.html.scene import Sighted
from emu.scenario.story import Teller, lines_of, text_of


def chapters(frames: Iterable[Sighted], stories: Mapping[int, Any]) -> list[Chapter]:
    """Of a story without numbers, each sentence is a chapter, counted from 1 in its flow."""
    numbered: dict[int, list[Chapter]] = {}
    plain: dict[int, list[Chapter]] = {}
    seen: set[tuple[int, str]] = set()
    for frame in frames:
        teller = stories.get(frame.flow)
        if not isinstance(teller, Teller):
            continue
        for line in lines_of(teller.story, frame):  # type: ignore[arg-type]  # it reads what `Sighted` has
            text = text_of(line)
            if (frame.flow, text) in seen:
                continue
            seen.add((frame.flow, text))
            found = numbered if line.step else plain
            own = found.setdefault(frame.flow, [])
            label = line.step.partition(" ")[0] if line.step else str(len(own) + 1)
            own.append(Chapter(frame.flow, frame.hop, label, text, line.leg == "back"))
    return [each for flow in sorted({*numbered, *plain}) for each in numbered.get(flow) or plain[flow]]
