"""UDP-Lite without sockets: what a host answers to it (net/ipv4/udplite.c). Must not know applications.

No program of emu opens a UDP-Lite socket, so every right packet is for a closed port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.kernel.net import icmp
from emu.kernel.net.drop import drop
from emu.wire import icmp as wire_icmp
from emu.wire import udplite as wire
from emu.wire.frame import Frame

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns


def receive(frame: Frame, net: Netns) -> None:
    """udplite_rcv: a wrong or missing checksum is dropped, all else is answered with port unreachable."""
    wrong = wire.problem(frame)
    if wrong:
        drop(net, frame, wrong)
        return
    icmp.send(net, frame, wire_icmp.DEST_UNREACH, wire_icmp.PORT_UNREACH)
    drop(net, frame, "NO_SOCKET")
