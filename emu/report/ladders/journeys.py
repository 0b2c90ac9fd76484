"""Which sights are one packet, where each came from, and the columns of a ladder.

A run knows the number of each packet. A file does not have it: there a packet is what no hop rewrites, seen within some
milliseconds. Must not know how a ladder is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from emu.report.ladders.sight import DROP, Sight
from emu.wire.captured import carried, is_ipv4, packet
from emu.wire.frame import ICMP
from emu.wire.summary import read, tunnelled

SAME_NS = 5_000_000  # a packet that waits longer than this is taken for another one
STACKED = ("bridge", "vxlan", "ipip")  # what such a device sends goes out by another one of its namespace


@dataclass(slots=True)
class Hop:
    """A sight, and the sight that the packet came from (None: it begins here, or that is unknown)."""

    sight: Sight
    before: Sight | None


@dataclass(slots=True)
class Journey:
    """One packet: all its sights in the order of time. `number` counts the packets of the ladder from 1."""

    number: int
    hops: list[Hop] = field(default_factory=list)

    @property
    def first(self) -> Sight:
        return self.hops[0].sight

    @property
    def is_arp(self) -> bool:
        return self.first.is_arp

    @property
    def steps(self) -> list[str]:
        """The steps of the story that it takes, each once."""
        return list(dict.fromkeys(hop.sight.step for hop in self.hops if hop.sight.step))


@dataclass(frozen=True, slots=True)
class Ladder:
    """The packets of one flow. `columns` are interfaces, in the order in which packets come to them; `start_ns` is when its first
    frame was seen."""

    flow: int
    columns: list[str]
    journeys: list[Journey]
    start_ns: int

    def without_arp(self) -> Ladder:
        """Only what is no ARP, and the interfaces that have some of it: a pod that got nothing but a flooded request has none.
        A flow of ARP alone stays as it is."""
        rest = [journey for journey in self.journeys if not journey.is_arp]
        if not rest:
            return self
        kept = set(columns(hop.sight for journey in rest for hop in journey.hops))
        return Ladder(self.flow, [column for column in self.columns if column in kept], rest, self.start_ns)


def ladders(sights: Iterable[Sight]) -> list[Ladder]:
    """One for each flow, in the order of flows."""
    flows: dict[int, list[Sight]] = {}
    for sight in sights:
        flows.setdefault(sight.flow, []).append(sight)
    return [Ladder(flow, columns(flows[flow]), journeys(flows[flow]), flows[flow][0].time_ns) for flow in sorted(flows)]


def columns(sights: Iterable[Sight]) -> list[str]:
    """The interfaces with frames; a drop is shown in a column of its namespace, so `NODE/drop` is only one where there is none."""
    chosen = list(sights)
    found = dict.fromkeys(each.interface for each in chosen if each.way != DROP)
    owners = {name.rpartition("/")[0] for name in found}
    found.update(dict.fromkeys(each.interface for each in chosen if each.way == DROP and each.owner not in owners))
    return list(found)


def journeys(sights: Iterable[Sight]) -> list[Journey]:
    """The packets, in the order in which they are seen first."""
    found: dict[Any, Journey] = {}
    ends: dict[Any, int] = {}
    received: dict[Any, set[str]] = {}
    in_order: list[Journey] = []
    for sight in sights:
        key: Any = sight.packet or _signature(sight)
        journey = found.get(key)
        again = sight.way == "in" and sight.interface in received.get(key, ())
        waited = sight.time_ns - ends.get(key, 0) > SAME_NS and sight.way != DROP
        if journey is None or (not sight.packet and (again or waited)):
            journey = found[key] = Journey(len(in_order) + 1)
            received[key] = set()
            in_order.append(journey)
        ends[key] = sight.time_ns
        if sight.way == "in":
            received[key].add(sight.interface)
        journey.hops.append(Hop(sight, _before(journey.hops, sight)))
    return in_order


def _signature(sight: Sight) -> Any:
    """What no hop changes of a frame; of a tunnel's packet, of what it carries; of a ping not its id, which NAT may change."""
    inside = tunnelled(sight.data)
    seen = read(inside)
    if seen.proto == ICMP and not seen.quote and not seen.fragment:
        return sight.flow, seen.ip_id, seen.sport, seen.seq, seen.size
    return sight.flow, carried(inside) if is_ipv4(inside) else packet(inside)


def _before(hops: list[Hop], sight: Sight) -> Sight | None:
    """Where the packet was before: inside of the namespace, or at the other end of a cable."""
    here = [hop.sight for hop in hops if hop.sight.owner == sight.owner and hop.sight.way != DROP]
    came = [each for each in here if each.way != "out"]
    inside = came[-1] if came else (here[0] if here else None)
    if sight.way in ("out", DROP):
        since = here[here.index(came[-1]) + 1 :] if came else here
        upper = [each for each in since if each.kind in STACKED]
        return upper[-1] if upper else inside
    taken = {id(hop.before) for hop in hops if hop.before is not None and hop.before.owner != hop.sight.owner}
    sent = [hop.sight for hop in hops if hop.sight.way == "out" and hop.sight.owner != sight.owner]
    cable = next((each for each in sent if id(each) not in taken and each.kind not in STACKED), None)
    # a bridge hands up what its port received at this very moment
    handed_up = inside is not None and inside.way != "out" and inside.time_ns == sight.time_ns
    return inside if cable is None or handed_up else cable
