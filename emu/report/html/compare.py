"""Two scenes side by side: which flow of one belongs to which of the other, and which hop to which hop.

Hops are aligned by where they are and what crosses there, and are the same if emu states the same of both. Must not know how a
comparison is shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from emu.report.html.model import Comparison
from emu.report.html.scene import Scene, Sighted
from emu.wire.frame import ICMP
from emu.wire.summary import read

LONG = 1000  # hops: longer flows are aligned by what is not frequent in them
_NUMBER = re.compile(r"#\d+")  # of a connection: an earlier flow more, and all later ones have another
NONE = -1
Flow = dict[str, Any]


def compare(left: Scene, right: Scene, places: tuple[int, int] = (0, 1)) -> list[Comparison]:
    """The flows of two scenes that belong together, with their hops aligned. `places` are the scenes' in the document."""
    return [
        Comparison(places[0], one["flow"], places[1], other["flow"], align(_of(left, one), _of(right, other)))
        for one, other in pairs(left.flows, right.flows)
    ]


def pairs(left: Sequence[Flow], right: Sequence[Flow]) -> list[tuple[Flow, Flow]]:
    """Flows of the same name belong together, in their order; of those left over, which have the same ends."""
    found: list[tuple[Flow, Flow]] = []
    mine, theirs = list(left), list(right)
    for keys in (("name",), ("kind", "source", "target")):
        for one in [*mine]:
            other = next((each for each in theirs if all(one[key] == each[key] for key in keys)), None)
            if other is not None:
                mine.remove(one)
                theirs.remove(other)
                found.append((one, other))
    return found


def _of(scene: Scene, flow: Flow) -> list[Sighted]:
    return [each for each in scene.frames if each.flow == flow["flow"]]


def align(left: Sequence[Sighted], right: Sequence[Sighted]) -> list[tuple[int, int, bool]]:
    """Pairs of hops, counted from 0, NONE where the other side has none, and whether both are the same."""
    mine, theirs = ([_crossing(each) for each in side] for side in (left, right))
    matcher = SequenceMatcher(None, mine, theirs, autojunk=max(len(mine), len(theirs)) > LONG)
    found: list[tuple[int, int, bool]] = []
    for tag, a, a_end, b, b_end in matcher.get_opcodes():
        if tag == "equal":
            found += [(a + n, b + n, _stated(left[a + n]) == _stated(right[b + n])) for n in range(a_end - a)]
        else:
            found += [(n, NONE, False) for n in range(a, a_end)]
            found += [(NONE, n, False) for n in range(b, b_end)]
    return found


def _crossing(frame: Sighted) -> tuple[Any, ...]:
    """Where a frame is, and what it is without its addresses."""
    packet = read(frame.data)
    kind = (packet.sport, packet.dport) if packet.proto == ICMP else ()
    return frame.place.path, frame.way, packet.kind, packet.proto, packet.flags, packet.size, packet.offset, kind


def _stated(frame: Sighted) -> str:
    """What emu states of a frame, without the numbers of connections and of the hop."""
    words = [line for line in frame.comment().split("\n") if not line.startswith("flow/hop ")]
    return _NUMBER.sub("#", "\n".join([*words, frame.line()]))
