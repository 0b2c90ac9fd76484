"""A frame as the words of its comment see it: where it was, whose addresses it has, and what happened to it. Must not know the words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emu.capture.blanks import address_text
from emu.capture.summary import Name, between, phrase
from emu.wire.summary import Summary


@dataclass(frozen=True, slots=True)
class View:
    """A frame at one interface. `owner` is the namespace, `bridge` the bridge that `device` is a port of, or "".

    `kind` is the device's, `direction` a tap's; `foreign`: it came in for another's MAC. `name` gives the name of an
    address, or the address as text. `dmac` is the destination, 6 bytes.
    """

    owner: str
    device: str
    kind: str
    bridge: str
    direction: int
    foreign: bool
    dmac: bytes
    packet: Summary
    trail: tuple[Any, ...]
    name: Name

    def has(self, kind: type) -> bool:
        return any(entry.__class__ is kind for entry in self.trail)

    @property
    def phrase(self) -> str:
        return phrase(self.packet, self.name)

    @property
    def between(self) -> str:
        """The ends of the packet; the owner, as sender or receiver, is not named twice."""
        packet, name = self.packet, self.name
        if packet.kind != "IPv4" or packet.quote or packet.carried or packet.src == packet.dst:
            return between(packet, name)
        if name(packet.src) == self.owner:
            return f" to {name(packet.dst)}" + (f":{packet.dport}" if packet.has_ports else "")
        if name(packet.dst) == self.owner:
            return f" from {name(packet.src)}" + (f" for port {packet.dport}" if packet.has_ports else "")
        return between(packet, name)

    def where(self, half: tuple[int, int]) -> str:
        """An (address, port) of NAT as text; without the port if it is 0."""
        return f"{address_text(half[0])}:{half[1]}" if self.packet.has_ports and half[1] else address_text(half[0])

    def called(self, half: tuple[int, int]) -> str:
        """The same with the address's name, if it has one."""
        known, text = self.name(half[0]), self.where(half)
        return text if known == address_text(half[0]) else f"{known} ({text})"
