"""An interface whose far end is not modelled: what it sends is kept, and nothing answers by itself. Must not know who reads it."""

from __future__ import annotations

from emu.clock import Clock
from emu.kernel.link.device import OUT, Device
from emu.wire.frame import Frame

Sent = list[tuple[int, Device, Frame]]


class Edge(Device):
    """`sent` has the time (ns), the interface and the frame of everything that was sent; several interfaces may share one."""

    __slots__ = ("sent",)

    def __init__(self, clock: Clock, name: str, mac: bytes, mtu: int, sent: Sent, kind: str = "device") -> None:
        super().__init__(clock, name, mac, mtu, kind)
        self.sent = sent

    def xmit(self, frame: Frame) -> None:
        if self.tap is not None:
            self.tap(frame, OUT)
        self.sent.append((self.clock.now, self, frame))
