"""One network namespace: its devices, its address families, neighbours and counters.

What exists once for each address family (routes, hooks, addresses) is a `Family`. The walk lives beside it (`ip_input`,
`ip_forward`, `ip_output`, `arp`). Must not know how sockets work, Kubernetes or captures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from emu.clock import Clock, Draws
from emu.errors import InputError
from emu.kernel.link.bridge import Bridge, BridgeHooks
from emu.kernel.link.device import NO_NEIGHBOURS, Device
from emu.kernel.link.ipip import Ipip
from emu.kernel.link.stacked import Stacked
from emu.kernel.link.veth import Veth
from emu.kernel.link.vlan import Vlan
from emu.kernel.link.vxlan import Vxlan
from emu.kernel.net.drop import DropListener, device_drop, drop
from emu.kernel.net.family import Address, Family
from emu.kernel.sysctl import Sysctls
from emu.trail import FDB, ROUTES, Delivered, Encapsulated, Natted, Recorder
from emu.wire.addr import Prefix
from emu.wire.frame import AF_INET, Frame


class Tally(NamedTuple):
    """Packets of a namespace: that came into being there, that ended there, and that wait (in neighbours' queues, as pieces
    of datagrams that are not whole yet)."""

    entered: int = 0
    ended: int = 0
    waiting: int = 0

    def plus(self, other: Tally) -> Tally:
        return Tally(self.entered + other.entered, self.ended + other.ended, self.waiting + other.waiting)


class Netns:
    """A namespace. Families join by `join` (before devices), devices by `attach`; `ipv4` is the family of IPv4.

    `conntrack`, `nat`, `sockets`, `vxlan`, `ipip` are None until boot.py puts them there. Counters: `born` + `copied` = `delivered` +
    `absorbed` + dropped + waiting, summed over all namespaces.
    """

    __slots__ = (
        "_device_listeners", "_draws", "_next_ifindex", "absorbed", "born", "bridge_hooks", "bridge_nf_call_arptables", "bridge_nf_call_ip6tables", "bridge_nf_call_iptables",
        "clock", "conntrack", "copied", "delivered", "delivery_listeners", "devices", "drop_listeners", "drops", "families", "ipip", "ipv4", "leaving_listeners", "mtus_set", "name", "nat",
        "nat_listeners", "packet_types", "programs", "recorder", "sockets", "sysctl", "tracing", "tunnel_listeners", "vxlan",
    )  # fmt: skip

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.sysctl = Sysctls()
        self.families: dict[int, Family] = {}  # by AF_*
        self.bridge_hooks = BridgeHooks()
        self.devices: dict[str, Device] = {}
        self.packet_types: dict[int, Callable[[Frame, Device], None]] = {}
        self.conntrack: Any = None
        self.nat: Any = None
        self.sockets: Any = None
        self.vxlan: Any = None  # what carries the frames of its VXLAN devices
        self.ipip: Any = None  # and the packets of its IPIP devices
        # what other programs of the machine call without emulated packets, by the address that it listens on
        self.programs: dict[str, Any] = {}
        self.born = self.delivered = self.absorbed = self.copied = 0
        self.mtus_set = 0  # how often the MTU of a device was changed
        self.drops: Counter[str] = Counter()
        # called when a device joins or an address is added (see `on_device`, `on_address`), a device is to leave, a frame is dropped, a packet
        # reaches a socket or protocol, NAT begins to rewrite a flow's packets, or a tunnel carries one (append to these lists)
        self._device_listeners: list[Callable[[Device], object]] = []
        self.leaving_listeners: list[Callable[[Device], object]] = []
        self.drop_listeners: list[DropListener] = []
        self.delivery_listeners: list[Callable[[Frame, Delivered], None]] = []
        self.nat_listeners: list[Callable[[Frame, Natted], None]] = []
        self.tunnel_listeners: list[Callable[[Frame, Encapsulated], None]] = []
        self.recorder: Recorder | None = None  # who is called where a table changes (see `record`)
        # whether frames that originate here carry a trail
        self.tracing = False
        self._next_ifindex = 1
        self._draws: dict[str, Draws] = {}
        self._cache_sysctl("")
        self.sysctl.on_change(self._cache_sysctl)

    def _cache_sysctl(self, name: str) -> None:
        """Cache the sysctls that bridges read for each packet; `name` is the one that changed, "" for all."""
        self.bridge_nf_call_iptables = bool(self.sysctl["net.bridge.bridge-nf-call-iptables"])
        self.bridge_nf_call_ip6tables = bool(self.sysctl["net.bridge.bridge-nf-call-ip6tables"])
        self.bridge_nf_call_arptables = bool(self.sysctl["net.bridge.bridge-nf-call-arptables"])

    def tally(self) -> Tally:
        """The packets by now."""
        waiting = sum(len(neighbour.queue) for neighbour in self.neighbours)
        waiting += sum(family.reassembly.waiting for family in self.families.values())
        ended = self.delivered + self.absorbed + self.drops.total()
        return Tally(self.born + self.copied, ended, waiting)

    def bear(self, frame: Frame, cause: int = 0) -> None:
        """A packet comes into being here: count and number it. `cause` is the number of the packet that it answers, or that waits
        for it (0: none)."""
        self.born += 1
        clock = self.clock  # `number`, without its call
        clock.packets = frame.packet = clock.packets + 1
        frame.caused_by = cause

    def number(self, frame: Frame, cause: int = 0) -> None:
        """Draw the number of a packet: its own, which copies, fragments, segments and tunnels keep."""
        clock = self.clock
        clock.packets = frame.packet = clock.packets + 1
        frame.caused_by = cause

    def record(self, recorder: Recorder | None) -> None:
        """Call `recorder` from now on where a table of this namespace changes; None: no one."""
        self.settle()
        self.recorder = recorder
        if self.conntrack is not None:
            self.conntrack.recorder = recorder
        for family in self.families.values():
            family.fib.recorder = family.tables.recorder = recorder

    def put_off(self, within: Prefix, call: Callable[[], None]) -> None:
        """Add routes to addresses `within` a prefix, and the neighbours behind them, when something looks for one, as if at this
        time: large clusters have many machines that route nothing. `call` sends nothing and starts no timer."""
        self.ipv4.fib.put_off(within, partial(self.clock.earlier, self.clock.moment, call))

    def settle(self) -> None:
        """Do what was put off: before the tables of a namespace are read."""
        for family in self.families.values():
            family.fib.settle()

    def join(self, family: Family) -> Family:
        """Add an address family. Raises InputError if the namespace has that family, or already has a device."""
        if family.number in self.families or self.devices:
            raise InputError(f"{self.name}: {family.name} cannot join now", expected="each family once, before devices")
        self.families[family.number] = family
        if family.number == AF_INET:
            self.ipv4 = family
        return family

    # -- devices --------------------------------------------------------------------------------

    def attach(self, device: Device) -> Device:
        """Put a device into this namespace. Raises InputError if the name is taken."""
        if device.name in self.devices:
            raise InputError(f"{self.name} already has a device {device.name!r}")
        device.ifindex, self._next_ifindex = self._next_ifindex, self._next_ifindex + 1
        device.net, device.drop, device.packet_types = self, device_drop, self.packet_types
        if isinstance(device, Bridge):
            device.hooks = self.bridge_hooks
        self.devices[device.name] = device
        self.sysctl.add_device(device.name)
        if self.families.keys() == NO_NEIGHBOURS.keys():
            device.neigh = NO_NEIGHBOURS
        else:
            device.neigh = {number: {} for number in self.families}
        if self.recorder is not None:
            self.recorder.reread(FDB)
        for family in self.families.values():
            family.cache_device(device)
        for listener in self._device_listeners:
            listener(device)
        return device

    def reserve(self) -> int:
        """The index of a device that comes later, before those that come now."""
        reserved, self._next_ifindex = self._next_ifindex, self._next_ifindex + 1
        return reserved

    def late(self, reserved: int, call: Callable[[], None]) -> None:
        """Run `call()`, which attaches the device of an index that was reserved: it stands before those that came meanwhile."""
        following, self._next_ifindex = self._next_ifindex, reserved
        call()
        assert self._next_ifindex == reserved + 1, f"{self.name}: another device than the one that was to come"
        self._next_ifindex = following

    def in_order(self) -> None:
        """The devices in the order of their indices again."""
        found = sorted(self.devices.items(), key=lambda each: each[1].ifindex)
        if found != [*self.devices.items()]:
            self.devices.clear()
            self.devices.update(found)

    def receives(self, receive: Callable[[Frame], None]) -> bool:
        """Is `receive` a method of one of this namespace's devices?"""
        owner = getattr(receive, "__self__", None)
        return any(device is owner for device in self.devices.values())

    def on_device(self, listener: Callable[[Device], object]) -> None:
        """Call `listener` for each device now and for each that joins later."""
        for device in self.devices.values():
            listener(device)
        self._device_listeners.append(listener)

    def on_address(self, listener: Callable[[int, Address], None]) -> None:
        """Call `listener` with the family (AF_*) and address of each that is there, and of each that is added later."""
        for number, family in self.families.items():
            for address in family.addresses:
                listener(number, address)
            family.address_listeners.append(listener)

    def detach(self, device: Device) -> None:
        """Remove a device with its addresses, routes, neighbours and bridge port."""
        for listener in self.leaving_listeners:
            listener(device)
        for family in self.families.values():
            family.detach(device)
        if device.master is not None:
            device.master.bridge.remove_port(device)
        if isinstance(device, Vxlan):
            device.close()
        elif isinstance(device, Ipip):
            self.ipip.forget(device)
        elif isinstance(device, Bridge):  # br_dev_delete
            for port in list(device.ports):
                device.remove_port(port.device)
        device.forget_neighbours()
        del self.devices[device.name]
        self.sysctl.remove_device(device.name)
        if self.recorder is not None:
            self.recorder.reread(FDB)

    def device(self, name: str) -> Device:
        """The device called `name`. Raises InputError."""
        try:
            return self.devices[name]
        except KeyError:
            raise InputError(
                f"{self.name} has no device {name!r}", expected=", ".join(self.devices) or "a device"
            ) from None

    def random(self, purpose: str) -> Draws:
        """The namespace's own random source for one purpose: draws of other namespaces do not change it."""
        source = self._draws.get(purpose)
        if source is None:
            source = self._draws[purpose] = self.clock.random(f"{purpose}/{self.name}")
        return source

    def drop(self, frame: Frame, reason: str, by: Any = None, device: Device | None = None) -> None:
        """End a frame here (see drop.py)."""
        drop(self, frame, reason, by, device)

    # -- what tools show and change --------------------------------------------------------------

    @property
    def addresses(self) -> list[Address]:
        """Every address, family by family, as `ip address` lists them."""
        return [address for family in self.families.values() for address in family.addresses]

    @property
    def neighbours(self) -> Iterator[Any]:
        """Every neighbour entry, device by device."""
        for device in self.devices.values():
            for entries in device.neigh.values():
                yield from entries.values()

    def flush_neighbours(self) -> None:
        """`ip neigh flush all`: delete every entry that a request made."""
        for entry in list(self.neighbours):
            if entry.state not in ("PERMANENT", "NOARP"):
                entry.delete()

    def delete_neighbour(self, device: str, addr: int, family: int = AF_INET) -> None:
        """`ip neigh del ADDR dev DEVICE`. Raises InputError if there is no such entry."""
        entry = self.device(device).neigh[family].get(addr)
        if entry is None:
            raise InputError(f"{self.name} has no such neighbour on {device}", expected="one of `emu show neigh`")
        entry.delete()

    def set_link(self, name: str, *, up: bool) -> None:
        """`ip link set NAME up|down`. Down removes routes out of the device and its neighbours; up adds the connected
        routes again (routes that users added do not come back, as in Linux). Raises InputError where the kernel refuses."""
        device = self.device(name)
        if device.up == up:
            return
        if up and isinstance(device, Stacked):
            device.check_open()
        device.up, device.changed_ns = up, self.clock.now
        if not up and self.conntrack is not None:
            self.conntrack.delete(lambda conn: conn.masq_ifindex == device.ifindex)
        if isinstance(device, Veth):  # the driver is asked first, and then the protocols
            _follow(device)
        for family in self.families.values():
            if up:
                family.came_up(device)
            else:
                family.remove_device(device)
        if not up:
            device.forget_neighbours()
            if device.qdisc is not None:
                device.qdisc.reset(device)
        if isinstance(device, Bridge):  # br_stp_enable_bridge, br_stp_disable_bridge
            for port in device.ports:
                port.carrier_check()
        elif isinstance(device, Vxlan):
            (device.open if up else device.close)()
        if device.master is not None:
            device.master.carrier_check()
        for upper in list(device.uppers):
            if isinstance(upper, Vlan) and upper.attached:  # vlan_device_event
                upper.net.set_link(upper.name, up=up)

    def set_carrier(self, name: str, *, on: bool) -> None:
        """Plug the cable of a device in, or pull it out. Routes stay; neighbours are removed with the carrier."""
        device = self.device(name)
        if isinstance(device, Veth):
            device.plugged = on
            _follow(device)
        else:
            self.carrier_changed(device, on=on)

    def carrier_changed(self, device: Device, *, on: bool) -> None:
        """netif_carrier_on and netif_carrier_off: neighbours go with the carrier (arp_evict_nocarrier), and so does what the
        bridge of a port has learned behind it."""
        if device.carrier == on:
            return
        device.carrier, device.changed_ns = on, self.clock.now
        if not on and self.sysctl.conf(device.name, "arp_evict_nocarrier"):
            device.forget_neighbours(permanent=False)
        if self.recorder is not None:
            self.recorder.reread(ROUTES)  # it shows `linkdown`
        if device.master is not None:
            device.master.carrier_check()
        for upper in device.uppers:  # netif_stacked_transfer_operstate
            if upper.attached:
                upper.net.carrier_changed(upper, on=on)

    def __repr__(self) -> str:
        return f"<netns {self.name}>"


def _follow(device: Veth) -> None:
    """veth_open and veth_close: both ends of a pair have a carrier while both are up."""
    for end in (device, device.peer):
        if end is not None and end.attached:
            end.net.carrier_changed(end, on=end.has_carrier)
