"""IGMP on the way in (net/ipv4/igmp.c, igmp_rcv): taken, never answered, as no group is joined. Must not know groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.trail import Delivered
from emu.wire.frame import Frame

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns


def receive(frame: Frame, net: Netns) -> None:
    """igmp_rcv."""
    net.delivered += 1
    for listener in net.delivery_listeners:
        listener(frame, Delivered(net.name, "IGMP"))
