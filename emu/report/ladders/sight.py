"""One frame at one interface, as ladders use it: of a capture in memory, or of a pcapng that emu wrote.

Must not know which sights are one packet, or how they are drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emu.capture.captured import Captured
from emu.capture.pcapng import LINKTYPE_RAW
from emu.capture.reader import Described, reading, values
from emu.capture.summary import line
from emu.errors import InputError
from emu.wire.addr import mac_text
from emu.wire.captured import is_tcp
from emu.wire.summary import read
from emu.wire.tcp import SYN

DROP = "drop"
_COMMENT, _FLAGS = 1, 2
_INBOUND, _OUTBOUND, _FOREIGN = 1, 2, 4
_NUMBERS = re.compile(r"flow/hop (\d+)/(\d+)")
_NAT = re.compile(r"^nat.*: ((?:un-)?[DS]NAT) \w+ (\S+ -> [^,]+), ct ", re.M)
_CARRIED = re.compile(r"^([^:\n]+): ([\d.]+ -> [\d.]+), ", re.M)  # a cloud's gateway, address for address
_DROPPED = re.compile(r"^dropped (\S+) at (\S+)(?: by (.*))?$", re.M)
_FORBIDDEN = re.compile(r"^policy (\w+ of .*)$", re.M)
_STEP = re.compile(r"\(([\w, ]+)\) ")
_LINK_OF_RAW = bytes(12) + b"\x08\x00"
WANTED = "a pcapng that emu wrote, with its comments"


@dataclass(frozen=True, slots=True)
class Sight:
    """Frame `number` of its file, from 1. `way` is in, out, drop or in-other; `kind` is its device's; `packet` is emu's number
    for the packet, 0: unknown. `text` is the frame in one line, `comment` its whole comment."""

    number: int
    time_ns: int
    interface: str
    kind: str
    way: str
    flow: int
    hop: int
    packet: int
    data: bytes
    text: str
    comment: str

    @property
    def owner(self) -> str:
        """The namespace: `node-1`, `default/client`."""
        return self.interface.rpartition("/")[0]

    @property
    def sentence(self) -> str:
        return self.comment.split("\n", 1)[0]

    @property
    def nats(self) -> list[str]:
        """`DNAT 10.96.0.10:80 -> 10.244.2.2:8080`, in the order in which they were done; last what a cloud rewrote."""
        return [" ".join(found) for pattern in (_NAT, _CARRIED) for found in pattern.findall(self.comment)]

    @property
    def dropped(self) -> tuple[str, str, str] | None:
        """Reason, place, and what decided; None: it was not dropped."""
        found = _DROPPED.search(self.comment) if self.way == DROP else None
        return (found[1], found[2], found[3] or "") if found is not None else None

    @property
    def forbidden(self) -> str:
        """Which side of a pod forbids it by NetworkPolicies, and why; "": none does."""
        found = _FORBIDDEN.search(self.comment) if self.way == DROP else None
        return found[1] if found is not None else ""

    @property
    def step(self) -> str:
        """The story's step, or ""."""
        found = _STEP.match(self.comment)
        return found[1] if found is not None else ""

    @property
    def is_arp(self) -> bool:
        return self.text.partition("] ")[2].startswith("ARP ")


def of_captured(frames: Iterable[Captured]) -> Iterator[Sight]:
    """The sights of frames in memory; they are numbered as in a file that has all of the capture."""
    for frame in frames:
        yield Sight(
            frame.number + 1, frame.time_ns, frame.interface, frame.place.kind, frame.way, frame.flow, frame.hop,
            frame.packet_number, frame.data, frame.line().split(" ", 2)[2], frame.comment(),
        )  # fmt: skip


def of_file(path: Path) -> list[Sight]:
    """The sights of a pcapng. Raises InputError: no such file, or no frame has a comment of emu's."""
    found: list[tuple[int, int, Described, bytes, dict[int, bytes]]] = []
    with reading(path) as capture:
        for record in capture:
            if record.options:
                interface = capture.interfaces[record.interface]
                data = _LINK_OF_RAW + record.data if record.linktype == LINKTYPE_RAW else record.data
                found.append((record.number, record.time_ns, interface, data, values("<", record.options)))
    names = {each.mac: each.name for *_, each, _, _ in found if each.mac}
    firsts: dict[int, list[int]] = {}
    sights = []
    for number, time_ns, interface, data, options in found:
        comment = options.get(_COMMENT, b"").decode(errors="replace")
        numbers = _NUMBERS.search(comment.rpartition("\n")[2])
        if numbers is None:
            continue
        flow, hop = int(numbers[1]), int(numbers[2])
        known = firsts.setdefault(flow, [])
        _note_first(data, known)
        text = line(data, lambda mac: names.get(mac) or mac_text(mac), known)
        way = DROP if interface.name.endswith("/drop") else _way(options.get(_FLAGS, b""))
        kind = interface.description.replace(",", " ").partition(" ")[0]
        sights.append(Sight(number, time_ns, interface.name, kind, way, flow, hop, 0, data, text, comment))
    if not sights:
        raise InputError("no frame has a comment with its flow", file=str(path), expected=WANTED)
    return sights


def _way(flags: bytes) -> str:
    bits = int.from_bytes(flags, "little")
    if bits & 3 == _OUTBOUND:
        return "out"
    return "in-other" if bits >> 2 & 7 == _FOREIGN else "in"


def _note_first(data: bytes, firsts: list[int]) -> None:
    """Remember the initial sequence number of a SYN."""
    if is_tcp(data):
        seen = read(data)
        if seen.flags & SYN and seen.seq not in firsts:
            firsts.append(seen.seq)
