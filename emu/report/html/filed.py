"""A capture file as a scene: what emu wrote, with its interfaces, names and comments, or any other capture, as far as frames go.

What a file does not have (tables, outcomes, whole rule walks) is stated in the scene's notes. Must not know the page's format.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emu.capture import pcapng, reader
from emu.capture.interface import Interface, roles
from emu.capture.summary import between, line, phrase
from emu.clock import EPOCH_NS
from emu.errors import InputError
from emu.report.html import facts
from emu.report.html.model import Namespace
from emu.report.html.packets import Packets
from emu.report.html.scene import Scene, unjudged
from emu.rule import AnyRule
from emu.wire.addr import ip4_text
from emu.wire.record import Record
from emu.wire.summary import read

NO_CABLE = ("bridge", "loopback", "drop", "vxlan", "ipip")
MOST = 5000  # frames of one file
_FLOW_HOP = re.compile(r"flow/hop (\d+)/(\d+)(?: \(background\))?")
_KIND = re.compile(r"(\w+)(?: of \S+|, a port of .*bridge (\S+))")
_OWN = re.compile(r"emu [\w.+-]+")
_COMMENT, _FLAGS, _DIRECTION, _RECEPTION, _DROP = 1, 2, 3, 28, "drop"
NO_TABLES = "the file has no tables: what neighbours, routes and connections were is not known"
NO_OUTCOMES = "the file has no outcomes: whether a flow was delivered is not known"
NOT_OURS = "emu did not write the file: no decision, no flow and no second interface is known"


@dataclass(slots=True)
class Filed:
    """One frame of a file, as `Captured` has it. `stated` is its comment in lines, without the flow's number."""

    number: int
    flow: int
    hop: int
    time_ns: int
    place: Interface
    direction: str
    way: str
    data: bytes
    stated: list[str]
    shown: str
    trail: tuple[facts.Stated, ...] = ()
    packet_number: int = 0
    cause: int = 0

    @property
    def counters(self) -> Mapping[AnyRule, tuple[int, int]]:
        return {}

    @property
    def after(self) -> Sequence[Any]:
        return ()

    def comment(self) -> str:
        return "\n".join([*self.stated, f"flow/hop {self.flow}/{self.hop}"])

    def line(self) -> str:
        return f"{self.place.owner}:{self.place.device_name} {self.way} {self.shown}"


def of_file(path: str | os.PathLike[str]) -> Scene:
    """The frames of a capture. Raises InputError where it cannot be read, or has none of Ethernet."""
    name = Path(path).name
    with reader.reading(path) as file:
        records, more = list[Record](), 0
        for record in file:
            if len(records) < MOST:
                records.append(record)
            else:
                more += 1
        own = _OWN.fullmatch(file.application) is not None
        kept = [each for each in records if each.linktype == pcapng.LINKTYPE_ETHERNET]
        if not kept:
            raise InputError("has no frame of Ethernet", file=str(path), expected="a capture of an interface or of emu")
        places = [_place(number, each, name) for number, each in enumerate(file.interfaces)] or [_only(name)]
        names = {ip4_text(addr): text for addr, text in file.names.items()}
        notes = [
            *(each.replace(str(path), name) for each in file.notes),
            *((NO_TABLES, NO_OUTCOMES) if own else (NOT_OURS, NO_TABLES, NO_OUTCOMES)),
        ]
    if len(kept) < len(records):
        notes.append(f"{len(records) - len(kept)} frames without Ethernet are left out")
    if more:
        notes.append(f"only the first {MOST:,} frames are shown: {more:,} more are in the file")
    frames = _frames(kept, places, names, EPOCH_NS if own else kept[0].time_ns)
    _cables(frames)
    placed = _roles(places, frames)
    flows = [
        unjudged(number, [each for each in frames if each.flow == number]) | {"file": name}
        for number in sorted({each.flow for each in frames if each.flow or not own})
    ]
    stem = Path(path).stem
    if len(flows) == 1:
        flows[0]["name"] = stem
    shown = [each for each in frames if each.flow or not own]
    return Scene(stem, shown, places, placed, flows, names, description=_about(name, own), notes=notes, filed=True)


def _about(name: str, own: bool) -> str:
    """What the page shows where a run has its description."""
    missing = [NO_TABLES, NO_OUTCOMES] if own else [NOT_OURS, NO_TABLES, NO_OUTCOMES]
    return f"Frames of {name}; " + "; ".join(missing) + "."


