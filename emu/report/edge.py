"""The edge of a namespace that is looked at by itself: its interfaces, whose far ends are not modelled.

What leaves is kept, and every next hop answers ARP. Must not know rules or packets.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from emu.clock import Clock
from emu.kernel.link.device import Device
from emu.kernel.net.neighbour import REACHABLE, Neighbour
from emu.kernel.net.netns import Netns
from emu.wire.frame import Frame

FAR_MAC, NEAR_MAC = b"\x02\xee\0\0\0\x01", b"\x02\xee\0\0\0\x02"  # of every next hop; of a packet that comes in
Sent = list[tuple[Device, Frame]]


class Edge(Device):
    """An interface of the namespace: what it sends is kept in `sent`."""

    __slots__ = ("sent",)

    def __init__(self, clock: Clock, name: str, address: bytes, mtu: int, sent: Sent) -> None:
        super().__init__(clock, name, address, mtu)
        self.sent = sent

    def xmit(self, frame: Frame) -> None:
        self.sent.append((self, frame))


def answer_arp(net: Netns, failed: Container[tuple[str, int]] = ()) -> None:
    """Let every next hop of the namespace be known at once; those of `failed` (device, address) do not answer."""

    def solicit(entry: Neighbour, waiting: object) -> None:
        if (entry.device.name, entry.addr) not in failed:
            entry.update(FAR_MAC, REACHABLE)

    net.ipv4.ops = replace(net.ipv4.ops, solicit=solicit)
