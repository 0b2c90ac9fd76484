"""The frames of both sides, read from the kernel's rings and from the emulator's capture, as lines that can be compared.

Must not know flows or tables, and must not use emu's own parsers: they are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from emu.capture.capture import Capture
from emu.capture.interface import roles
from emu.capture.tap import DROP
from emu.kernel.net.netns import Netns
from emu.twin.compare import Sight
from emu.twin.normalise import Normaliser
from emu.twin.ring import Ring, Seen
from emu.twin.space import Space
from emu.wire.frame import TCP, UDP

T = TypeVar("T")


class Sights:
    """The frames at the interfaces of both sides. `seen` are the kernel's frames since the last `take`; `largest` is the
    length of the largest frame, bytes."""

    def __init__(self, capture: Capture, largest: int) -> None:
        self.capture, self.largest = capture, largest
        self.rings: dict[Netns, Ring] = {}
        self.seen: list[Seen] = []
        self.theirs, self.ours = Normaliser({}), Normaliser({})
        self._mark = self._snap = 0
        self._known = 0  # how many interfaces have been there
        self._ours_from: dict[
            str, int
        ] = {}  # by interface that came since `both`: the emulator's first frame that counts

    def watch(self, spaces: Mapping[Netns, Space]) -> None:
        """Namespaces were made on the kernel's side."""
        for net, ring in zip(
            spaces, at_once(partial(Ring, each, self.largest) for each in spaces.values()), strict=True
        ):
            self.rings[net] = ring
            self._snap = ring.snap

    def forget(self, net: Netns) -> None:
        """The namespace is gone; its frames until now stay."""
        self.take()
        self.rings.pop(net).close()

    def renamed(self) -> None:
        """Devices may have new names: read them again."""
        for ring in self.rings.values():
            ring.names.clear()

    def learn_roles(self) -> None:
        """Read the devices again: a bridge's MAC may have changed."""
        self.capture.mark()
        for side in (self.theirs, self.ours):
            side.roles.update(roles(self.capture.interfaces))

    def wired(self, mark: int) -> None:
        """Interfaces that have come since this was called last are compared from here on, in the emulator's capture from
        `mark` on: the frames that they send while they are made are not."""
        come = self.capture.interfaces[self._known :]
        self._known = len(self.capture.interfaces)
        if come:
            self.take()
            places = {(each.owner, each.device_name) for each in come}
            self.seen = [seen for seen in self.seen if (seen.space, seen.device) not in places]
            self._ours_from.update((each.name, mark) for each in come)

    def take(self) -> None:
        """Empty the rings."""
        for ring in self.rings.values():
            self.seen += ring.take()

    def drop(self) -> None:
        """Ignore all frames until now."""
        self.take()
        self.seen.clear()
        self._mark = self.capture.mark()

    def both(self) -> tuple[list[Sight], list[Sight]]:
        """The kernel's frames and the emulator's since the last call, in the order of capture."""
        self.take()
        end = self.capture.mark()
        kernel, emulated = self._kernel(), self._emulated(end)
        self.seen, self._mark = [], end
        self._ours_from.clear()
        return kernel, emulated

    def _kernel(self) -> list[Sight]:
        names = {(each.owner, each.device_name): each.name for each in self.capture.interfaces}
        # a frame that is passed up keeps its old time: within a namespace the ring's order counts
        latest: dict[str, int] = {}
        ordered = []
        for number, seen in enumerate(self.seen):
            latest[seen.space] = max(latest.get(seen.space, 0), seen.at_ns)
            ordered.append((latest[seen.space], number, seen))
        ordered.sort(key=lambda each: each[:2])
        sights = []
        for _, _, seen in ordered:
            line = self.theirs.render(seen.data, length=seen.length, loopback=seen.device == "lo")
            name = names.get((seen.space, seen.device), f"{seen.space}/{seen.device}")
            sights.append(Sight(seen.space, name, seen.way, line, seen.at_ns, talk(seen.data)))
        return sights

    def _emulated(self, end: int) -> list[Sight]:
        sights = []
        for captured in self.capture.frames(since=self._mark, until=end):
            late = captured.number >= self._ours_from.get(captured.interface, 0)
            if captured.code & 3 != DROP and late:
                data = captured.data[: self._snap]  # the bytes that the rings keep
                loopback = captured.place.kind == "loopback"
                line = self.ours.render(data, length=len(captured.data), loopback=loopback)
                sights.append(
                    Sight(captured.place.owner, captured.interface, captured.way, line, captured.time_ns, talk(data))
                )
        return sights

    def close(self) -> None:
        at_once(ring.close for ring in self.rings.values())


def at_once(calls: Iterable[Callable[[], T]]) -> list[T]:
    """What each call gives. A ring begins and ends when all CPUs have left the kernel's readers (synchronize_net): they wait for
    that together."""
    with ThreadPoolExecutor() as threads:
        return [each.result() for each in [threads.submit(call) for call in calls]]


def talk(data: bytes) -> object:
    """The conversation of a frame: who talks to whom, in either direction, and by what."""
    kind = data[12:14]
    if kind == b"\x08\x06":
        return kind, frozenset((data[28:32], data[38:42]))
    if kind != b"\x08\x00" or len(data) < 38:
        return kind
    at = 14 + (data[14] & 15) * 4
    ports = (
        (data[at : at + 2], data[at + 2 : at + 4])
        if data[23] in (TCP, UDP)
        else (data[at : at + 1], data[at + 4 : at + 6])
    )
    if data[23] not in (TCP, UDP):
        return data[23], frozenset((data[26:30], data[30:34])), ports
    return data[23], frozenset(((data[26:30], ports[0]), (data[30:34], ports[1])))
