"""An ipvlan device: one more namespace behind a device and its one MAC (drivers/net/ipvlan/ipvlan_core.c).

Which child takes a packet is decided by the address of IPv4 or ARP in it, not by a MAC. In mode l2 children send frames of
their own, and broadcasts are copied to all; in l3 and l3s they send packets that the lower device's namespace routes. Who
has an address, and how a packet is routed there, is injected (`Stack`). Must not know routes.
"""

from __future__ import annotations

from typing import Protocol

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel.link.device import OUT, Device
from emu.kernel.link.stacked import MAX_MTU, MIN_MTU, Stacked, forward, is_busy, place, scrub
from emu.trail import Note
from emu.wire import arp
from emu.wire.addr import BROADCAST_MAC, ip4_text
from emu.wire.frame import BROADCAST, ETH_HLEN, ETH_P_ARP, ETH_P_IP, HOST, MULTICAST, Frame

L2, L3, L3S = "l2", "l3", "l3s"
MODES = (L2, L3, L3S)
ALL_HOSTS = bytes.fromhex("01005e000001")


class Stack(Protocol):
    """What the children of one lower device ask of IP."""

    def owns(self, child: Ipvlan, addr: int) -> bool:
        """Is it an address of this child?"""
        ...

    def outbound(self, lower: Device, frame: Frame) -> None:
        """ipvlan_process_outbound: route an IPv4 packet of a child in the lower device's namespace, and send it."""
        ...

    def receive(self, child: Ipvlan, lower: Device, frame: Frame) -> bool:
        """ipvlan_l3_rcv: a packet of the lower device's for a child, in mode l3s. False: it is not taken."""
        ...


class IpvlanPort:
    """What a lower device has once for all its children (struct ipvl_port). All are in the mode of the newest."""

    def __init__(self, lower: Device, stack: Stack) -> None:
        self.lower, self.stack = lower, stack
        self.children: list[Ipvlan] = []
        self.mode = L3

    def set_mode(self, mode: str) -> None:
        """ipvlan_set_port_mode: in l3 and l3s children send no ARP."""
        self.mode = mode
        self.lower.l3_rcv = self.l3_rcv if mode == L3S else None
        for each in self.children:
            each.noarp = mode != L2
            each.forget_neighbours()

    def of(self, frame: Frame, *, source: bool = False) -> Ipvlan | None:
        """ipvlan_addr_lookup: the child, which is up, that has the packet's destination (or source) as an address."""
        addr = _address(frame, source)
        if not addr:
            return None
        return next((each for each in self.children if each.up and self.stack.owns(each, addr)), None)

    def handle_frame(self, frame: Frame, lower: Device) -> None:
        """ipvlan_handle_frame, the lower device's rx_handler."""
        if self.mode == L3S:
            lower.deliver(frame)
            return
        if self.mode == L2 and frame.dmac[0] & 1:
            if frame.smac != lower.mac or self.of(frame, source=True) is None:
                self.broadcast(frame, None)
            lower.deliver(frame)
            return
        child = self.of(frame)
        if child is None:
            lower.deliver(frame)
        else:
            self.note(frame, child)
            child.receive(frame)

    def l3_rcv(self, frame: Frame, lower: Device) -> bool:
        """In mode l3s the lower device's namespace received the packet, and PREROUTING is behind it."""
        child = self.of(frame)
        if child is None:
            return False
        self.note(frame, child)
        return self.stack.receive(child, lower, frame)

    def note(self, frame: Frame, child: Ipvlan) -> None:
        if frame.trail is not None:
            frame.trail.append(Note(f"{place(child)} (ipvlan) has {ip4_text(_address(frame, False))}"))

    def broadcast(self, frame: Frame, sender: Ipvlan | None) -> None:
        """ipvlan_process_multicast: a copy for each other child that listens."""
        waiting = len(self.lower.clock.backlog)
        kind = BROADCAST if frame.dmac == BROADCAST_MAC else MULTICAST
        for child in self.children:
            if child is sender or not child.up or not child.listens(frame.dmac):
                continue
            copy = child.copied(frame)
            if sender is not None:
                forward(copy, child, kind)
            else:
                copy.pkt_type = kind
                child.clock.enqueue((child.receive, copy))
        self.lower.clock.together(waiting)


