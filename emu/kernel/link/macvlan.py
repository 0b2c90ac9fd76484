"""A macvlan device: one more MAC behind a device, for a namespace of its own (drivers/net/macvlan.c).

The lower device's frames go to the child whose MAC they name; broadcasts are copied to all. In bridge mode children reach
each other, in private and vepa mode only by the wire, and a passthru child takes the device alone. The lower device's own stack
and the children never reach each other: what one of them sends goes out. Must not know IP.
"""

from __future__ import annotations

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel.link.device import OUT, Device
from emu.kernel.link.stacked import Stacked, forward, is_busy, place
from emu.trail import Note
from emu.wire.addr import BROADCAST_MAC, mac_text
from emu.wire.frame import BROADCAST, HOST, LOOPBACK, MULTICAST, Frame

BRIDGE, PRIVATE, VEPA, PASSTHRU = "bridge", "private", "vepa", "passthru"
MODES = (BRIDGE, PRIVATE, VEPA, PASSTHRU)
ALL_HOSTS = bytes.fromhex("01005e000001")  # the group that each host with IPv4 is in
_GOLDEN_64, _M64 = 0x61C8864680B583EB, (1 << 64) - 1


def _hash(mac: bytes) -> int:
    """macvlan_eth_hash: the order in which copies are made."""
    value = int.from_bytes(mac, "little") << 16
    return (value * _GOLDEN_64 & _M64) >> 56


class MacvlanPort:
    """What a lower device has once for all its children (struct macvlan_port). `children` newest first."""

    def __init__(self, lower: Device) -> None:
        self.lower = lower
        self.children: list[Macvlan] = []
        self.passthru = False

    def find(self, mac: bytes) -> Macvlan | None:
        """macvlan_hash_lookup: a child that is up."""
        return next((each for each in self.children if each.up and each.mac == mac), None)

    def is_taken(self, mac: bytes, but: Macvlan | None = None) -> bool:
        """macvlan_addr_busy."""
        return mac == self.lower.mac or any(each.up and each.mac == mac and each is not but for each in self.children)

    def handle_frame(self, frame: Frame, lower: Device) -> None:
        """macvlan_handle_frame, the lower device's rx_handler."""
        if frame.pkt_type == LOOPBACK:
            lower.deliver(frame)
            return
        if frame.dmac[0] & 1:
            source = self.find(frame.smac)
            if source is not None and source.mode not in (VEPA, BRIDGE):
                source.take_copy(frame)  # a switch sent back what the child had sent
                return
            modes: tuple[str, ...] = MODES
            if source is not None:  # children in bridge mode saw it when it was sent
                modes = (VEPA, BRIDGE) if source.mode == VEPA else (VEPA,)
            self.broadcast(frame, source, modes)
            lower.deliver(frame)
            return
        child = self.children[0] if self.passthru and self.children else self.find(frame.dmac)
        if child is None:
            lower.deliver(frame)
        elif not child.up:
            child.drop(child, frame, "DEV_READY")
        else:
            if frame.trail is not None:
                frame.trail.append(
                    Note(f"{place(child)} (macvlan) takes what {place(lower)} receives for {mac_text(child.mac)}")
                )
            frame.pkt_type = HOST
            child.receive(frame)

    def broadcast(self, frame: Frame, source: Macvlan | None, modes: tuple[str, ...], *, local: bool = False) -> None:
        """macvlan_broadcast: a copy for each other child in one of the modes that listens to the group. `local`: a child sent
        it."""
        waiting = len(self.lower.clock.backlog)
        for child in sorted(self.children, key=lambda each: _hash(each.mac)):
            if child.up and child is not source and child.mode in modes and child.listens(frame.dmac):
                if local:
                    forward(child.copied(frame), child)
                else:
                    child.take_copy(child.copied(frame))
        self.lower.clock.together(waiting)


class Macvlan(Stacked):
    """A child of `lower`; of another macvlan's lower device where it is stacked on one. `groups` are the multicast MACs that
    it takes. A passthru child bears the lower device's MAC."""

    __slots__ = ("groups", "mode", "port")

    def __init__(
        self, clock: Clock, name: str, lower: Device, mac: bytes, mode: str = BRIDGE, mtu: int | None = None
    ) -> None:
        if isinstance(lower, Macvlan):
            lower = lower.lower
        if mode not in MODES:
            raise InputError(f"macvlan mode {mode!r} is not modelled", expected=", ".join(MODES))
        if mtu is not None and mtu > lower.mtu:
            raise InputError("invalid argument", expected=f"at most {lower.mtu}, the MTU of {lower.name}")
        super().__init__(clock, name, lower.mac if mode == PASSTHRU else mac, lower, mtu, "macvlan")
        self.mode = mode
        self.groups = {ALL_HOSTS}
        known = next((each for each in lower.uppers if isinstance(each, Macvlan)), None)
        self.port: MacvlanPort = MacvlanPort(lower) if known is None else known.port

    def stack(self) -> None:
        lower, port = self.lower, self.port
        if not port.children and is_busy(lower):
            raise InputError("device or resource busy", expected="a device that is no bridge port")
        if port.passthru or (self.mode == PASSTHRU and port.children):
            raise InputError("invalid argument", expected="a passthru child that is alone")
        super().stack()
        port.children.insert(0, self)
        port.passthru = self.mode == PASSTHRU
        lower.rx_handler = port.handle_frame

    def unstack(self) -> None:
        super().unstack()
        self.port.children.remove(self)
        if not self.port.children:
            self.lower.rx_handler = None

    def check_open(self) -> None:
        if not self.port.passthru and self.port.is_taken(self.mac, self):
            raise InputError("address already in use", expected="a MAC that no other child has")

    def set_address(self, mac: bytes) -> None:
        """macvlan_set_mac_address. Raises InputError."""
        if self.up and not self.port.passthru and self.port.is_taken(mac, self):
            raise InputError("address already in use", expected="a MAC that no other child has")
        self.mac = mac

    def lower_mac_changed(self, old: bytes) -> None:
        if self.port.passthru:
            self.set_address(self.lower.mac)
            self.forget_neighbours()

    def listens(self, group: bytes) -> bool:
        """Is a frame to this broadcast or multicast MAC for the child, too?"""
        return group == BROADCAST_MAC or group in self.groups or self.promisc

    def take_copy(self, frame: Frame) -> None:
        """macvlan_broadcast_one, and the backlog."""
        frame.pkt_type = BROADCAST if frame.dmac == BROADCAST_MAC else MULTICAST
        self.clock.enqueue((self.receive, frame))

    def xmit(self, frame: Frame) -> None:
        """macvlan_queue_xmit."""
        if frame.partial and not self.offload:
            self.without_offload(frame)
            return
        tap = self.tap
        if tap is not None:
            tap(frame, OUT)
        if self.mode == BRIDGE:
            if frame.dmac[0] & 1:
                self.port.broadcast(frame, self, (BRIDGE,), local=True)
            else:
                other = self.port.find(frame.dmac)
                if other is not None and other.mode == BRIDGE:
                    forward(frame, self.lower)  # whose taps see it come in; then it is the other child's
                    return
        self.lower.transmit(frame)
