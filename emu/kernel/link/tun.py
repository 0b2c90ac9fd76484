"""A tun device: a program is at its other end, which reads what the host sends and writes what comes (drivers/net/tun.c).

It carries IP packets without a link layer, so that it has no MAC and no neighbours. Must not know the program.
"""

from __future__ import annotations

from collections.abc import Callable

from emu.clock import Clock
from emu.kernel.link.device import OUT, Device
from emu.wire.frame import HOST, Frame


class Tun(Device):
    """`read(data)` gets each packet that the host sends, with zero MACs before it. `offload`: bursts come whole (TUN_F_TSO4)."""

    __slots__ = ("read",)

    def __init__(self, clock: Clock, name: str, read: Callable[[bytes], None], mtu: int = 1500) -> None:
        super().__init__(clock, name, mtu=mtu, kind="tun")
        self.noarp = True
        self.read = read

    def xmit(self, frame: Frame) -> None:
        if frame.partial and not self.offload:
            self.without_offload(frame)
            return
        if self.tap is not None:
            self.tap(frame, OUT)
        self.read(bytes(frame.buf))

    def write(self, data: bytes) -> None:
        """A packet from the program, with 14 bytes before it (tun_get_user). It takes a hop, as on every link."""
        frame = Frame.parse(data)
        frame.pkt_type = HOST
        self.clock.packets = frame.packet = self.clock.packets + 1
        frame.trail = [] if self.net.tracing else None
        self.clock.enqueue((self.receive, frame))
