"""IPv6 on the way in (net/ipv6/ip6_input.c), in a host where IPv6 is off. Must not know what a packet carries."""

from __future__ import annotations

from emu.kernel.link.device import Device
from emu.kernel.net.drop import drop
from emu.wire.frame import OTHERHOST, Frame


def receive(frame: Frame, device: Device) -> None:
    """ip6_rcv_core with disable_ipv6."""
    drop(device.net, frame, "OTHERHOST" if frame.pkt_type == OTHERHOST else "IPV6DISABLED")
