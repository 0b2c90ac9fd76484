"""The edge of a namespace that is looked at by itself: every next hop of its interfaces answers ARP. Must not know rules or packets."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from emu.kernel.net.neighbour import REACHABLE, Neighbour
from emu.kernel.net.netns import Netns

FAR_MAC, NEAR_MAC = b"\x02\xee\0\0\0\x01", b"\x02\xee\0\0\0\x02"  # of every next hop; of a packet that comes in


def answer_arp(net: Netns, failed: Container[tuple[str, int]] = ()) -> None:
    """Let every next hop of the namespace be known at once; those of `failed` (device, address) do not answer."""

    def solicit(entry: Neighbour, waiting: object) -> None:
        if (entry.device.name, entry.addr) not in failed:
            entry.update(FAR_MAC, REACHABLE)

    net.ipv4.ops = replace(net.ipv4.ops, solicit=solicit)