# -- frames ------------------------------------------------------------------------------------


def _frames(
    records: Sequence[Record], places: Sequence[Interface], names: Mapping[str, str], begin_ns: int
) -> list[Filed]:
    of_mac = roles(places)
    packets, hops, found = Packets(), Counter[int](), list[Filed]()
    for record in records:
        stated = reader.values("<", record.options)
        place = places[record.interface]
        flags = int.from_bytes(stated.get(_FLAGS, b""), "little")
        direction = _DROP if place.kind == _DROP else "out" if flags & _DIRECTION == pcapng.OUTBOUND else "in"
        foreign = direction == "in" and flags & _RECEPTION == pcapng.PROMISCUOUS
        lines = stated.get(_COMMENT, b"").decode(errors="replace").splitlines()
        numbers = _FLOW_HOP.fullmatch(lines[-1]) if lines else None
        flow = int(numbers[1]) if numbers else 0
        hops[flow] += 1
        seen = read(record.data)
        known = lambda addr: names.get(ip4_text(addr)) or ip4_text(addr)
        lines = lines[:-1] if numbers else [f"{phrase(seen, known)}{between(seen, known)}"]
        frame = Filed(
            number=record.number,
            flow=flow,
            hop=int(numbers[2]) if numbers else hops[flow],
            time_ns=record.time_ns - begin_ns,
            place=place,
            direction=direction,
            way="in-other" if foreign else direction,
            data=record.data,
            stated=lines,
            shown=line(record.data, lambda mac: of_mac.get(mac) or mac.hex(":"), ()),
            trail=facts.read(lines[0], lines[1:]),
        )
        frame.packet_number = packets.of(frame)
        found.append(frame)
    return found


# -- interfaces --------------------------------------------------------------------------------


def _place(number: int, described: reader.Described, file: str) -> Interface:
    owner, _, device = described.name.rpartition("/")
    name, _, incarnation = device.partition("#")
    kind = _KIND.fullmatch(described.description)
    place = Interface(
        number, owner or file, name or f"interface {number}", None, described.description,
        int(incarnation) if incarnation.isdecimal() else 1,
    )  # fmt: skip
    place.kind = _DROP if owner and name == _DROP else kind[1] if kind else "loopback" if name == "lo" else "device"
    place.bridge = (kind[2] or "") if kind else ""
    place.mac = described.mac or None
    place.addresses = described.addresses
    return place


def _only(file: str) -> Interface:
    place = Interface(0, file, "frames", None)
    place.kind = "device"
    return place


def _cables(frames: Sequence[Filed]) -> None:
    """Which interfaces are the two ends of a cable: what leaves by one comes in by the other, byte for byte and in order."""
    under_way: dict[bytes, deque[Interface]] = defaultdict(deque)
    votes: Counter[tuple[int, int]] = Counter()
    places = {each.place.number: each.place for each in frames}
    for each in frames:
        if each.place.kind in NO_CABLE:
            continue
        if each.direction == "out":
            under_way[each.data].append(each.place)
        elif each.direction == "in" and under_way[each.data]:
            sent = under_way[each.data].popleft()
            if sent is not each.place:
                votes[sent.number, each.place.number] += 1
    for (one, other), _ in votes.most_common():
        if places[one].peer in (None, other) and places[other].peer in (None, one):
            places[one].peer, places[other].peer = other, one


def _roles(places: Sequence[Interface], frames: Sequence[Filed]) -> list[Namespace]:
    """By the forms of names: a pod is NAMESPACE/POD, on the node at the other end of its cable."""
    found = {}
    for owner in dict.fromkeys(each.owner for each in places):
        mine = [each for each in places if each.owner == owner]
        peers = [places[each.peer] for each in mine if each.peer is not None]
        if "/" in owner:
            node = next((each.owner for each in peers if each.owner != owner), "")
            found[owner] = Namespace(owner, "pod", node)
        elif owner in ("underlay", "external"):
            found[owner] = Namespace(owner, "underlay" if owner == "underlay" else "outside")
        else:
            routes = any(each.kind == "bridge" or each.bridge for each in mine) or any(
                "/" in each.owner for each in peers
            )
            found[owner] = Namespace(owner, "node" if routes else "host")
    return list(found.values())
