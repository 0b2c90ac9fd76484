"""lo: what is sent comes back in (drivers/net/loopback.c).

The frame keeps its route, connection and mark, and captures show it once, coming in, with an
all-zero Ethernet header. Must not know IP.
"""

from __future__ import annotations

from emu.clock import Clock
from emu.kernel.link.device import Device
from emu.wire.addr import ZERO_MAC
from emu.wire.frame import HOST, Frame

LOOPBACK_MTU = 65536


class Loopback(Device):
    __slots__ = ()
    loopback = True

    def __init__(self, clock: Clock, name: str = "lo") -> None:
        super().__init__(clock, name, ZERO_MAC, LOOPBACK_MTU, kind="loopback")
        self.noarp = True

    def xmit(self, frame: Frame) -> None:
        frame.pkt_type = HOST
        frame.outdev = frame.sock = None
        self.clock.enqueue((self.receive, frame))
