"""One captured frame: its bytes, time and interface, and the decisions about it.

A view into the log of a capture, made when it is read. Must not know how frames are selected or written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from emu import craft
from emu.capture import pcapng
from emu.capture.interface import Interface
from emu.capture.states import End, States
from emu.capture.stretch import (
    CAUSE,
    DIRECTION,
    FLOW_SHIFT,
    INTERFACE,
    INTERFACE_SHIFT,
    PACKET,
    PKT_TYPE,
    PKT_TYPE_SHIFT,
    RECORD,
    TIME,
)
from emu.capture.tap import IN, OUT, Log
from emu.rule import AnyRule
from emu.wire.frame import BROADCAST, HOST, MULTICAST, OTHERHOST

if TYPE_CHECKING:
    from emu.craft import Packet

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


LOW = (1 << INTERFACE_SHIFT) - 1
DIRECTIONS = ("in", "out", "drop")
EPB_FLAGS = tuple(_epb_flags(shape) for shape in range(LOW + 1))

# The line of a flow's story for one of its frames, such as "step (3) of ...", or None.
Story = Callable[["Captured"], str | None]


class Source(Protocol):
    """The capture that a frame is in: it has the bytes and the words."""

    @property
    def log(self) -> Log: ...
    @property
    def places(self) -> Sequence[Interface]: ...
    @property
    def states(self) -> States | None: ...
    def comment_of(self, captured: Captured) -> str: ...
    def line_of(self, captured: Captured) -> str: ...


class Captured:
    """One frame at one interface. `hop` counts the frames of its flow from 1; `number` counts all frames from 0.

    `time_ns` is virtual, `data` has all bytes from Ethernet on; `trail` has the entries since the tap before.
    """

    __slots__ = ("_capture", "_cause", "_packet", "code", "data", "hop", "number", "time_ns", "trail")

    def __init__(self, capture: Source, number: int) -> None:
        part, index = capture.log.find(number)
        entries, positions, at = part.entries, part.positions, part.positions[index]
        self._capture, self.number, self.hop = capture, number, part.hops[index]
        self.data: bytes = entries[at]
        self.time_ns: int = entries[at + TIME]
        self.code: int = part.codes[index]
        self.trail = tuple(entries[positions[index - 1] + RECORD if index else 0 : at])
        self._packet: int = entries[at + PACKET]
        self._cause: int = entries[at + CAUSE]

    @property
    def flow(self) -> int:
        return self.code >> FLOW_SHIFT

    @property
    def packet_number(self) -> int:
        """Which packet of the cluster or lab it is: every sight of one journey has the same number, at each interface, before and
        after NAT, as copies of a flood, fragments and segments, and inside a tunnel. 0: it was put on a device by hand, and has none."""
        return self._packet

    @property
    def cause(self) -> int:
        """The `packet_number` of the packet that this one is for: the one that waits for an ARP request, or that an ARP reply, an
        ICMP reply or error, or a reset answers. 0: none (a program sent it)."""
        return self._cause

    @property
    def counters(self) -> Mapping[AnyRule, tuple[int, int]]:
        """Packets and bytes that each rule of the trail had counted by then, this packet among them. Empty unless the capture
        records states (`Capture.record`)."""
        states = self._capture.states
        return {} if states is None else states.counters(self.number)

    @property
    def after(self) -> Sequence[End]:
        """Where the packet ended after this tap, the last of its namespace: the socket or protocol, and what was decided on the
        way. Empty unless the capture records states."""
        states = self._capture.states
        return () if states is None else states.ends().get(self.number, ())

    @property
    def direction(self) -> str:
        """`in`, `out` or `drop`."""
        return DIRECTIONS[self.code & DIRECTION]

    @property
    def place(self) -> Interface:
        return self._capture.places[self.code >> INTERFACE_SHIFT & INTERFACE]

    @property
    def interface(self) -> str:
        """The interface's name, `node-1/cbr0`."""
        return self.place.name

    @property
    def way(self) -> str:
        """The direction as ladders show it: `in-other` is in, for another host's MAC (as on a bridge port)."""
        foreign = self.code & LOW == OTHERHOST << PKT_TYPE_SHIFT | IN
        return "in-other" if foreign else self.direction

    @property
    def flags(self) -> int:
        """epb_flags, see `pcapng`."""
        return EPB_FLAGS[self.code & LOW]

    def comment(self) -> str:
        """Step of the story, sentence, facts, the story's words, flow/hop."""
        return self._capture.comment_of(self)

    def line(self) -> str:
        """`p1:eth0 out [p1>cbr0] 10.244.1.11>10.96.0.10 ttl64 DF TCP 40001>80 [S] ...`."""
        return self._capture.line_of(self)

    def packet(self) -> Packet:
        """The frame as a Scapy packet."""
        return craft.dissect(self.data)

    def __repr__(self) -> str:
        return f"<{self.flow}/{self.hop} {self.time_ns}ns {self.line()}>"
