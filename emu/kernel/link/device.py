"""A network device: what every interface of a namespace has, and the two ways of a frame through it.

`transmit` is the kernel's dev_queue_xmit, `receive` its netif_receive_skb; taps sit at both. What a
received frame means is injected from above (`rx_handler` by a bridge, `packet_types` by the
namespace). Must not know IP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel.link.netem import Netem
from emu.kernel.link.tbf import Qdisc
from emu.wire.addr import ZERO_MAC
from emu.wire.frame import AF_INET, ETH_HLEN, OTHERHOST, Frame
from emu.wire.llc import is_llc
from emu.wire.offload import segments
from emu.wire.rewrite import untag
from emu.wire.vlan import ETH_P_8021AD, ETH_P_8021Q, TAG_NEEDS, VID_MASK, tci_of

IN, OUT = 0, 1
ETH_P_TAGS = (ETH_P_8021Q, ETH_P_8021AD)

Tap = Callable[[Frame, int], None]
RxHandler = Callable[[Frame, "Device"], None]
TxFilter = Callable[[Frame, "Device"], bool]  # whether the frame goes on; else the filter has ended it
# those of all devices that no neighbour was made for, where IPv4 is the only family: most never have one. Never changed.
NO_NEIGHBOURS: dict[int, dict[int, Any]] = {AF_INET: {}}


IFNAMSIZ = 16
# bytes that isspace() of the kernel counts, what stands between a path's and an alias's parts, and what makes a pattern
_NOT_IN_NAMES = frozenset(b" \t\n\v\f\r\xa0/:%\0")
# dev_valid_name, and the names that the sysctls of all devices bear (devinet_sysctl_register)
_NOT_NAMES = frozenset(("", ".", "..", "all", "default"))


def check_name(name: str) -> None:
    """Is it what Linux takes for a device's name? Raises InputError."""
    data = name.encode(errors="surrogatepass")
    if name in _NOT_NAMES or len(data) >= IFNAMSIZ or not _NOT_IN_NAMES.isdisjoint(data):
        short = name if len(name) <= 40 else f"{name[:40]}..."
        raise InputError(
            f"{short!r} is not a device's name",
            expected="1 to 15 bytes without a blank, /, : and %; not ., .., all or default",
        )


def ignore_drop(device: Device, frame: Frame, reason: str) -> None:
    """The drop door of a device that no namespace owns."""


