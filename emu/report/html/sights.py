"""The frames of a scene in the page's form: words kept once, bytes as patches, one number for all sights of a packet.

Must not know namespaces' tables or layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from emu.report.html import patches
from emu.report.html.entries import ended, plain
from emu.report.html.model import SNAP, Frame, Way
from emu.report.html.scene import Sighted, Story
from emu.rule import AnyRule

_WAYS: dict[str, Way] = {"in": "in", "out": "out", "in-other": "in-other", "drop": "drop"}


class Words:
    """Texts, each kept once: `of` gives its place in `all`."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def of(self, text: str) -> int:
        place = self._places.get(text)
        if place is None:
            place = self._places[text] = len(self.all)
            self.all.append(text)
        return place


class Sights:
    """Makes frames of captured ones, in the order of time."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self._numbers: dict[int, int] = {}  # packets as a capture numbers them: as they are seen here
        self._before: dict[int, bytes] = {}  # by packet, the bytes at its last sight
        self._entries: dict[int, tuple[Any, int]] = {}  # by identity: rules and routes are in many trails

    def frames(self, captured: Sequence[Sighted], stories: Mapping[int, Story]) -> list[Frame]:
        # all at first: a request may be seen before the packet that it is for
        for each in captured:
            self._numbers.setdefault(each.packet_number, len(self._numbers) + 1)
        return [self._frame(each, stories.get(each.flow)) for each in captured]

    def _frame(self, captured: Sighted, story: Story | None) -> Frame:
        word = self.words.of
        text = story(captured) if story is not None else None
        lines = text.split("\n") if text else []
        sentence, *facts = [line for line in captured.comment().split("\n") if not line.startswith("flow/hop ")]
        facts = facts[: len(facts) - len(lines)]
        frame = Frame(
            captured.flow, captured.hop, captured.time_ns, captured.place.number, _WAYS[captured.way], self._numbers[captured.packet_number],
            word(captured.line().split(" ", 2)[2]), word(sentence),
            a=self._numbers.get(captured.cause, 0), x=[word(fact) for fact in facts], c=[word(line) for line in lines],
            tr=self._trail(captured),
        )  # fmt: skip
        self._bytes(frame, captured.data)
        return frame

    def _trail(self, captured: Sighted) -> list[int]:
        """The entries since the tap before; at a packet's last sight also those behind it, and where it ended."""
        counted = captured.counters
        found = [self._entry(entry, counted) for entry in captured.trail]
        for end in captured.after:
            found += [self._entry(entry, counted) for entry in end.trail]
            found.append(self.words.of(msgspec.json.encode(ended(end.fact, end.port)).decode()))
        return found

    def _entry(self, entry: Any, counted: Mapping[AnyRule, tuple[int, int]]) -> int:
        count = counted.get(entry) if isinstance(entry, AnyRule) else None
        if count is not None:
            return self.words.of(msgspec.json.encode(plain(entry) | {"pkts": count[0]}).decode())
        known = self._entries.get(id(entry))
        if known is None:
            known = entry, self.words.of(msgspec.json.encode(plain(entry)).decode())
            self._entries[id(entry)] = known
        return known[1]

    def _bytes(self, frame: Frame, data: bytes) -> None:
        shown = data[:SNAP]
        if len(data) > SNAP:
            frame.z = len(data)
        before = self._before.get(frame.p)
        if before is not None and len(before) == len(shown):
            frame.d = patches.changes(before, shown)
        else:
            frame.b = patches.text(shown)
        self._before[frame.p] = shown
