"""Which way a frame of a flow goes: there, from the client, or back, whatever NAT and tunnels made of its addresses.

The first packet out of the client goes there. A rewritten packet goes the way of what it was before, which the frame's trail has; an ICMP error
goes the other way than the packet that it quotes. Must not know how frames are selected or written.
"""

from __future__ import annotations

from typing import Literal

from emu.capture.captured import Captured
from emu.capture.summary import carried
from emu.trail import Natted
from emu.wire.frame import ICMP
from emu.wire.summary import Summary, read, read_ip

Way = Literal["there", "back", ""]
Half = tuple[int, int]
Pair = tuple[Half, Half, int]
THERE: Way = "there"
BACK: Way = "back"
_ECHO = (0, 8)
_OTHER: dict[Way, Way] = {THERE: BACK, BACK: THERE, "": ""}


class Ways:
    """The ways of one flow's frames, which are asked for in the order of time. `client` is the namespace that began it."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._known: dict[Pair, Way] = {}
        self._addresses: dict[tuple[int, int], Way] = {}

    def of(self, frame: Captured) -> Way:
        """The frame's way; "" for ARP, and for what belongs to no packet that is known."""
        outer = read(frame.data)
        return self._way(carried(outer) or outer, frame)

    def _way(self, seen: Summary, frame: Captured) -> Way:
        if seen.kind != "IPv4":
            return ""
        if seen.quote:
            return _OTHER[self._of_pair(_pair(read_ip(seen.quote)), frame)]
        if seen.offset:
            return self._addresses.get((seen.src, seen.dst), "")
        pair = _pair(seen)
        way = self._of_pair(pair, frame)
        if not way and frame.direction == "out" and frame.place.owner == self._client:
            way = THERE
        if way:
            self._learn(pair, way)
        return way

    def _of_pair(self, pair: Pair, frame: Captured) -> Way:
        way = self._known.get(pair)
        if way is not None:
            return way
        before = pair
        for entry in reversed(frame.trail):
            if isinstance(entry, Natted):
                before = _undone(before, entry)
                way = self._known.get(before)
                if way is not None:
                    return way
        return ""

    def _learn(self, pair: Pair, way: Way) -> None:
        src, dst, proto = pair
        self._known.setdefault(pair, way)
        self._known.setdefault((dst, src, proto), _OTHER[way])
        self._addresses.setdefault((src[0], dst[0]), way)
        self._addresses.setdefault((dst[0], src[0]), _OTHER[way])


def _pair(seen: Summary) -> Pair:
    """The two ends; of ICMP the id stands for both ports."""
    if seen.proto == ICMP:
        ident = seen.ident if seen.sport in _ECHO else 0
        return (seen.src, ident), (seen.dst, ident), ICMP
    return (seen.src, seen.sport), (seen.dst, seen.dport), seen.proto


def _undone(pair: Pair, nat: Natted) -> Pair:
    """The ends before a rewriting."""
    src, dst, proto = pair
    if nat.kind in ("DNAT", "un-SNAT"):
        return (src, nat.before, proto) if dst == nat.after else pair
    return (nat.before, dst, proto) if src == nat.after else pair