class Device:
    """One interface. Raises InputError for a name that Linux refuses. `mac` is 6 bytes, `mtu` in bytes of L3, `up` the administrative state, `carrier` the cable's.

    `tap(frame, direction)` must copy what it wants at once. `drop(device, frame, reason)` is the
    namespace's drop door; `net` the namespace itself and `neigh` its neighbours on this device,
    both opaque here. `changed_ns`: when it was made, or `up` or `carrier` last changed. `noarp`: no neighbours, as on lo and on tunnels without L2 addresses; `loopback`: it is lo. `offload`: it takes packets
    whose checksum or cutting is left to it, and as a virtual link leaves them as they are (`ethtool -K tx on tso on`).
    """

    __slots__ = (
        "_promisc", "carrier", "changed_ns", "clock", "drop", "egress", "header", "ifindex", "ingress", "kind", "l3_master", "l3_rcv", "mac", "master", "mtu", "name", "neigh", "net",
        "netem", "noarp", "offload", "packet_types", "qdisc", "rx_handler", "tap", "up", "uppers", "vlans",
    )  # fmt: skip
    loopback = False  # IFF_LOOPBACK

    def __init__(self, clock: Clock, name: str, mac: bytes = ZERO_MAC, mtu: int = 1500, kind: str = "device") -> None:
        check_name(name)
        self.clock = clock
        self.name = name
        self.kind = kind
        self.mac = mac
        self.mtu = mtu
        self.ifindex = 0
        self.up = self.carrier = True
        self.changed_ns = clock.now
        self.noarp = False
        self.offload = False
        self._promisc = 0
        self.tap: Tap | None = None
        self.rx_handler: RxHandler | None = None
        self.packet_types: dict[int, RxHandler] = {}
        self.netem: Netem | None = None
        self.qdisc: Qdisc | None = None  # the discipline at its way out, before netem
        self.ingress: RxHandler | None = None  # the filter of the qdisc ffff:, which takes every frame that comes in
        self.egress: TxFilter | None = None  # the filter of clsact at its way out, before the discipline
        self.master: Any = None
        self.l3_master: Any = None  # the VRF that it is in
        self.l3_rcv: Callable[[Frame, Device], bool] | None = (
            None  # l3mdev_ip_rcv: does another device take the packet?
        )
        self.uppers: list[Any] = []  # the devices that are stacked on this one (see stacked.py)
        self.vlans: dict[int, RxHandler] | None = None  # who takes the frames of a VLAN (see vlan.py)
        self.net: Any = None
        self.neigh = NO_NEIGHBOURS  # by address family (AF_*), then by address
        self.drop: Callable[[Device, Frame, str], None] = ignore_drop

    @property
    def attached(self) -> bool:
        """Is it in a namespace still?"""
        return self.net is not None and self.net.devices.get(self.name) is self

    @property
    def promisc(self) -> bool:
        return self._promisc > 0

    def set_promisc(self, on: bool) -> None:
        """Count one more (or less) user that takes every frame (dev_set_promiscuity)."""
        self._promisc = max(0, self._promisc + (1 if on else -1))

    def set_mtu(self, mtu: int) -> None:
        """Change the MTU. The bridge that it is a port of takes the smallest of its ports' (br_mtu_auto_adjust)."""
        self.mtu = mtu
        if self.net is not None:
            self.net.mtus_set += 1
        if self.master is not None:
            self.master.bridge.adjust_mtu()

    def transmit(self, frame: Frame) -> None:
        """Send a frame (dev_queue_xmit). One without a whole Ethernet header is dropped, as br_dev_xmit does."""
        if self.egress is not None and not self.egress(frame, self):
            return
        if not self.up:
            self.drop(self, frame, "DEV_READY")
        elif not self.carrier:
            self.drop(self, frame, "QDISC_DROP")  # the noop qdisc of a link without carrier
        elif not frame.ethertype and len(frame.buf) < ETH_HLEN:  # a short one has no type
            self.drop(self, frame, "PKT_TOO_SMALL")
        elif self.qdisc is not None:
            self.qdisc.enqueue(frame, self)
        elif self.netem is not None:
            self.netem.enqueue(frame, self)
        else:
            self.xmit(frame)

    def leave(self, frame: Frame) -> None:
        """Send a frame that its queueing discipline let go."""
        if self.netem is not None:
            self.netem.enqueue(frame, self)
        else:
            self.xmit(frame)

    def xmit(self, frame: Frame) -> None:
        """Hand a frame to the medium, past the queue: the driver's part, and where the transmit tap sits."""
        raise NotImplementedError(f"a {self.kind} has no medium")

    def own_neighbours(self, family: int) -> dict[int, Any]:
        """Those of a family, to put an entry there."""
        if self.neigh is NO_NEIGHBOURS:
            self.neigh = {number: {} for number in NO_NEIGHBOURS}
        return self.neigh[family]

    def forget_neighbours(self, family: int = 0, *, permanent: bool = True) -> None:
        """Drop the neighbour entries of one family (AF_*) or all (0), and what waits for them (neigh_flush_dev); without
        `permanent` those that were set by hand stay."""
        for number, entries in self.neigh.items():  # one that has none changes nothing here
            if family and number != family:
                continue
            for entry in list(entries.values()):
                if permanent or entry.state != "PERMANENT":
                    entry.forget()
                    del entries[entry.addr]

    def without_offload(self, frame: Frame) -> None:
        """validate_xmit_skb: do in software what this device does not do."""
        pieces = segments(frame)
        self.net.copied += len(pieces) - 1
        for piece in pieces:
            self.xmit(piece)

    def receive(self, frame: Frame) -> None:
        """A frame came in on this device, its `pkt_type` set (netif_receive_skb)."""
        if not self.up:
            self.drop(self, frame, "DEV_READY")
            return
        frame.indev = self
        tap = self.tap
        if tap is not None:
            tap(frame, IN)
        if self.ingress is not None:
            self.ingress(frame, self)
            return
        if self.vlans is not None:
            self.classified(frame)
            return
        # the end of `classified`, without its call: each frame of each device passes here
        handler = self.rx_handler or self.packet_types.get(frame.ethertype)
        if handler is not None:
            handler(frame, self)
        else:
            self._deliver_tagged(frame)

    def classified(self, frame: Frame) -> None:
        """A frame that taps and the ingress filter have seen goes on: to the device of its VLAN, or as `receive` has it."""
        frame.indev = self
        if self.vlans is not None and frame.ethertype == ETH_P_8021Q and len(frame.buf) >= ETH_HLEN + TAG_NEEDS:
            taken = self.vlans.get(tci_of(frame) & VID_MASK)
            if taken is not None:  # vlan_do_receive comes before a bridge
                taken(frame, self)
                return
        handler = self.rx_handler or self.packet_types.get(frame.ethertype)
        if handler is not None:
            handler(frame, self)
        else:
            self._deliver_tagged(frame)

    def deliver(self, frame: Frame) -> None:
        """To the protocols of the namespace, past the rx_handler."""
        handler = self.packet_types.get(frame.ethertype)
        if handler is not None:
            handler(frame, self)
        else:
            self._deliver_tagged(frame)

    def _deliver_tagged(self, frame: Frame) -> None:
        """No protocol has this EtherType. Priority tags (VLAN 0) are stripped; what has the tag of a VLAN that this device
        has no device for is for another host (__netif_receive_skb_core)."""
        while frame.ethertype in ETH_P_TAGS:
            if len(frame.buf) < ETH_HLEN + TAG_NEEDS:
                self.drop(self, frame, "NOT_SPECIFIED")
                return
            if untag(frame):
                frame.pkt_type = OTHERHOST
                break
        handler = self.packet_types.get(frame.ethertype)
        if handler is not None:
            handler(frame, self)
        elif is_llc(frame):
            self.drop(self, frame, "NOT_SPECIFIED")  # llc_rcv, which bridges bring along, frees it
        else:
            self.drop(self, frame, "UNHANDLED_PROTO")

    def __repr__(self) -> str:
        return f"<{self.kind} {f'{self.net.name}/' if self.net is not None else ''}{self.name}>"
