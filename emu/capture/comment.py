"""The comment of a frame: a sentence, the facts, the step of its story, and its flow/hop number.

Made only when a file is written or somebody asks. What does not change from frame to frame is made
once and remembered by the trail's entries, the interface and the header fields that words read. Must
not know files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from emu.capture.summary import read
from emu.capture.tap import DIRECTION, FLOW_SHIFT, IN, INTERFACE, INTERFACE_SHIFT, PKT_TYPE, PKT_TYPE_SHIFT, SHAPE
from emu.capture.words import UNKNOWN, WORDS, View, natted_fact, walk_fact
from emu.kernel.netfilter.ruleset import BUILT_IN, Rule
from emu.trail import Natted
from emu.wire.addr import ip4_text
from emu.wire.frame import OTHERHOST, TCP, UDP

REMEMBERED = 1 << 16
_PLAIN_UDP, _PLAIN_TCP = bytes((0x45, UDP)), bytes((0x45, TCP))
Names = Mapping[int, Sequence[str]]


class Place(Protocol):
    """What comments say of an interface: see `View`."""

    @property
    def owner(self) -> str: ...
    @property
    def device_name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def bridge(self) -> str: ...


def key_of(data: bytes) -> bytes:
    """The bytes of a frame that its words depend on: two frames with the same key are told alike."""
    if data[12:15] == b"\x08\x00\x45":
        proto = data[23]
        if proto == UDP:
            # lengths, fragment word, TTL and protocol, addresses and ports
            return data[:6] + data[16:18] + data[20:24] + data[26:40]
        if proto == TCP:
            return data[:6] + data[16:18] + data[20:24] + data[26:38] + data[46:48]
    return data


def flow_hop(flow: int, hop: int) -> str:
    """The last line of a comment."""
    return f"flow/hop {flow}/{hop}" if flow else f"flow/hop 0/{hop} (background)"


class Comments:
    """Words for frames. `names` gives addresses their names, `places[n]` is interface number n."""

    def __init__(self, names: Names, places: Sequence[Place]) -> None:
        self.names: Names = {addr: tuple(each) for addr, each in names.items()}
        self._first = {addr: each[0] for addr, each in self.names.items() if each}
        self._places = places
        self._bodies: dict[Any, str] = {}

    def knows(self, names: Names) -> bool:
        """Are these still the names that were told?"""
        mine = self.names
        return len(names) == len(mine) and all(tuple(each) == mine.get(addr) for addr, each in names.items())

    def name(self, addr: int) -> str:
        """The first name of an address, else its text."""
        return self._first.get(addr) or ip4_text(addr)

    def body(self, code: int, data: bytes, trail: Sequence[Any]) -> str:
        """Sentence and facts of a frame; the same object for frames that are told alike."""
        shape = code & SHAPE
        key = (shape, key_of(data), tuple(map(id, trail))) if trail else (shape, key_of(data))
        found = self._bodies.get(key)
        if found is None:
            if len(self._bodies) >= REMEMBERED:
                self._bodies.clear()
            found = self._bodies[key] = self._make(shape, data, trail)
        return found

    def comment(self, code: int, hop: int, data: bytes, trail: Sequence[Any], story: str | None = None) -> str:
        """The whole comment; `story` is what the flow's story says of this frame."""
        body = self.body(code, data, trail)
        if story:
            body = f"{body}\n{story}"
        return f"{body}\n{flow_hop(code >> FLOW_SHIFT, hop)}"

    def view(self, shape: int, data: bytes, trail: Sequence[Any]) -> View:
        place = self._places[shape >> INTERFACE_SHIFT & INTERFACE]
        direction = shape & DIRECTION
        foreign = direction == IN and shape >> PKT_TYPE_SHIFT & PKT_TYPE == OTHERHOST
        return View(
            place.owner, place.device_name, place.kind, place.bridge, direction, foreign, data[:6], read(data),
            tuple(trail), self.name,
        )  # fmt: skip

    def _make(self, shape: int, data: bytes, trail: Sequence[Any]) -> str:
        view = self.view(shape, data, trail)
        return "\n".join([sentence(view), *facts(view)])


def sentence(view: View) -> str:
    """What the entries of the highest rank say; without any, what the bytes say."""
    words = [(WORDS.get(entry.__class__, UNKNOWN), entry) for entry in view.trail]
    rank = max((word.rank for word, _ in words), default=0)
    said: list[str] = []
    for word, entry in words:
        text = word.sentence(entry, view) if word.rank == rank else ""
        if text and text not in said:
            said.append(text)
    return "; ".join(said) or UNKNOWN.sentence(None, view)


def facts(view: View) -> list[str]:
    """One line a fact, in the order in which things happened; what the rules of one walk did is told together."""
    told: list[str] = []
    walk: list[Rule] = []

    def end_walk(outcome: str = "") -> None:
        if walk:
            told.extend(walk_fact(walk, outcome))
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
                told.append(f"nat: {text}")
        else:
            end_walk()
            text = WORDS.get(entry.__class__, UNKNOWN).fact(entry, view)
            if text and text not in told:
                told.append(text)
    end_walk()
    return told
