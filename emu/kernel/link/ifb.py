"""An intermediate functional block: where what comes in on another device queues, and then goes on there (drivers/net/ifb.c).

A filter at the other device's ingress sends frames here (`act_mirred` with redirect); they leave by this device's queueing
discipline, and go on where they were. What is sent here otherwise is dropped. Must not know what it delays.
"""

from __future__ import annotations

from emu.clock import Clock
from emu.kernel.link.device import OUT, Device
from emu.wire.frame import Frame


class Ifb(Device):
    """A device without a cable. `mac` is 6 bytes, `mtu` in bytes."""

    __slots__ = ()

    def __init__(self, clock: Clock, name: str, mac: bytes, mtu: int = 1500) -> None:
        super().__init__(clock, name, mac, mtu, kind="ifb")
        self.noarp = self.offload = True

    def redirect(self, frame: Frame, device: Device) -> None:
        """tcf_mirred_act: a frame that came in on `device`."""
        if not self.attached:  # the filter is there still, and this device is gone
            device.drop(device, frame, "TC_INGRESS")
            return
        frame.indev = device
        self.transmit(frame)

    def xmit(self, frame: Frame) -> None:
        """ifb_xmit and ifb_ri_tasklet: the taps see it sent; then the device that it came in on goes on with it."""
        tap = self.tap
        if tap is not None:
            tap(frame, OUT)
        device: Device | None = frame.indev
        if device is None or not device.attached:
            self.drop(self, frame, "NOT_SPECIFIED")
        else:
            device.classified(frame)
