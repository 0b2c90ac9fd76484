"""Writes a capture's frames to files: pcapng with comments and names, or one classic pcap for each interface.

Must not know how frames are selected.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from emu.capture import captured, pcap, pcapng
from emu.capture.captured import EPB_FLAGS, LOW, Captured, Story
from emu.capture.comment import Comments, flow_hop, step
from emu.capture.interface import Interface
from emu.capture.stretch import FLOW_SHIFT, INTERFACE, INTERFACE_SHIFT, RECORD, SHAPE, TIME
from emu.wire.captured import addresses, packet

WITHOUT_LINK = ("ipip",)  # kinds of devices whose packets have no link-layer header
COUNTED = 1024
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
    with pcapng.create(path, force=force) as writer:
        numbers = {
            each.number: writer.interface(each.name, each.description, each.mac, each.addresses, _linktype(each))
            for each in shown
        }
        writer.names(names)
        packets = _packets(source, chosen, numbers)
        bare = {numbers[each.number] for each in shown if each.kind in WITHOUT_LINK}
        writer.write_packets(_stripped(packets, bare) if bare else packets)


def _linktype(interface: Interface) -> int:
    return pcapng.LINKTYPE_RAW if interface.kind in WITHOUT_LINK else pcapng.LINKTYPE_ETHERNET


def _stripped(packets: Iterable[pcapng.Packet], bare: set[int]) -> Iterator[pcapng.Packet]:
    """Without the Ethernet header that emu's frames have everywhere, for interfaces that have none."""
    for interface, time_ns, data, flags, comment in packets:
        yield interface, time_ns, packet(bytes(data)) if interface in bare else data, flags, comment


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
        path = Path(folder) / f"{source.interfaces[number].name.replace('/', '.')}.pcap"
        with pcap.create(path, force=force, linktype=_linktype(source.interfaces[number])) as writer:
            bare = source.interfaces[number].kind in WITHOUT_LINK
            writer.write_packets([(at, packet(data)) for at, data in apart[number]] if bare else apart[number])
        paths.append(path)
    return paths


def names_in(source: Source, chosen: Sequence[int]) -> dict[tuple[int, int], list[str]]:
    """The names of the addresses in these frames, in the order of `names`."""
    parts = source.log.parts(chosen)
    seen = addresses(part.entries[part.positions[index]] for part, indices in parts for index in indices)
    return {key: names for key, names in source.names.items() if key in seen}


def _packets(source: Source, chosen: Sequence[int], numbers: dict[int, int]) -> Iterator[pcapng.Packet]:
    stories, body, remembered = source.stories, source.comments.forms.body, source.comments.remembered
    # by shape: the number of the interface in the file, and epb_flags
    places: dict[int, tuple[int, int]] = {}
    last, before, after = -1, b"", b""
    for part, indices in source.log.parts(chosen):
        entries, positions, codes, hops, first = part.entries, part.positions, part.codes, part.hops, part.first
        for index in indices:
            at, code = positions[index], codes[index]
            data, shape = entries[at], code & SHAPE
            trail = entries[positions[index - 1] + RECORD if index else 0 : at]
            words = body(shape, data, trail) or remembered(shape, data, trail)
            flow = code >> FLOW_SHIFT
            if flow != last:
                last, (before, after) = flow, flow_hop(flow)
            hop = hops[index]
            ending = before + (_COUNTED[hop] if hop < COUNTED else b"%d" % hop) + after
            story = stories.get(flow) if stories else None
            stated = story(Captured(source, first + index)) if story is not None else None
            if stated:
                words = step(stated).encode() + words
                ending = b"\n" + stated.encode() + ending
            place = places.get(shape)
            if place is None:
                place = places[shape] = numbers[shape >> INTERFACE_SHIFT], EPB_FLAGS[shape & LOW]
            interface, flags = place
            yield interface, entries[at + TIME], data, flags, (words, ending)
