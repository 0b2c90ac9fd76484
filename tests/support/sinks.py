"""A device whose medium is a list: what a namespace or a bridge sends is kept with its time, nothing answers by itself."""

from __future__ import annotations

from emu.clock import Clock
from emu.kernel.link.device import OUT, Device
from emu.wire.addr import BROADCAST_MAC
from emu.wire.frame import BROADCAST, HOST, MULTICAST, OTHERHOST, Frame


def pkt_type(dmac: bytes, mac: bytes) -> int:
    """What a frame to `dmac` is to a device with the address `mac` (eth_type_trans)."""
    if dmac == mac:
        return HOST
    if dmac == BROADCAST_MAC:
        return BROADCAST
    return MULTICAST if dmac[0] & 1 else OTHERHOST


class Sink(Device):
    """`sent` lists (time in ns, frame) of everything transmitted."""

    __slots__ = ("sent",)

    def __init__(self, clock: Clock, name: str, mac: bytes, mtu: int = 1500) -> None:
        super().__init__(clock, name, mac, mtu, kind="sink")
        self.sent: list[tuple[int, Frame]] = []

    def xmit(self, frame: Frame) -> None:
        if self.tap is not None:
            self.tap(frame, OUT)
        self.sent.append((self.clock.now, frame))

    def take(self) -> list[Frame]:
        """What was sent since the last call."""
        frames = [frame for _, frame in self.sent]
        self.sent.clear()
        return frames

    def bring(self, data: bytes) -> Frame:
        """Bytes come in, as from the cable."""
        frame = Frame.parse(data)
        frame.pkt_type = pkt_type(frame.dmac, self.mac)
        if self.net is not None:
            self.net.born += 1
        self.receive(frame)
        return frame
