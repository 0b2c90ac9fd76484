"""The comment of a frame: its step in the story, a sentence, the facts, the story's words, and its flow/hop number.

A comment is made only when a file is written or a comment is read. Words about TCP and UDP are forms that are filled in (`forms.py`);
of other frames, text that is the same for several is made once. Must not know files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from emu.capture.forms import Forms, Place
from emu.capture.stretch import DIRECTION, FLOW_SHIFT, INTERFACE, INTERFACE_SHIFT, PKT_TYPE, PKT_TYPE_SHIFT, SHAPE
from emu.capture.summary import Name
from emu.capture.tap import IN
from emu.capture.view import View
from emu.capture.words import UNKNOWN, natted_fact, walk_fact, word_of
from emu.rule import AnyRule
from emu.trail import Natted
from emu.wire.addr import ip4_text
from emu.wire.captured import alike, family, macs
from emu.wire.frame import AF_INET, OTHERHOST
from emu.wire.summary import read

REMEMBERED = 1 << 16
_STEPS = re.compile(r"^([a-z][a-z ]*) \((\d+)\)(?: and \((\d+)\))?(?=[,: ])", re.M)
_CHAPTERS = {"story": "", "way back": "back "}  # any other one has its name before the number
Names = Mapping[tuple[int, int], Sequence[str]]  # by (family, address)


def flow_hop(flow: int) -> tuple[bytes, bytes]:
    """The last line of a comment, UTF-8: what stands before and after the hop."""
    return (b"\nflow/hop %d/" % flow, b"") if flow else (b"\nflow/hop 0/", b" (background)")


def step(story: str) -> str:
    """What the comment of a frame of a story begins with: `(4) `, on the way back `(back 2) `, in another chapter `(egress 2) `;
    "" where it is no step.

    It stands first, so that the column of comments shows it, and the numbers of there and back differ.
    """
    found = _STEPS.findall(story)
    steps = [_CHAPTERS.get(chapter, f"{chapter} ") + each for chapter, *numbers in found for each in numbers if each]
    return f"({', '.join(dict.fromkeys(steps))}) " if steps else ""


class Comments:
    """Words for frames. `names` gives addresses, by (family, address), their names, `places[n]` is interface number n."""

    def __init__(self, names: Names, places: Sequence[Place]) -> None:
        self.names: Names = {key: tuple(each) for key, each in names.items()}
        self._first = {key: each[0] for key, each in self.names.items() if each}
        self._namers: dict[int, Name] = {}
        self._places = places
        self.forms = Forms(places, self._namer(AF_INET), self._seen, words, self._remembered)
        self._bodies: dict[Any, list[tuple[list[Any], bytes]]] = {}

    def knows(self, names: Names) -> bool:
        """Are these the names that the cached words use?"""
        mine = self.names
        return len(names) == len(mine) and all(tuple(each) == mine.get(key) for key, each in names.items())

    def name(self, addr: int, family: int = AF_INET) -> str:
        """The first name of an address, else its text."""
        return self._first.get((family, addr)) or ip4_text(addr)

    def _namer(self, family: int) -> Name:
        """The names of one family's addresses: what a frame's entries know of an address is its number."""
        namer = self._namers.get(family)
        if namer is None:
            namer = self._namers[family] = partial(self._named, family)
        return namer

    def _named(self, family: int, addr: int) -> str:
        return self.name(addr, family)

    def body(self, code: int, data: bytes, trail: list[Any]) -> bytes:
        """Sentence and facts of a frame, in UTF-8."""
        return self.forms.sight(code & SHAPE).body(data, trail)

    def _remembered(self, shape: int, data: bytes, trail: list[Any]) -> bytes:
        """The words of a frame without a form; the same object for frames with the same words."""
        key = shape, alike(data)
        # one to three, compared entry by entry: mostly the same objects
        for known, body in self._bodies.get(key, ()):
            if known == trail:
                return body
        body = words(self.view(shape, data, trail)).encode()
        if len(self._bodies) >= REMEMBERED:
            self._bodies.clear()
        self._bodies.setdefault(key, []).append((list(trail), body))
        return body

    def comment(self, code: int, hop: int, data: bytes, trail: list[Any], story: str | None = None) -> str:
        """The whole comment; `story` is the text of the flow's story for this frame."""
        lines = [step(story or "") + self.body(code, data, trail).decode(), *([story] if story else [])]
        before, after = flow_hop(code >> FLOW_SHIFT)
        return "\n".join(lines) + f"{before.decode()}{hop}{after.decode()}"

    def _seen(self, shape: int, data: bytes, trail: list[Any]) -> View:
        return self.view(shape, data, trail)

    def view(self, shape: int, data: bytes, trail: list[Any]) -> View:
        place = self._places[shape >> INTERFACE_SHIFT & INTERFACE]
        direction = shape & DIRECTION
        foreign = direction == IN and shape >> PKT_TYPE_SHIFT & PKT_TYPE == OTHERHOST
        return View(
            place.owner, place.device_name, place.kind, place.bridge, direction, foreign, macs(data)[0], read(data),
            tuple(trail), self._namer(family(data)),
        )  # fmt: skip


def words(view: View) -> str:
    """Sentence and facts of a frame."""
    return "\n".join([sentence(view), *facts(view)])


def sentence(view: View) -> str:
    """The sentences of the entries with the highest rank; without entries, a sentence from the bytes."""
    words = [(word_of(entry), entry) for entry in view.trail]
    rank = max((word.rank for word, _ in words), default=0)
    sentences: list[str] = []
    for word, entry in words:
        text = word.sentence(entry, view) if word.rank == rank else ""
        if text and text not in sentences:
            sentences.append(text)
    return "; ".join(sentences) or UNKNOWN.sentence(None, view)


def facts(view: View) -> list[str]:
    """One line for each fact, in the order of events; the rules of one walk are one group."""
    lines: list[str] = []
    walk: list[AnyRule] = []

    def end_walk(outcome: str = "") -> None:
        if walk:
            lines.extend(walk_fact(walk, outcome))
            walk.clear()

    for entry in view.trail:
        if isinstance(entry, AnyRule):
            if walk and (entry.table != walk[0].table or (entry.based and entry.chain != walk[0].chain)):
                end_walk()
            walk.append(entry)
        elif isinstance(entry, Natted):
            text = natted_fact(entry, view)
            if walk and walk[0].table == "nat":
                end_walk(text)
            else:
                end_walk()
                lines.append(f"nat: {text}")
        else:
            end_walk()
            text = word_of(entry).fact(entry, view)
            if text and text not in lines:
                lines.append(text)
    end_walk()
    return lines
