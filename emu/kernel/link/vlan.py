"""A VLAN device: the frames of one VLAN of the device below it (net/8021q/vlan_dev.c, vlan_core.c; IEEE 802.1Q).

What it sends leaves the lower device with a tag; what comes in there with the tag is its own, without it. A frame whose
VLAN has no device is for another host. Must not know IP.
"""

from __future__ import annotations

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel.link.device import OUT, Device
from emu.kernel.link.stacked import Stacked, place
from emu.trail import Note
from emu.wire.frame import HOST, OTHERHOST, Frame
from emu.wire.rewrite import tag, untag

LAST_VID = 4094


class Vlan(Stacked):
    """VLAN `vid` (0 to 4094) of `lower`. `mac` None: the lower device's, which it then follows."""

    __slots__ = ("vid",)
    mtu_error = "numerical result out of range"
    lo_error = "operation not supported"
    min_mtu = 0

    def __init__(
        self, clock: Clock, name: str, lower: Device, vid: int, mac: bytes | None = None, mtu: int | None = None
    ) -> None:
        if not 0 <= vid <= LAST_VID:
            raise InputError("numerical result out of range", expected=f"a VLAN of 0 to {LAST_VID}")
        if mtu is not None and mtu > lower.mtu:
            raise InputError("invalid argument", expected=f"at most {lower.mtu}, the MTU of {lower.name}")
        super().__init__(clock, name, mac or lower.mac, lower, mtu, "vlan")
        self.vid = vid

    def stack(self) -> None:
        lower = self.lower
        if lower.vlans is not None and self.vid in lower.vlans:
            raise InputError("file exists", expected=f"a VLAN that no device of {lower.name} has")
        super().stack()
        lower.vlans = {**(lower.vlans or {}), self.vid: self.handle_frame}

    def unstack(self) -> None:
        super().unstack()
        left = {vid: taker for vid, taker in (self.lower.vlans or {}).items() if vid != self.vid}
        self.lower.vlans = left or None

    def check_open(self) -> None:
        if not self.lower.up:
            raise InputError("network is down", expected=f"{self.lower.name} up")

    def lower_mac_changed(self, old: bytes) -> None:
        """vlan_sync_address: it bears the lower device's address as long as both were the same."""
        if self.mac == old:
            self.mac = self.lower.mac
            self.forget_neighbours()

    def handle_frame(self, frame: Frame, lower: Device) -> None:
        """vlan_do_receive."""
        if not self.up:
            self.drop(self, frame, "DEV_READY")
            return
        if frame.trail is not None:
            frame.trail.append(Note(f"{place(self)} takes the frame, without the tag of VLAN {self.vid} (802.1Q)"))
        untag(frame)
        if frame.pkt_type == OTHERHOST and frame.dmac == self.mac:
            frame.pkt_type = HOST
        self.receive(frame)

    def xmit(self, frame: Frame) -> None:
        """vlan_dev_hard_start_xmit."""
        if frame.partial and not self.offload:
            self.without_offload(frame)
            return
        tap = self.tap
        if tap is not None:
            tap(frame, OUT)
        if frame.trail is not None:
            frame.trail.append(Note(f"{place(self)} puts the tag of VLAN {self.vid} (802.1Q) on the frame"))
        tag(frame, self.vid)
        self.lower.transmit(frame)
