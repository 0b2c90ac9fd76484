"""A capture: taps on the interfaces of a whole cluster; it selects frames, makes their text and writes them to files.

Frames are kept in the order of time. A frame's `flow/hop` number is the same in text, comments and
files: the n-th captured frame of its flow, dropped ones included. Must not know Kubernetes, scenarios
or reports.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from emu.capture import files
from emu.capture.captured import Captured, Story
from emu.capture.comment import Comments
from emu.capture.interface import Interface, roles
from emu.capture.spool import PIECE, Spool
from emu.capture.states import States
from emu.capture.stretch import FLOW_SHIFT, INTERFACE, INTERFACE_SHIFT
from emu.capture.summary import line
from emu.capture.tap import DROP, IN, OUT, DropTap, Log, Untouched
from emu.clock import Clock, Moment
from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.wire.addr import mac_text
from emu.wire.captured import is_tcp
from emu.wire.summary import read
from emu.wire.tcp import ACK, SYN

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

BACKGROUND = 0
HELD, ENTRIES = 1 << 20, 16  # entries of the log in memory where it streams; those of a frame, about
REMEMBERED = 1 << 12
NO_WORDS: Mapping[str, str] = MappingProxyType({})


class Absent(Protocol):
    """The namespaces that will be attached late, as if they had been there since the time of their devices."""

    def unwired(self) -> Iterable[str]:
        """The names of their devices as `Interface.short` has them."""

    def complete(self) -> None:
        """Attach all of them."""


class _Attaching:
    """Taps the devices of one namespace, and reads each once more before it goes."""

    __slots__ = ("_capture", "_interfaces", "_node", "_owner", "_role", "_words")

    def __init__(self, capture: Capture, owner: str, words: Mapping[str, str], role: str, node: str) -> None:
        self._capture, self._owner, self._words, self._role, self._node = capture, owner, words, role, node
        self._interfaces: list[Interface] = []

    def __call__(self, device: Device) -> None:
        words = self._words.get(device.name, "")
        self._interfaces.append(self._capture.attach(device, self._owner, words, self._role, self._node))

    def leaves(self, device: Device) -> None:
        for interface in [each for each in self._interfaces if each.device is device]:
            interface.refresh()
            self._interfaces.remove(interface)


class Capture:
    """All frames at the attached interfaces.

    `names` maps addresses, as (family, address), to their names, the one to show first; `stories` flows to what
    states their steps; `comments` makes the words.
    """

    def __init__(self, clock: Clock, absent: Absent | None = None) -> None:
        """`absent`: some namespaces are attached late, under an earlier time of the clock (`Clock.earlier`)."""
        self.clock = clock
        self.log = Log(clock)
        self.places: list[Interface] = []  # the interfaces that are attached, each at the place of its number
        self._absent = absent
        self._joined: list[Moment] | None = None if absent is None else []  # when each of them was attached
        self.names: dict[tuple[int, int], list[str]] = {}
        self.stories: dict[int, Story] = {}
        self.comments = Comments({}, self.places)
        self.states: States | None = None
        self._namespaces: dict[Netns, tuple[str, ...]] = {}  # with the names of owners
        self._drop_taps: dict[Netns, tuple[DropTap, ...]] = {}
        self._firsts: dict[int, tuple[int, list[int]]] = {}
        self._roles: dict[bytes, str] = {}
        self._seen = (0, 0)
        self._held = HELD
        self._incarnations: Counter[tuple[str, str]] = Counter()

    def __repr__(self) -> str:
        return f"<capture of {self.log.index()} frames at {len(self.places)} interfaces>"

    @property
    def interfaces(self) -> list[Interface]:
        """All interfaces, each at the place of its number. What is absent joins."""
        if self._absent is not None:
            self._absent.complete()
        return self.places

    # -- taps ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Forget all frames that came so far. Reads the devices."""
        self.log.entries.clear()
        self._read(self.places)

    def unseen(self, call: Callable[[], None]) -> None:
        """Run `call()`, and forget the frames that come meanwhile. Reads the devices that come: one may go before the next look."""
        entries = self.log.entries
        there, known = len(entries), len(self.places)
        call()
        del entries[there:]
        self._read(self.places[known:])

    def attach(
        self, device: Device, owner: str, description: str = "", role: str = "host", node: str = ""
    ) -> Interface:
        """Tap a device of `owner` (a namespace's display name); the order of calls is the order of interfaces in files.
        Its namespace's frames have trails from now on. A second device of the same name there (a pod that was made again)
        is another interface, the second incarnation. `role` and `node` as for `Interface`."""
        interface = self._add(owner, device.name, device, description, role, node)
        device.tap = Untouched(self.log, interface.number, device)
        if device.net is not None:
            device.net.tracing = True
            if self.states is not None:
                device.tap = self.states.counting(self.log.tap(interface.number), device.net)
        return interface

    def renamed(self) -> None:
        """Devices bear other names: their interfaces bear these from now on, also for frames that came before."""
        for interface in self.places:
            if interface.device is not None:
                interface.device_name = interface.device.name

    def attach_drops(self, net: Netns, owner: str = "", role: str = "host", node: str = "") -> Interface:
        """Capture the frames that a namespace drops, on the pseudo-interface `OWNER/drop`."""
        interface = self._add(owner or net.name, "drop", None, "", role, node)
        tap = self.log.drop_tap(interface.number)
        net.drop_listeners.append(tap if self.states is None else self.states.counting_drops(tap, net))
        self._drop_taps[net] = (*self._drop_taps.get(net, ()), tap)
        net.tracing = True
        return interface

    def attach_namespace(
        self, net: Netns, name: str = "", descriptions: dict[str, str] | None = None, role: str = "host", node: str = ""
    ) -> None:
        """Tap every present and future device of a namespace, and its drops. Interfaces are called
        `NAME/DEVICE`; `descriptions` are by device name; `role` and `node` as for `Interface`."""
        owner = name or net.name
        attaching = _Attaching(self, owner, descriptions or NO_WORDS, role, node)
        net.on_device(attaching)
        net.leaving_listeners.append(attaching.leaves)
        self.attach_drops(net, owner, role, node)
        self._namespaces[net] = (*self._namespaces.get(net, ()), owner)
        if self.states is not None:
            self.states.watch(net, owner, joins=True)

    def release(self, net: Netns) -> None:
        """A namespace is gone: its tables hold nothing any more. What still comes to its devices is captured."""
        self._namespaces.pop(net, None)
        self._drop_taps.pop(net, None)
        if self.states is not None:
            self.states.release(net)

    def record(self) -> States:
        """From now on note how the tables of all captured namespaces change, what rules count, and where packets end. It costs
        nothing before. A second call gives the same. Raises InputError for a capture that streams."""
        if self.log.spool is not None:
            raise InputError("a capture that streams to disk records no states", expected="record or stream")
        if self.states is None:
            self.states = States(self.log, self.interfaces)
            for interface in self.places:
                device = interface.device
                if device is not None and device.tap is not None and device.net is not None:
                    tap = device.tap.made() if isinstance(device.tap, Untouched) else device.tap
                    device.tap = self.states.counting(tap, device.net)
            for net, taps in self._drop_taps.items():
                listeners = net.drop_listeners
                for tap in taps:
                    listeners[listeners.index(tap)] = self.states.counting_drops(tap, net)
            for net, owners in self._namespaces.items():
                for owner in owners:
                    self.states.watch(net, owner)
        return self.states

    def stream(
        self, folder: str | os.PathLike[str] | None = None, *, held: int | None = None, piece: int = PIECE
    ) -> None:
        """From now on hold no more than about `held` frames in memory (None: some ten thousands): older ones lie in a file without a name in `folder`
        (None: the system's for temporary files), `piece` frames at a time. All can be asked for and written as before. A capture that has begun to
        stream cannot be copied. Raises InputError: states are recorded."""
        if self.states is not None:
            raise InputError("a capture that records states is held in memory", expected="stream or record")
        if self.log.spool is None:
            self.log.spool = Spool(folder, piece)
        self._held = HELD if held is None else held * ENTRIES

    def spill(self) -> None:
        """Called now and then, such as where a flow has ended: write to disk what is too much to hold, if the capture streams."""
        log = self.log
        if log.spool is not None and len(log.entries) > self._held:
            log.spill()

    def _add(
        self, owner: str, device_name: str, device: Device | None, description: str, role: str, node: str
    ) -> Interface:
        self._incarnations[owner, device_name] += 1
        incarnation = self._incarnations[owner, device_name]
        interface = Interface(len(self.places), owner, device_name, device, description, incarnation, role, node)
        self.places.append(interface)
        if self._joined is not None:
            self._joined.append(self.clock.moment)
        return interface

    def mark(self) -> int:
        """The number of the next frame, for `since` and `until` of a selection. Reads the devices and names again."""
        self._read(self.places)
        self._name()
        self._roles = roles(self._ordered(range(len(self.places))), self._absent.unwired() if self._absent else ())
        return self.log.index()

    def _read(self, interfaces: Sequence[Interface]) -> None:
        """Read these devices again, and which of them are cabled to each other."""
        numbers = {id(each.device): each.number for each in interfaces if each.device is not None}
        for interface in interfaces:
            interface.refresh()
            interface.find_peer(numbers)

    def _name(self) -> None:
        """Clear words that were made with other names."""
        if not self.comments.knows(self.names):
            self.comments = Comments(self.names, self.places)

    def _look(self) -> None:
        """Call `mark` if the capture has new interfaces or names, so that the words of one frame do not cost a look at all."""
        if self._seen != (len(self.places), len(self.names)):
            self._seen = len(self.places), len(self.names)
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

        `background` adds frames without a flow (default: only when no flow is named). `since` and `until` are marks.
        Raises InputError for an unknown interface.
        """
        return list(
            self.each(
                flow,
                interface,
                flows=flows,
                interfaces=interfaces,
                background=background,
                since=since,
                until=until,
            )
        )

    def each(
        self,
        flow: int | None = None,
        interface: str | None = None,
        *,
        flows: Iterable[int] | None = None,
        interfaces: Iterable[str] | None = None,
        background: bool | None = None,
        since: int = 0,
        until: int | None = None,
    ) -> Iterator[Captured]:
        """The frames of a selection, as `frames`, one after the other: not more than one needs to be held. Raises InputError."""
        chosen = self._select(_one_or_many(flow, flows), _one_or_many(interface, interfaces), background, since, until)
        return (Captured(self, number) for number in chosen)

    def _select(
        self,
        flows: list[int] | None,
        interfaces: list[str] | None,
        background: bool | None,
        since: int,
        until: int | None,
    ) -> Sequence[int]:
        """The numbers of the selected frames, ascending."""
        log = self.log
        end = log.index()
        if until is not None:
            end = min(end, until)
        chosen: Sequence[int]
        if flows is None:
            if background is None or background:
                chosen = range(since, end)
            else:
                chosen = self._having(range(since, end), lambda code: code >> FLOW_SHIFT)
        else:
            wanted = {*flows, *((BACKGROUND,) if background else ())}
            parts = [_within(log.frames_of(flow), since, end) for flow in wanted if log.count_of(flow)]
            chosen = parts[0] if len(parts) == 1 else sorted(chain.from_iterable(parts))
        if interfaces is not None:
            numbers = {each.number for each in self.find(interfaces)}
            chosen = self._having(chosen, lambda code: code >> INTERFACE_SHIFT & INTERFACE in numbers)
        return chosen

    def _having(self, chosen: Sequence[int], wanted: Callable[[int], object]) -> array[int]:
        """Of these frames those whose code is wanted."""
        found = array("q")
        for part, indices in self.log.parts(chosen):
            codes, first = part.codes, part.first
            found.extend([first + index for index in indices if wanted(codes[index])])
        return found

    def find(self, patterns: Iterable[str]) -> list[Interface]:
        """The interfaces that match the names or globs, in order. Raises InputError for a glob without a match."""
        found: dict[int, Interface] = {}
        interfaces = self.interfaces
        for pattern in patterns:
            matching = [each for each in interfaces if each.name == pattern or fnmatchcase(each.name, pattern)]
            if not matching:
                near = get_close_matches(pattern, [each.name for each in interfaces], n=1)
                raise InputError(f"no interface is called {pattern!r}", expected=f"{near[0]!r}?" if near else None)
            found.update((each.number, each) for each in matching)
        return self._ordered(found)

    # -- words -----------------------------------------------------------------------------------

    def story(self, flow: int) -> Story | None:
        """Set the function that gives the lines of a flow's story."""
        return self.stories.get(flow)

    def comment_of(self, captured: Captured) -> str:
        self._look()
        story = self.stories.get(captured.flow)
        stated = story(captured) if story is not None else None
        return self.comments.comment(captured.code, captured.hop, captured.data, list(captured.trail), stated)

    def line_of(self, captured: Captured) -> str:
        self._look()
        place = captured.place
        words = line(captured.data, self.role, self.first_numbers(captured.flow))
        return f"{place.owner}:{place.device_name} {captured.way} {words}"

    def role(self, mac: bytes) -> str:
        """The short name of the interface that has a MAC, else the MAC."""
        return self._roles.get(mac) or mac_text(mac)

    def first_numbers(self, flow: int) -> list[int]:
        """The initial sequence numbers of a flow's connections (NAT does not change them)."""
        log = self.log
        known, firsts = self._firsts.get(flow, (0, []))
        if known < log.count_of(flow):
            frames = log.frames_of(flow)
            for number in frames[known:]:
                part, index = log.find(number)
                data = part.entries[part.positions[index]]
                if is_tcp(data):
                    seen = read(data)
                    if seen.flags & SYN and seen.seq not in firsts:
                        firsts.append(seen.seq)
                        if seen.flags & ACK and (seen.ack - 1) & 0xFFFFFFFF not in firsts:
                            firsts.append((seen.ack - 1) & 0xFFFFFFFF)
            if log.spool is not None and len(self._firsts) >= REMEMBERED:
                self._firsts.clear()
            self._firsts[flow] = len(frames), firsts
        return firsts

    # -- files -----------------------------------------------------------------------------------

    def write(
        self,
        path: str | os.PathLike[str] | BinaryIO,
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

        Without a selection by flow or interface the file has all interfaces and names; else the interfaces that are
        selected or have frames in it, and the names of the addresses in its frames. The file appears when it is whole (an open
        one is written to as it goes); `force` replaces one that emu did not write. Raises InputError: no such interface, the file cannot be made.
        """
        by_flow, by_name = _one_or_many(flow, flows), _one_or_many(interface, interfaces)
        chosen = self._select(by_flow, by_name, background, since, until)
        whole = by_flow is None and by_name is None
        shown = self._ordered(range(len(self.interfaces))) if whole else self._with_frames(chosen, by_name)
        for each in shown:
            each.refresh()
        self._name()
        names = self.names if whole else files.names_in(self, chosen)
        files.write(self, path, chosen, shown, names, force=force)
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
        """Write one classic .pcap for each interface with frames: `node-1.cbr0.pcap`. The format has no comments, names and
        directions. `force` replaces existing files. Gives the paths. Raises InputError."""
        chosen = self._select(_one_or_many(flow, flows), None, background, since, until)
        return files.write_split(self, folder, chosen, force=force)

    def _with_frames(self, chosen: Sequence[int], asked: list[str] | None) -> list[Interface]:
        numbers: set[int] = set()
        for part, indices in self.log.parts(chosen):
            numbers.update([shape >> INTERFACE_SHIFT for shape in part.shapes(indices)])
        if asked is not None:
            numbers |= {each.number for each in self.find(asked) if each.name in asked}
        return self._ordered(numbers)

    def _ordered(self, numbers: Iterable[int]) -> list[Interface]:
        """The interfaces with these numbers, in the order in which their devices came."""
        joined = self._joined
        ordered = sorted(numbers) if joined is None else sorted(numbers, key=lambda number: (joined[number], number))
        return [self.places[number] for number in ordered]


def _within(numbers: array[int], since: int, until: int) -> array[int]:
    """Of ascending numbers those from `since` on and below `until`."""
    return numbers[bisect_left(numbers, since) : bisect_left(numbers, until)]


def _one_or_many(one: Any, many: Iterable[Any] | None) -> list[Any] | None:
    if one is None:
        return None if many is None else list(many)
    return [one, *(many or ())]


__all__ = ["BACKGROUND", "DROP", "IN", "OUT", "Capture", "Captured", "Interface", "Story"]
