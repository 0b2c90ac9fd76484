"""Questions about a flow: what happens to its packets next. Any run is a lesson: a question is made of the facts of one frame.

`questions` asks; `kinds.py` has what is asked, one function a kind. Must not know pages or terminals.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from emu.clock import Draws
from emu.quiz.kinds import KINDS
from emu.quiz.question import Question, Seen, Sight, Surroundings
from emu.wire.captured import is_ipv4

MOST = 12  # questions of one flow

__all__ = ["Question", "questions"]


def questions(
    frames: Sequence[Seen], names: Mapping[str, str], interfaces: Collection[str], seed: int = 0
) -> list[Question]:
    """The questions about one flow, in the order of its frames: each kind once about the same thing.

    `frames` are all of the flow, `names` gives addresses their names, `interfaces` are the names of all interfaces, and `seed`
    decides the order of the choices.
    """
    around = _around(frames, names, interfaces)
    found: list[Question] = []
    asked: set[tuple[str, object]] = set()
    for sight in _sights(frames):
        for kind, ask in KINDS.items():
            draft = ask(sight, around)
            if draft is None or (kind, draft.about) in asked:
                continue
            asked.add((kind, draft.about))
            frame = sight.frame
            draws = Draws(seed, f"quiz/{frame.flow}/{frame.hop}/{kind}")
            choices = _shuffled(draft.choices, draws)
            why = frame.comment().partition("\n")[0]
            found.append(
                Question(frame.flow, frame.hop, kind, draft.ask, choices, choices.index(draft.choices[0]), why)
            )
            break
    return found[:MOST]


def _sights(frames: Sequence[Seen]) -> Iterator[Sight]:
    """The IP frames, each with the sight before of the same packet, if it has as many bytes."""
    last: dict[int, Seen] = {}
    for frame in frames:
        if not is_ipv4(frame.data):
            continue
        before = last.get(frame.packet_number)
        last[frame.packet_number] = frame
        if frame.hop == 1:  # nothing was seen before it that one could think from
            continue
        whole = before is not None and len(before.data) == len(frame.data)
        yield Sight(frame, before if whole else None)


def _around(frames: Sequence[Seen], names: Mapping[str, str], interfaces: Collection[str]) -> Surroundings:
    devices: dict[str, list[str]] = {}
    for frame in frames:
        place = frame.place
        mine = devices.setdefault(place.owner, [])
        if place.kind not in ("drop", "loopback") and place.device_name not in mine:
            mine.append(place.device_name)
    answered = {frame.cause for frame in frames if frame.cause and is_ipv4(frame.data)}
    return Surroundings(names, interfaces, devices, answered)


def _shuffled(choices: Sequence[str], draws: Draws) -> list[str]:
    left, found = list(choices), []
    while left:
        found.append(left.pop(draws.randrange(len(left))))
    return found
