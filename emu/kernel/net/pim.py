"""PIM on the way in (net/ipv4/ipmr.c, pim_rcv): dropped without an answer, as the host routes no multicast. Must not know groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.kernel.net.drop import drop
from emu.wire.frame import Frame

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns


def receive(frame: Frame, net: Netns) -> None:
    """pim_rcv: a register message is for a router of multicast alone, and no other type is read."""
    drop(net, frame, "NOT_SPECIFIED")
