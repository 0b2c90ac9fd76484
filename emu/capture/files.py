"""Writes a capture's frames to files: pcapng with comments and names, or one classic pcap for each interface.

Must not know how frames are selected.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from emu.capture import captured, pcap, pcapng
from emu.capture.captured import EPB_FLAGS, LOW, Captured, Story
from emu.capture.comment import Comments, flow_hop, step
from emu.capture.forms import Sight
from emu.capture.interface import Interface
from emu.capture.stretch import FLOW, INTERFACE, INTERFACE_SHIFT, SHAPE_AT, TIME
from emu.collector import uncollected
from emu.wire.captured import addresses, packet

WITHOUT_LINK = ("ipip",)  # kinds of devices whose packets have no link-layer header
COUNTED = 1024
_NO_TRAIL: list[Any] = []
_COUNTED = [b"%d" % number for number in range(COUNTED)]


class Source(captured.Source, Protocol):
    """What is written of a capture: its frames, the names of addresses, the flows' stories and the comments."""

    @property
    def names(self) -> Mapping[tuple[int, int], list[str]]: ...
    @property
    def stories(self) -> Mapping[int, Story]: ...
    @property
    def comments(self) -> Comments: ...


def write(
    source: Source,
    path: str | os.PathLike[str] | BinaryIO,
    chosen: Sequence[int],
    shown: Sequence[Interface],
    names: Mapping[tuple[int, int], list[str]],
    *,
    force: bool,
) -> None:
    """Write the chosen frames (by number) as pcapng, with these interfaces and names; `force` replaces a file that emu
    did not write. Raises InputError."""
    with uncollected(), pcapng.create(path, force=force) as writer:
        numbers = {
            each.number: writer.interface(each.name, each.description, each.mac, each.addresses, _linktype(each))
            for each in shown
        }
        writer.names(names)
        writer.write_commented(_commented(source, chosen, numbers, writer))


def _linktype(interface: Interface) -> int:
    return pcapng.LINKTYPE_RAW if interface.kind in WITHOUT_LINK else pcapng.LINKTYPE_ETHERNET


def write_split(source: Source, folder: str | os.PathLike[str], chosen: Sequence[int], *, force: bool) -> list[Path]:
    """Write the chosen frames, one .pcap for each interface, and give the paths; `force` replaces existing files. Raises
    InputError."""
    apart: dict[int, list[tuple[int, bytes]]] = {}
    for part, indices in source.log.parts(chosen):
        entries, positions, codes = part.entries, part.positions, part.codes
        for index in indices:
            at = positions[index]
            packets = apart.setdefault(codes[index] >> INTERFACE_SHIFT & INTERFACE, [])
            packets.append((entries[at + TIME], entries[at]))
    paths = []
    for number in sorted(apart):
        path = Path(folder) / f"{source.places[number].name.replace('/', '.')}.pcap"
        with pcap.create(path, force=force, linktype=_linktype(source.places[number])) as writer:
            bare = source.places[number].kind in WITHOUT_LINK
            writer.write_packets([(at, packet(data)) for at, data in apart[number]] if bare else apart[number])
        paths.append(path)
    return paths


def names_in(source: Source, chosen: Sequence[int]) -> dict[tuple[int, int], list[str]]:
    """The names of the addresses in these frames, in the order of `names`."""
    seen: set[tuple[int, int]] = set()
    for part, indices in source.log.parts(chosen):
        seen |= addresses(part.frames(indices))
    return {key: names for key, names in source.names.items() if key in seen}


def _commented(
    source: Source, chosen: Sequence[int], numbers: dict[int, int], writer: pcapng.Writer
) -> Iterator[pcapng.Commented]:
    """The chosen frames; `numbers` are those of the interfaces in the file."""
    stories, forms = source.stories, source.comments.forms
    # by shape: the interface in the file, what is around comments, what has the words, and whether frames there have no header of the link
    places: dict[int, tuple[int, pcapng.Surrounded, Sight, bool]] = {}
    last, before, after = -1, b"", b""
    for part, indices in source.log.parts(chosen):
        entries = part.entries
        for begin, at, hop in part.rows(indices):
            data, flow, shape = entries[at], entries[at + FLOW], entries[at + SHAPE_AT]
            place = places.get(shape)
            if place is None:
                interface = source.places[shape >> INTERFACE_SHIFT]
                around, sight = writer.around(EPB_FLAGS[shape & LOW]), forms.sight(shape)
                place = places[shape] = numbers[interface.number], around, sight, interface.kind in WITHOUT_LINK
            number, around, sight, bare = place
            words = sight.body(data, entries[begin:at] if begin < at else _NO_TRAIL)
            if flow != last:
                last, (before, after) = flow, flow_hop(flow)
            ending = before + (_COUNTED[hop] if hop < COUNTED else b"%d" % hop) + after
            if stories and flow in stories:
                stated = stories[flow](Captured(source, part.first + bisect_left(part.positions, at)))
                if stated:
                    words = step(stated).encode() + words
                    ending = b"\n" + stated.encode() + ending
            yield number, around, entries[at + TIME], packet(data) if bare else data, words, ending