class Ipvlan(Stacked):
    """A child of `lower`, with its MAC; of another ipvlan's lower device where it is stacked on one."""

    __slots__ = ("groups", "port", "wanted")

    def __init__(
        self, clock: Clock, name: str, lower: Device, stack: Stack, mode: str = L3, mtu: int | None = None
    ) -> None:
        if isinstance(lower, Ipvlan):
            lower = lower.lower
        if mode not in MODES:
            raise InputError("invalid argument", expected=", ".join(MODES))
        if mtu is not None and not MIN_MTU <= mtu <= MAX_MTU:
            raise InputError("invalid argument", expected=f"{MIN_MTU} to {MAX_MTU} bytes")
        super().__init__(clock, name, lower.mac, lower, mtu, "ipvlan")
        self.wanted = mode
        self.groups = {ALL_HOSTS}
        known = next((each for each in lower.uppers if isinstance(each, Ipvlan)), None)
        self.port: IpvlanPort = IpvlanPort(lower, stack) if known is None else known.port

    def stack(self) -> None:
        lower, port = self.lower, self.port
        if not port.children and is_busy(lower):
            raise InputError("device or resource busy", expected="a device that is no bridge port")
        super().stack()
        port.children.append(self)
        port.set_mode(self.wanted)
        lower.rx_handler = port.handle_frame

    def unstack(self) -> None:
        super().unstack()
        self.port.children.remove(self)
        if not self.port.children:
            self.lower.rx_handler = self.lower.l3_rcv = None

    def set_mtu(self, mtu: int) -> None:
        """It may be larger than the lower device's. Raises InputError."""
        if not MIN_MTU <= mtu <= MAX_MTU:
            raise InputError("invalid argument", expected=f"{MIN_MTU} to {MAX_MTU} bytes")
        self.mtu = mtu

    def lower_mtu_changed(self) -> None:
        """ipvlan_adjust_mtu: it always has the lower device's."""
        self.mtu = self.lower.mtu

    def lower_mac_changed(self, old: bytes) -> None:
        self.mac = self.lower.mac
        self.forget_neighbours()

    def listens(self, group: bytes) -> bool:
        return group == BROADCAST_MAC or group in self.groups or self.promisc

    def xmit(self, frame: Frame) -> None:
        """ipvlan_queue_xmit."""
        if frame.partial and not self.offload:
            self.without_offload(frame)
            return
        tap = self.tap
        if tap is not None:
            tap(frame, OUT)
        port, lower = self.port, self.lower
        if port.mode == L2:
            if frame.dmac == frame.smac:
                child = port.of(frame)
                if child is not None:
                    port.note(frame, child)
                    forward(frame, child, HOST)
                else:
                    forward(frame, lower)  # the lower device's own
                return
            if frame.dmac[0] & 1:
                scrub(frame)
                port.broadcast(frame, self)
                frame.pkt_type = BROADCAST if frame.dmac == BROADCAST_MAC else MULTICAST
            lower.transmit(frame)
            return
        child = port.of(frame)
        if child is not None:
            port.note(frame, child)
            forward(frame, child, HOST)
        elif frame.dmac[0] & 1 or frame.ethertype != ETH_P_IP:
            self.drop(self, frame, "NOT_SPECIFIED")
        else:
            if lower.net is not self.net:
                scrub(frame)
            port.stack.outbound(lower, frame)


def _address(frame: Frame, source: bool) -> int:
    """ipvlan_get_L3_hdr and ipvlan_addr_lookup: the address that decides; 0 if the frame has none."""
    if frame.ethertype == ETH_P_IP:
        return frame.src if source else frame.dst
    if frame.ethertype == ETH_P_ARP and len(frame.buf) >= ETH_HLEN + arp.HLEN:
        packet = arp.parse(frame)
        return 0 if packet is None else packet.spa if source else packet.tpa
    return 0
