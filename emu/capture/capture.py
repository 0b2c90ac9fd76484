"""A capture: taps on the interfaces of a whole cluster, their frames selected, told and written to files.

Frames are kept in the order of time. A frame's `flow/hop` number is the same in text, comments and
files: the n-th captured frame of its flow, dropped ones included. Must not know Kubernetes, scenarios
or reports.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emu import craft
from emu.capture import pcap, pcapng
from emu.capture.comment import Comments, flow_hop
from emu.capture.interface import Interface, roles
from emu.capture.summary import line, read
from emu.capture.tap import (
    DIRECTION,
    DROP,
    FLOW_SHIFT,
    IN,
    INTERFACE,
    INTERFACE_SHIFT,
    OUT,
    PKT_TYPE,
    PKT_TYPE_SHIFT,
    RECORD,
    TIME,
    Log,
)
from emu.clock import Clock
from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.wire.addr import mac_text
from emu.wire.frame import BROADCAST, HOST, MULTICAST, OTHERHOST, TCP
from emu.wire.tcp import ACK, SYN

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

BACKGROUND = 0
_RECEPTION = {
    HOST: pcapng.UNICAST,
    BROADCAST: pcapng.BROADCAST,
    MULTICAST: pcapng.MULTICAST,
    OTHERHOST: pcapng.PROMISCUOUS,
}


def _epb_flags(shape: int) -> int:
    """The pcapng flags of a code's low bits: direction, and for received frames what the device took them for."""
    direction = shape & DIRECTION
    if direction == IN:
        return pcapng.INBOUND | _RECEPTION.get(shape >> PKT_TYPE_SHIFT & PKT_TYPE, 0)
    return pcapng.OUTBOUND if direction == OUT else 0


_LOW = (1 << INTERFACE_SHIFT) - 1
DIRECTIONS = ("in", "out", "drop")
EPB_FLAGS = tuple(_epb_flags(shape) for shape in range(_LOW + 1))

# What the story of a flow says of one of its frames, a line such as "step (3) of ...", or None.
Story = Callable[["Captured"], str | None]


class Captured:
    """One frame as one interface saw it. `hop` counts the frames of its flow from 1; `number` all frames from 0.

    `time_ns` is virtual, `data` all bytes from Ethernet on; `trail` is what happened since the tap before.
    """

    __slots__ = ("_capture", "code", "data", "hop", "number", "time_ns", "trail")

    def __init__(self, capture: Capture, number: int) -> None:
        log = capture.log
        at = log.positions[number]
        self._capture, self.number, self.hop = capture, number, log.hops[number]
        self.data: bytes = log.entries[at]
        self.time_ns: int = log.entries[at + TIME]
        self.code: int = log.codes[number]
        self.trail = tuple(log.trail(number))

    @property
    def flow(self) -> int:
        return self.code >> FLOW_SHIFT

    @property
    def direction(self) -> str:
        """`in`, `out` or `drop`."""
        return DIRECTIONS[self.code & DIRECTION]

    @property
    def place(self) -> Interface:
        return self._capture.interfaces[self.code >> INTERFACE_SHIFT & INTERFACE]

    @property
    def interface(self) -> str:
        """The interface's name, `node-1/cbr0`."""
        return self.place.name

    @property
    def way(self) -> str:
        """The direction as ladders tell it: `in-other` is in, for another's MAC (as a bridge port takes it)."""
        foreign = self.code & _LOW == OTHERHOST << PKT_TYPE_SHIFT | IN
        return "in-other" if foreign else self.direction

    @property
    def flags(self) -> int:
        """epb_flags, see `pcapng`."""
        return EPB_FLAGS[self.code & _LOW]

    def comment(self) -> str:
        """Sentence, facts, step of the story, flow/hop."""
        return self._capture.comment_of(self)

    def line(self) -> str:
        """`p1:eth0 out [p1>cbr0] 10.244.1.11>10.96.0.10 ttl64 DF TCP 40001>80 [S] ...`."""
        return self._capture.line_of(self)

    def packet(self) -> Any:
        """The frame as a Scapy packet."""
        return craft.dissect(self.data)

    def __repr__(self) -> str:
        return f"<{self.flow}/{self.hop} {self.time_ns}ns {self.line()}>"


