"""The comment of a frame: a sentence, the facts, the step of its story, and its flow/hop number.

A comment is made only when a file is written or a comment is read. Text that is the same for several frames is made
once and cached by the trail's entries, the interface and the header fields that the words depend on. Must
not know files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Protocol

from emu.capture.summary import read
from emu.capture.tap import DIRECTION, FLOW_SHIFT, IN, INTERFACE, INTERFACE_SHIFT, PKT_TYPE, PKT_TYPE_SHIFT, SHAPE
from emu.capture.words import UNKNOWN, WORDS, View, natted_fact, walk_fact
from emu.kernel.netfilter.ruleset import BUILT_IN, Rule
from emu.trail import Natted
from emu.wire.addr import ip4_text
from emu.wire.frame import OTHERHOST, TCP, UDP

REMEMBERED = 1 << 16
_PLAIN_IP = b"\x08\x00\x45"
Names = Mapping[int, Sequence[str]]


class Place(Protocol):
    """The fields of an interface that comments use: see `View`."""

    @property
    def owner(self) -> str: ...
    @property
    def device_name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def bridge(self) -> str: ...


# The fields of an IPv4 header without options: destination MAC; length; fragment word, TTL and protocol; addresses; ports.
_HEADER = Struct("!HI10xH2xI2xQI").unpack_from


def key_of(data: bytes) -> Any:
    """The bytes of a frame that its words depend on: two frames with the same key have the same words."""
    if data[12:15] == _PLAIN_IP and len(data) >= 42:
        proto = data[23]
        if proto == UDP:
            return _HEADER(data)
        if proto == TCP and len(data) >= 54:
            return _HEADER(data), data[46], data[47]
    return data


def flow_hop(flow: int, hop: int) -> bytes:
    """The last line of a comment, UTF-8."""
    return b"\nflow/hop %d/%d" % (flow, hop) if flow else b"\nflow/hop 0/%d (background)" % hop


class Comments:
    """Makes the words of frames. `names` maps addresses to their names, `places[n]` is interface number n."""

    def __init__(self, names: Names, places: Sequence[Place]) -> None:
        self.names: Names = {addr: tuple(each) for addr, each in names.items()}
        self._first = {addr: each[0] for addr, each in self.names.items() if each}
        self._places = places
        self._bodies: dict[Any, list[tuple[list[Any], tuple[str, bytes]]]] = {}

    def knows(self, names: Names) -> bool:
        """Are these the names that the cached words use?"""
        mine = self.names
        return len(names) == len(mine) and all(tuple(each) == mine.get(addr) for addr, each in names.items())

    def name(self, addr: int) -> str:
        """The first name of an address, else its text."""
        return self._first.get(addr) or ip4_text(addr)

    def body(self, code: int, data: bytes, trail: list[Any]) -> tuple[str, bytes]:
        """Sentence and facts of a frame, as text and in UTF-8; the same objects for frames with the same words."""
        shape = code & SHAPE
        alike = self._bodies.get((shape, key_of(data)))
        if alike is not None:
            # the cached words for this key, usually one to three; their trails are compared entry by entry
            for known, body in alike:
                if known == trail:
                    return body
        view = self.view(shape, data, trail)
        text = "\n".join([sentence(view), *facts(view)])
        body = text, text.encode()
        if len(self._bodies) >= REMEMBERED:
            self._bodies.clear()
        self._bodies.setdefault((shape, key_of(data)), []).append((list(trail), body))
        return body

    def comment(self, code: int, hop: int, data: bytes, trail: list[Any], story: str | None = None) -> str:
        """The whole comment; `story` is the text of the flow's story for this frame."""
        lines = [self.body(code, data, trail)[0], *([story] if story else [])]
        return "\n".join(lines) + flow_hop(code >> FLOW_SHIFT, hop).decode()

    def view(self, shape: int, data: bytes, trail: list[Any]) -> View:
        place = self._places[shape >> INTERFACE_SHIFT & INTERFACE]
        direction = shape & DIRECTION
        foreign = direction == IN and shape >> PKT_TYPE_SHIFT & PKT_TYPE == OTHERHOST
        return View(
            place.owner, place.device_name, place.kind, place.bridge, direction, foreign, data[:6], read(data),
            tuple(trail), self.name,
        )  # fmt: skip


def sentence(view: View) -> str:
    """The sentences of the entries with the highest rank; without entries, a sentence from the bytes."""
    words = [(WORDS.get(entry.__class__, UNKNOWN), entry) for entry in view.trail]
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
    walk: list[Rule] = []

    def end_walk(outcome: str = "") -> None:
        if walk:
            lines.extend(walk_fact(walk, outcome))
            walk.clear()

    for entry in view.trail:
        if isinstance(entry, Rule):
            base = entry.chain in BUILT_IN.get(entry.table, ())
            if walk and (entry.table != walk[0].table or (base and entry.chain != walk[0].chain)):
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
            text = WORDS.get(entry.__class__, UNKNOWN).fact(entry, view)
            if text and text not in lines:
                lines.append(text)
    end_walk()
    return lines
