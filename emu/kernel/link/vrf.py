"""A VRF: devices with a routing table of their own (drivers/net/vrf.c).

The devices below it are its slaves. What they receive is looked up in its table, and has the VRF's device as the one that it
came in on; what is sent to them from here passes its device, too. Must not know routes or rules.
"""

from __future__ import annotations

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel.link.device import OUT, Device
from emu.wire.addr import ZERO_MAC
from emu.wire.frame import Frame
from emu.wire.rewrite import set_ethernet

VRF_MTU = 65575  # IP6_MAX_MTU
IP_TYPE = b"\x08\x00"


class Vrf(Device):
    """`table` is the number of its routing table. Raises InputError for 0."""

    __slots__ = ("slaves", "table")

    def __init__(self, clock: Clock, name: str, mac: bytes, table: int) -> None:
        if not table:
            raise InputError("invalid argument", expected="the number of a table")
        super().__init__(clock, name, mac, VRF_MTU, kind="vrf")
        self.table = table
        self.slaves: list[Device] = []
        self.noarp = True
        self.up = False

    def tapped(self, frame: Frame, *, own: bool) -> None:
        """vrf_finish_direct, vrf_ip_rcv: what taps see of a packet, both ways as one that is sent. `own`: it was made here, and
        its header has the VRF's MAC as the source alone."""
        tap = self.tap
        if tap is None:
            return
        if own:
            set_ethernet(frame, ZERO_MAC + self.mac + IP_TYPE, ZERO_MAC, self.mac)
        tap(frame, OUT)

    def xmit(self, frame: Frame) -> None:
        """vrf_xmit. No socket of emu is bound to a device, so that nothing is sent here."""
        self.drop(self, frame, "NOT_SPECIFIED")
