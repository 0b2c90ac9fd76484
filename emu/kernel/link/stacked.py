"""Devices on top of another one (vlan, macvlan, ipvlan): what they share, and the ways between the two (net/core/dev.c).

The lower device may be in another namespace. A stacked device has a carrier while the lower one has, and goes with it. Must not know IP, or what a stacked device takes.
"""

from __future__ import annotations

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.wire.addr import BROADCAST_MAC
from emu.wire.frame import BROADCAST, HOST, MULTICAST, OTHERHOST, Frame

ETH_HEADER_AND_VLAN = 18
MIN_MTU, MAX_MTU = 68, 65535


class Stacked(Device):
    """A device that uses `lower`. `mtu` None: the lower device's. Raises InputError whose `what` is the errno's text in lower
    case."""

    __slots__ = ("lower",)

    def __init__(self, clock: Clock, name: str, mac: bytes, lower: Device, mtu: int | None, kind: str) -> None:
        if lower.loopback:
            raise InputError(self.lo_error, expected="an Ethernet device below")
        super().__init__(clock, name, mac, lower.mtu if mtu is None else mtu, kind)
        self.lower = lower
        self.up, self.carrier, self.offload = False, lower.carrier, lower.offload

    mtu_error = "invalid argument"
    lo_error = "invalid argument"
    min_mtu = MIN_MTU

    def stack(self) -> None:
        """Begin to use the lower device. Raises InputError."""
        self.lower.uppers.append(self)

    def unstack(self) -> None:
        """Use the lower device no more."""
        self.lower.uppers.remove(self)

    def set_mtu(self, mtu: int) -> None:
        """Raises InputError for more than the lower device's."""
        if not self.min_mtu <= mtu <= self.lower.mtu:
            raise InputError(self.mtu_error, expected=f"{self.min_mtu} to {self.lower.mtu} bytes")
        super().set_mtu(mtu)

    def check_open(self) -> None:
        """May it be set up (ndo_open)? Raises InputError."""

    def lower_mtu_changed(self) -> None:
        if self.mtu > self.lower.mtu:
            self.set_mtu(self.lower.mtu)

    def lower_mac_changed(self, old: bytes) -> None:
        """The lower device has another address than `old` by now."""

    def copied(self, frame: Frame) -> Frame:
        """One more copy of a frame, counted by the lower device's namespace."""
        net = self.lower.net or self.net
        if net is not None:
            net.copied += 1
        return frame.clone()


def place(device: Device) -> str:
    """`node-1/eth0`, for people."""
    return device.name if device.net is None else f"{device.net.name}/{device.name}"


def is_busy(device: Device) -> bool:
    """netdev_is_rx_handler_busy: does something else take the frames of the device?"""
    return device.rx_handler is not None


def scrub(frame: Frame) -> None:
    """skb_scrub_packet: what one namespace knew about a frame is not known in the next."""
    frame.mark = frame.ctinfo = frame.ctdir = frame.frag_max_size = 0
    frame.ct = frame.route = frame.outdev = frame.physin = frame.physout = frame.sock = None
    frame.bridged_dnat = frame.ignore_df = False


def type_of(device: Device, dmac: bytes) -> int:
    """eth_type_trans: for whom a frame is that a device received."""
    if dmac == device.mac:
        return HOST
    if dmac[0] & 1:
        return BROADCAST if dmac == BROADCAST_MAC else MULTICAST
    return OTHERHOST


def forward(frame: Frame, device: Device, pkt_type: int | None = None) -> None:
    """dev_forward_skb: hand a frame to `device` as one that it received. One that is too long, or for a device that is down, is
    dropped. `pkt_type` None: that of its destination."""
    if not device.up:
        device.drop(device, frame, "DEV_READY")
        return
    if len(frame.buf) > device.mtu + ETH_HEADER_AND_VLAN and not frame.gso_size:
        device.drop(device, frame, "PKT_TOO_BIG")
        return
    scrub(frame)
    frame.pkt_type = type_of(device, frame.dmac) if pkt_type is None else pkt_type
    device.clock.enqueue((device.receive, frame))
