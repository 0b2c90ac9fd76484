"""One network namespace: its devices, addresses, routes, neighbours, hooks and counters.

The walk itself lives beside it (`ip_input`, `ip_forward`, `ip_output`, `arp`); this holds what they
share and the values of sysctls that the hot path reads. Must not know sockets' insides, Kubernetes
or captures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from emu.clock import Clock, Draws
from emu.errors import InputError
from emu.kernel.link.bridge import Bridge, BridgeHooks
from emu.kernel.link.device import Device
from emu.kernel.net.drop import DropListener, device_drop, drop
from emu.kernel.net.fib import Fib, Route
from emu.kernel.net.fib_rules import LOCAL_TABLE
from emu.kernel.net.ident import IpIdents
from emu.kernel.net.peer import Peer
from emu.kernel.net.route import RouteExceptions
from emu.kernel.netfilter.hooks import Hooks
from emu.kernel.sysctl import Sysctls
from emu.trail import Delivered, Natted
from emu.wire.addr import Prefix, ip4_text, mask
from emu.wire.frame import Frame

Protocol = Callable[[Frame, "Netns"], None]


@dataclass(frozen=True, slots=True, eq=False)
class Address:
    """An IPv4 address on a device. `secondary`: a further one of the same subnet."""

    addr: int
    length: int
    device: Device
    scope: str = "global"
    secondary: bool = False

    @property
    def prefix(self) -> Prefix:
        return Prefix(self.addr & mask(self.length), self.length)

    def __str__(self) -> str:
        return f"{ip4_text(self.addr)}/{self.length}"


class Netns:
    """A namespace. Devices join by `attach`, addresses by `add_address`, routes by `fib.add`.

    `protocols[proto](frame, net)` receives local packets, `conntrack`, `tables`, `nat`, `sockets` are None
    until boot.py puts them there. Counters: `born` + `copied` = `delivered` + `absorbed` + dropped + waiting,
    summed over all namespaces.
    """

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.sysctl = Sysctls()
        self.hooks = Hooks(self)
        self.bridge_hooks = BridgeHooks()
        self.devices: dict[str, Device] = {}
        # sysctls that the walk reads for each packet, by ifindex
        self.rp_filter: dict[int, int] = {}
        self.route_localnet: dict[int, bool] = {}
        self.forwards: dict[int, bool] = {}
        self.addresses: list[Address] = []
        self.fib = Fib()
        self.idents = IpIdents(clock, name)
        self.exceptions = RouteExceptions(clock)
        self.interruptible = False  # a call is about to send what must be cut: others may run between the pieces
        self.peers: dict[int, Peer] = {}
        self.packet_types: dict[int, Callable[[Frame, Device], None]] = {}
        self.protocols: dict[int, Protocol] = {}
        # an ICMP error for a local flow: (net, frame, type, code, info) -> None, set by transport
        self.icmp_errors: dict[int, Callable[[Frame, Netns, int, int, int], None]] = {}
        # put there by boot.py: arp_solicit, ipv4_link_failure, the answers of REJECT, ip_do_fragment, ip_defrag
        self.solicit: Callable[[Any, Frame | None], None] = lambda neighbour, waiting: None
        self.neighbour_failed: Callable[[Frame, Any], None] = lambda frame, neighbour: None
        self.reject: Callable[[Frame, str, int], None] = lambda frame, with_, hook: None
        self.fragment: Callable[[Frame, Route], None] = lambda frame, route: None
        self.pieces: Callable[[Frame, int], list[Frame]] = lambda frame, size: [frame]
        self.defragment: Callable[[Frame], Frame | None] = lambda frame: frame
        self.reassembly: Any = None
        self.conntrack: Any = None
        self.tables: Any = None
        self.nat: Any = None
        self.sockets: Any = None
        self.born = self.delivered = self.absorbed = self.copied = 0
        self.drops: Counter[str] = Counter()
        # who is called when a device joins, an address is added, a frame is dropped, a packet reaches a socket or
        # protocol, and NAT begins to rewrite a flow's packets; registered by `on_device` and `on_address`, and by
        # appending to the others
        self._device_listeners: list[Callable[[Device], object]] = []
        self._address_listeners: list[Callable[[Address], None]] = []
        self.drop_listeners: list[DropListener] = []
        self.delivery_listeners: list[Callable[[Frame, Delivered], None]] = []
        self.nat_listeners: list[Callable[[Frame, Natted], None]] = []
        # whether frames born here carry a trail; the flow that locally caused frames belong to
        self.tracing = False
        self._next_ifindex = 1
        self._draws: dict[str, Draws] = {}
        self._cache_sysctl("")
        self.sysctl.on_change(self._cache_sysctl)

    def _cache_sysctl(self, name: str) -> None:
        """Keep what the walk reads for each packet; `name` is the sysctl that changed, "" for all."""
        sysctl = self.sysctl
        if name.startswith("net.ipv4.conf."):
            device = self.devices.get(name.split(".")[3])
            for each in [device] if device is not None else self.devices.values():
                self._cache_device(each)
            return
        self.default_ttl = sysctl.number("net.ipv4.ip_default_ttl")
        self.bridge_nf_call_iptables = bool(sysctl["net.bridge.bridge-nf-call-iptables"])

    def _cache_device(self, device: Device) -> None:
        conf = self.sysctl.conf
        self.rp_filter[device.ifindex] = conf(device.name, "rp_filter")
        self.route_localnet[device.ifindex] = bool(conf(device.name, "route_localnet"))
        self.forwards[device.ifindex] = bool(conf(device.name, "forwarding"))

    # -- devices and addresses ------------------------------------------------------------------

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
        self._cache_device(device)
        for listener in self._device_listeners:
            listener(device)
        return device

    def on_device(self, listener: Callable[[Device], object]) -> None:
        """Call `listener` for each device that is there, and for each that joins later."""
        for device in self.devices.values():
            listener(device)
        self._device_listeners.append(listener)

    def on_address(self, listener: Callable[[Address], None]) -> None:
        """Call `listener` for each address that is there, and for each that is added later."""
        for address in self.addresses:
            listener(address)
        self._address_listeners.append(listener)

    def detach(self, device: Device) -> None:
        """Take a device out: its addresses, routes, neighbours and bridge port go with it."""
        for address in [each for each in self.addresses if each.device is device]:
            self.remove_address(address)
        self.fib.remove_device(device)
        self.exceptions.remove_device(device)
        if device.master is not None:
            device.master.bridge.remove_port(device)
        for neighbour in list(device.neigh.values()):
            neighbour.forget()
        device.neigh.clear()
        del self.devices[device.name]
        self.sysctl.remove_device(device.name)

    def device(self, name: str) -> Device:
        """The device called `name`. Raises InputError."""
        try:
            return self.devices[name]
        except KeyError:
            raise InputError(
                f"{self.name} has no device {name!r}", expected=", ".join(self.devices) or "a device"
            ) from None

    def add_address(self, device: Device, addr: int, length: int, scope: str = "global") -> Address:
        """Add an address, with the local, broadcast and connected routes that the kernel adds (fib_frontend.c)."""
        if any(each.addr == addr and each.device is device for each in self.addresses):
            raise InputError(f"{device.name} already has the address {ip4_text(addr)}")
        prefix = Prefix(addr & mask(length), length)
        secondary = any(
            each.device is device and each.prefix == prefix and not each.secondary for each in self.addresses
        )
        address = Address(addr, length, device, scope, secondary)
        self.addresses.append(address)
        for listener in self._address_listeners:
            listener(address)
        self.sysctl.settle_device(device.name)
        kernel: dict[str, Any] = {"device": device, "prefsrc": addr, "proto": "kernel"}
        if self.fib.local.lookup(addr) is None or self._local_route(addr) is None:
            self.fib.add(Route(Prefix(addr, 32), "local", scope="host", table=LOCAL_TABLE, **kernel))
        if secondary or not device.up:
            return address
        if device.kind == "loopback" and length < 32:
            self.fib.add(Route(prefix, "local", scope="host", table=LOCAL_TABLE, **kernel))
        elif length < 32:
            self.fib.add(Route(prefix, scope="link", **kernel))
        if length < 31:
            broadcast = prefix.broadcast
            if self._exact_local(broadcast) is None:
                self.fib.add(Route(Prefix(broadcast, 32), "broadcast", scope="link", table=LOCAL_TABLE, **kernel))
        return address

    def _exact_local(self, addr: int) -> Route | None:
        route = self.fib.local.lookup(addr)
        return route if route is not None and route.prefix.length == 32 else None

    def _local_route(self, addr: int) -> Route | None:
        route = self._exact_local(addr)
        return route if route is not None and route.kind == "local" else None

    def remove_address(self, address: Address) -> None:
        """Remove an address and the routes that came with it."""
        self.addresses.remove(address)
        for table in self.fib.tables.values():
            for route in [
                each
                for each in table
                if each.proto == "kernel" and each.prefsrc == address.addr and each.device is address.device
            ]:
                self.fib.remove(route)

    # -- what netfilter asks (netfilter/hooks.py Netns) -------------------------------------------

    def random(self, purpose: str) -> Draws:
        """The namespace's own random source of one purpose: no other namespace's draws shift it."""
        source = self._draws.get(purpose)
        if source is None:
            source = self._draws[purpose] = self.clock.random(f"{purpose}/{self.name}")
        return source

    def addr_type(self, addr: int) -> str:
        return self.fib.addr_type(addr)

    def is_local(self, addr: int) -> bool:
        """Is this one of the namespace's own addresses (the loopback net included)?"""
        if addr in self.fib.own:
            return True
        route = self.fib.local.lookup(addr)
        return route is not None and route.kind == "local"

    def select_addr(self, device: Device | None, towards: int, scope: str = "global") -> int:
        """inet_select_addr: an address of the device, preferably in the subnet of `towards`; else any other's; 0 for none."""
        first = 0
        for address in self.addresses:
            if address.device is device and not address.secondary and (address.scope != "host" or scope == "host"):
                if not towards or towards in address.prefix:
                    return address.addr
                first = first or address.addr
        if first:
            return first
        for address in self.addresses:
            if address.scope == "global" and address.device is not device:
                return address.addr
        return 0

    def reroute(self, frame: Frame) -> bool:
        """ip_route_me_harder (net/ipv4/netfilter.c): a local packet's route after OUTPUT changed it."""
        source = frame.src if self.is_local(frame.src) else 0
        route = self.fib.lookup(frame.dst, source, frame.mark)
        if route is None or route.kind not in ("unicast", "local", "broadcast"):
            return False
        if self.exceptions:
            route = self.exceptions.output(route, frame.dst)
        if frame.src >> 24 == 127 and route.kind != "local" and not self.route_localnet[route.device.ifindex]:
            return False  # __mkroute_output: a loopback source stays on lo
        frame.route = route
        frame.outdev = self.devices["lo"] if route.kind == "local" else route.device
        return True

    def drop(self, frame: Frame, reason: str, by: Any = None, device: Device | None = None) -> None:
        """End a frame here (see drop.py)."""
        drop(self, frame, reason, by, device)

    # -- for people ------------------------------------------------------------------------------

    @property
    def neighbours(self) -> Iterator[Any]:
        """Every neighbour entry, device by device."""
        for device in self.devices.values():
            yield from device.neigh.values()

    def flush_neighbours(self) -> None:
        """`ip neigh flush all`: forget everything that is not permanent."""
        for device in self.devices.values():
            for neighbour in list(device.neigh.values()):
                if neighbour.state != "PERMANENT":
                    neighbour.forget()
                    del device.neigh[neighbour.addr]

    def set_link(self, name: str, *, up: bool) -> None:
        """`ip link set NAME up|down`. Down: routes out of the device are gone, neighbours forgotten; up: connected
        routes come back (routes that people added do not, as in Linux)."""
        device = self.device(name)
        if device.up == up:
            return
        device.up = up
        if not up:
            if self.conntrack is not None:
                self.conntrack.delete(lambda conn: conn.masq_ifindex == device.ifindex)
            self.fib.remove_device(device)
            self.exceptions.remove_device(device)
            for neighbour in list(device.neigh.values()):
                neighbour.forget()
            device.neigh.clear()
            return
        for address in [each for each in self.addresses if each.device is device]:
            self.remove_address(address)
            self.add_address(device, address.addr, address.length, address.scope)

    def set_carrier(self, name: str, *, on: bool) -> None:
        """The cable of a device is pulled or plugged. Routes stay; neighbours go with the carrier (arp_evict_nocarrier)."""
        device = self.device(name)
        device.carrier = on
        if not on and self.sysctl.conf(name, "arp_evict_nocarrier"):
            for neighbour in [each for each in device.neigh.values() if each.state != "PERMANENT"]:
                neighbour.forget()
                del device.neigh[neighbour.addr]

    def __repr__(self) -> str:
        return f"<netns {self.name}>"