class Capture:
    """Everything that the attached interfaces saw.

    `names` maps addresses to their names, the one to show first; `stories` flows to what tells their steps.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.log = Log(clock)
        self.interfaces: list[Interface] = []
        self.names: dict[int, list[str]] = {}
        self.stories: dict[int, Story] = {}
        self._comments = Comments({}, self.interfaces)
        self._firsts: dict[int, tuple[int, list[int]]] = {}
        self._roles: dict[bytes, str] = {}
        self._seen = (0, 0)
        self._incarnations: Counter[tuple[str, str]] = Counter()

    # -- taps ------------------------------------------------------------------------------------

    def attach(self, device: Device, owner: str, description: str = "") -> Interface:
        """Tap a device of `owner` (a namespace's display name); the order of calls is the order of interfaces in files.
        Its namespace's frames carry trails from now on. A second device of the same name there (a pod that came back)
        is another interface, the second incarnation."""
        interface = self._add(owner, device.name, device, description)
        device.tap = self.log.tap(interface.number)
        if device.net is not None:
            device.net.tracing = True
        return interface

    def attach_drops(self, net: Netns, owner: str = "") -> Interface:
        """Capture what a namespace drops, on the pseudo-interface `OWNER/drop`."""
        interface = self._add(owner or net.name, "drop", None, "")
        net.drop_listeners.append(self.log.drop_tap(interface.number))
        net.tracing = True
        return interface

    def attach_namespace(self, net: Netns, name: str = "", descriptions: dict[str, str] | None = None) -> None:
        """Tap every device of a namespace, those that it will get too, and what it drops. Interfaces are called
        `NAME/DEVICE`; `descriptions` go by device."""
        owner = name or net.name
        words = descriptions or {}

        net.on_device(lambda device: self.attach(device, owner, words.get(device.name, "")))
        self.attach_drops(net, owner)

    def _add(self, owner: str, device_name: str, device: Device | None, description: str) -> Interface:
        self._incarnations[owner, device_name] += 1
        incarnation = self._incarnations[owner, device_name]
        interface = Interface(len(self.interfaces), owner, device_name, device, description, incarnation)
        self.interfaces.append(interface)
        return interface

    def mark(self) -> int:
        """The number of the next frame: `since` and `until` of a selection. Looks at the devices and names again."""
        self._refresh(self.interfaces)
        self._roles = roles(self.interfaces)
        return self.log.index()

    def _refresh(self, interfaces: Iterable[Interface]) -> None:
        """Look at these devices again, and forget words that were made with other names."""
        for interface in interfaces:
            interface.refresh()
        if not self._comments.knows(self.names):
            self._comments = Comments(self.names, self.interfaces)

    def _look(self) -> None:
        """A mark where that is plainly due: words for one frame cost no look at everything."""
        if self._seen != (len(self.interfaces), len(self.names)):
            self._seen = len(self.interfaces), len(self.names)
            self.mark()

    # -- selection -------------------------------------------------------------------------------

    def frames(
        self,
        flow: int | None = None,
        interface: str | None = None,
        *,
        flows: Iterable[int] | None = None,
        interfaces: Iterable[str] | None = None,
        background: bool | None = None,
        since: int = 0,
        until: int | None = None,
    ) -> list[Captured]:
        """The frames of a selection in the order of time. Interfaces may be globs (`default/client/*`).

        `background` adds frames of no flow (default: only when no flow is named). `since` and `until` are marks.
        Raises InputError for an interface that is not there.
        """
        chosen = self._select(_one_or_many(flow, flows), _one_or_many(interface, interfaces), background, since, until)
        return [Captured(self, number) for number in chosen]

    def _select(
        self,
        flows: list[int] | None,
        interfaces: list[str] | None,
        background: bool | None,
        since: int,
        until: int | None,
    ) -> Sequence[int]:
        """The numbers of the frames that are wanted, ascending."""
        log = self.log
        end = log.index()
        if until is not None:
            end = min(end, until)
        chosen: Sequence[int]
        if flows is None:
            if background is None or background:
                chosen = range(since, end)
            else:
                codes = log.codes
                chosen = [number for number in range(since, end) if codes[number] >> FLOW_SHIFT]
        else:
            wanted = {*flows, *((BACKGROUND,) if background else ())}
            chosen = sorted(number for flow in wanted for number in log.flows.get(flow, ()) if since <= number < end)
        if interfaces is not None:
            numbers = {each.number for each in self.find(interfaces)}
            codes = log.codes
            chosen = [number for number in chosen if codes[number] >> INTERFACE_SHIFT & INTERFACE in numbers]
        return chosen

    def find(self, patterns: Iterable[str]) -> list[Interface]:
        """The interfaces that the names or globs mean, in order. Raises InputError for one that means none."""
        found: dict[int, Interface] = {}
        for pattern in patterns:
            matching = [each for each in self.interfaces if each.name == pattern or fnmatchcase(each.name, pattern)]
            if not matching:
                near = get_close_matches(pattern, [each.name for each in self.interfaces], n=1)
                raise InputError(f"no interface is called {pattern!r}", expected=f"{near[0]!r}?" if near else None)
            found.update((each.number, each) for each in matching)
        return [found[number] for number in sorted(found)]

    # -- words -----------------------------------------------------------------------------------

    def story(self, flow: int) -> Story | None:
        """What tells the steps of a flow."""
        return self.stories.get(flow)

    def comment_of(self, captured: Captured) -> str:
        self._look()
        story = self.stories.get(captured.flow)
        said = story(captured) if story is not None else None
        return self._comments.comment(captured.code, captured.hop, captured.data, list(captured.trail), said)

    def line_of(self, captured: Captured) -> str:
        self._look()
        place = captured.place
        words = line(captured.data, self.role, self._first_numbers(captured.flow))
        return f"{place.owner}:{place.device_name} {captured.way} {words}"

    def role(self, mac: bytes) -> str:
        """The short name of whoever has a MAC, else the MAC."""
        return self._roles.get(mac) or mac_text(mac)

    def _first_numbers(self, flow: int) -> list[int]:
        """The initial sequence numbers of a flow's connections (NAT does not change them)."""
        frames = self.log.flows.get(flow, ())
        told, firsts = self._firsts.get(flow, (0, []))
        if told < len(frames):
            entries, positions = self.log.entries, self.log.positions
            for number in frames[told:]:
                data = entries[positions[number]]
                if len(data) >= 54 and data[12:14] == b"\x08\x00" and data[23] == TCP:
                    seen = read(data)
                    if seen.flags & SYN and seen.seq not in firsts:
                        firsts.append(seen.seq)
                        if seen.flags & ACK and (seen.ack - 1) & 0xFFFFFFFF not in firsts:
                            firsts.append((seen.ack - 1) & 0xFFFFFFFF)
            self._firsts[flow] = len(frames), firsts
        return firsts

    # -- files -----------------------------------------------------------------------------------

    def write(
        self,
        path: str | os.PathLike[str],
        *,
        flow: int | None = None,
        flows: Iterable[int] | None = None,
        interface: str | None = None,
        interfaces: Iterable[str] | None = None,
        background: bool | None = None,
        since: int = 0,
        until: int | None = None,
        force: bool = False,
    ) -> int:
        """Write a selection (as `frames`) as pcapng, with names and comments; gives the number of frames.

        Without a selection by flow or interface the file has every interface, else those with frames in it, and those
        asked for; names go the same way. `force` replaces a file that emu did not write. Raises InputError: no such
        interface, the file cannot be made.
        """
        by_flow, by_name = _one_or_many(flow, flows), _one_or_many(interface, interfaces)
        chosen = self._select(by_flow, by_name, background, since, until)
        whole = by_flow is None and by_name is None
        shown = self.interfaces if whole else self._with_frames(chosen, by_name)
        self._refresh(shown)
        names = self.names if whole else self._names_in(chosen)
        with pcapng.create(path, force=force) as writer:
            numbers = {
                each.number: writer.interface(each.name, each.description, each.mac, each.addresses) for each in shown
            }
            writer.names(names)
            writer.write_packets(self._packets(chosen, numbers))
        return len(chosen)

    def write_split(
        self,
        folder: str | os.PathLike[str],
        *,
        flow: int | None = None,
        flows: Iterable[int] | None = None,
        background: bool | None = None,
        since: int = 0,
        until: int | None = None,
        force: bool = False,
    ) -> list[Path]:
        """One classic .pcap for each interface with frames: `node-1.cbr0.pcap`. Comments, names and directions are
        lost. `force` replaces files that are there. Gives the paths. Raises InputError."""
        chosen = self._select(_one_or_many(flow, flows), None, background, since, until)
        entries, positions, codes = self.log.entries, self.log.positions, self.log.codes
        apart: dict[int, list[tuple[int, bytes]]] = {}
        for number in chosen:
            at = positions[number]
            packets = apart.setdefault(codes[number] >> INTERFACE_SHIFT & INTERFACE, [])
            packets.append((entries[at + TIME], entries[at]))
        paths = []
        for number in sorted(apart):
            path = Path(folder) / f"{self.interfaces[number].name.replace('/', '.')}.pcap"
            with pcap.create(path, force=force) as writer:
                writer.write_packets(apart[number])
            paths.append(path)
        return paths

    def _with_frames(self, chosen: Sequence[int], asked: list[str] | None) -> list[Interface]:
        codes = self.log.codes
        numbers = {codes[number] >> INTERFACE_SHIFT & INTERFACE for number in chosen}
        if asked is not None:
            numbers |= {each.number for each in self.find(asked) if each.name in asked}
        return [self.interfaces[number] for number in sorted(numbers)]

    def _names_in(self, chosen: Sequence[int]) -> dict[int, list[str]]:
        """The names of the addresses in these frames, in the order of `names`."""
        entries, positions = self.log.entries, self.log.positions
        pairs, asked = set(), set()
        for number in chosen:
            data = entries[positions[number]]
            if data[12:14] == b"\x08\x00":
                pairs.add(data[26:34])
            elif data[12:14] == b"\x08\x06":
                asked.add(data[28:32] + data[38:42])
        seen = {int.from_bytes(pair[at : at + 4], "big") for pair in pairs | asked for at in (0, 4)}
        return {addr: names for addr, names in self.names.items() if addr in seen}

    def _packets(self, chosen: Sequence[int], numbers: dict[int, int]) -> Iterator[pcapng.Packet]:
        log, stories, body = self.log, self.stories, self._comments.body
        entries, positions, codes, hops = log.entries, log.positions, log.codes, log.hops
        for number in chosen:
            at, code = positions[number], codes[number]
            data = entries[at]
            begin = positions[number - 1] + RECORD if number else 0
            words = body(code, data, entries[begin:at])[1]
            flow = code >> FLOW_SHIFT
            ending = flow_hop(flow, hops[number])
            story = stories.get(flow) if stories else None
            said = story(Captured(self, number)) if story is not None else None
            if said:
                ending = b"\n" + said.encode() + ending
            yield (
                numbers[code >> INTERFACE_SHIFT & INTERFACE],
                entries[at + TIME],
                data,
                EPB_FLAGS[code & _LOW],
                (words, ending),
            )


def _one_or_many(one: Any, many: Iterable[Any] | None) -> list[Any] | None:
    if one is None:
        return None if many is None else list(many)
    return [one, *(many or ())]


__all__ = ["BACKGROUND", "DROP", "IN", "OUT", "Capture", "Captured", "Interface", "Story"]
