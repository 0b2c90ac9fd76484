"""A dummy device: what is sent there is gone, and nothing comes in (drivers/net/dummy.c).

It has a MAC and no neighbours (IFF_NOARP), always a carrier, and no limit of its own for the MTU. Its addresses are as local
as any others. Must not know IP.
"""

from __future__ import annotations

from emu.clock import Clock
from emu.kernel.link.device import OUT, Device
from emu.wire.frame import Frame


class Dummy(Device):
    """A device without a medium. Raises InputError for a name that Linux refuses. `mac` is 6 bytes, `mtu` in bytes."""

    __slots__ = ()

    def __init__(self, clock: Clock, name: str, mac: bytes, mtu: int = 1500) -> None:
        super().__init__(clock, name, mac, mtu, kind="dummy")
        self.noarp = True
        self.offload = True  # dummy_setup: it takes packets whose checksum and cutting are left to it

    def xmit(self, frame: Frame) -> None:
        """dummy_xmit: the transmit tap sees the frame; then it is freed, which is no drop."""
        tap = self.tap
        if tap is not None:
            tap(frame, OUT)
        self.net.absorbed += 1
