"""What a namespace has once for each address family: routes, hooks, tables, addresses, and the family's operations.

The operations are given when a family is made (`boot.py`); there is none that does nothing. IPv4 and IPv6 share this file and
differ in their operations, as struct neigh_ops and struct nf_ipv6_ops do. Must not know a header, a socket or the walk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from emu.clock import Clock, Draws
from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.net.exceptions import RouteExceptions
from emu.kernel.net.fib import Fib, Route
from emu.kernel.net.fib_rules import LOCAL_TABLE
from emu.kernel.net.ident import IpIdents
from emu.kernel.net.peer import Peers
from emu.kernel.netfilter.hooks import STOLEN, STOP, Hooks, HookState, Reject, Verdict
from emu.kernel.netfilter.table import Tables
from emu.kernel.sysctl import Sysctls
from emu.wire.addr import Prefix, addr_text, is_loopback, mask
from emu.wire.frame import Frame

# what `nf_hook` returns: continue, the frame belongs to a hook function, the frame was dropped
ACCEPTED, KEPT, REFUSED = "", "STOLEN", "EPERM"


class Namespace(Protocol):
    """What a family reads of the namespace that it belongs to; implemented by `netns.py`."""

    @property
    def name(self) -> str: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def sysctl(self) -> Sysctls: ...
    @property
    def devices(self) -> dict[str, Device]: ...

    def random(self, purpose: str) -> Draws: ...

    def drop(self, frame: Frame, reason: str, by: Any = None, device: Device | None = None) -> None: ...


class Reassembly(Protocol):
    """The datagrams of one family that are not whole yet; `waiting` counts their parts."""

    @property
    def waiting(self) -> int: ...

    def add(self, frame: Frame, user: int = 0) -> Frame | None: ...

    def hook(self, frame: Frame, state: HookState) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Ops:
    """The operations in which families differ. A neighbour entry is opaque here: its class knows namespaces.

    `constructor(entry)` sets the state of an entry that needs no request (neigh_table.constructor); `solicit(entry,
    waiting)` sends a request for its link-layer address, `waiting` being the packet that needs it (None: a probe);
    `error_report(frame, entry)` ends a waiting packet when resolution failed; `reject(frame, with, hook)` sends the answer
    of a REJECT rule; `fragment(frame, route, interruptible)` sends a packet as fragments (interruptible: each fragment
    travels before the next is sent), `pieces(frame, size)` makes the fragments; `defragment(frame)` gives the whole
    datagram, or None while fragments are missing. `to_many(dst, src, mark)` is the route of a local packet to a group or a
    broadcast address. `conf(device, variable)` reads a sysctl of a device; `kind_of(addr)`
    is MULTICAST, BROADCAST or "".
    """

    constructor: Callable[[Any], None]
    solicit: Callable[[Any, Frame | None], None]
    error_report: Callable[[Frame, Any], None]
    reject: Callable[[Frame, str, int], None]
    fragment: Callable[[Frame, Route, bool], None]
    pieces: Callable[[Frame, int], list[Frame]]
    defragment: Callable[[Frame], Frame | None]
    to_many: Callable[[int, int, int], Route | None]
    conf: Callable[[str, str], int]
    kind_of: Callable[[int], str]


@dataclass(frozen=True, slots=True, eq=False)
class Address:
    """An address on a device. `secondary`: a further one of the same subnet."""

    addr: int
    length: int
    device: Device
    scope: str = "global"
    secondary: bool = False
    width: int = 32
    netmask: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "netmask", mask(self.length, self.width))

    @property
    def prefix(self) -> Prefix:
        return Prefix(self.addr & self.netmask, self.length, self.width)

    def __str__(self) -> str:
        return f"{addr_text(self.addr, self.width)}/{self.length}"


class Family:
    """One address family of one namespace. `number` is AF_*, `ethertype` ETH_P_*, `width` the bits of an address.

    `name` is its word in sysctls ("ipv4"), `ttl` the sysctl of its default TTL or hop limit. `protocols[proto](frame, net)`
    receives local packets; `icmp_errors[proto](quoted, net, type, code, info)` errors about them: transport puts them
    there. The values by ifindex are sysctls that the walk reads for each packet.
    """

    __slots__ = (
        "address_listeners", "addresses", "default_ttl", "ethertype", "exceptions", "fib", "fns", "forwards", "hooks", "icmp_errors", "idents", "name",
        "net", "number", "ops", "peers", "protocols", "reassembly", "route_localnet", "rp_filter", "states", "tables", "ttl", "type_bytes", "width",
    )  # fmt: skip

    def __init__(
        self,
        net: Namespace,
        number: int,
        ethertype: int,
        width: int,
        name: str,
        ttl: str,
        ops: Ops,
        reassembly: Reassembly,
    ) -> None:
        self.net, self.number, self.ethertype, self.width = net, number, ethertype, width
        self.name, self.ttl, self.ops, self.reassembly = name, ttl, ops, reassembly
        self.type_bytes = ethertype.to_bytes(2, "big")
        self.addresses: list[Address] = []
        self.address_listeners: list[Callable[[Address], None]] = []
        self.fib = Fib(width, ops.kind_of)
        self.hooks = Hooks(net, self)
        self.fns, self.states = self.hooks.fns, self.hooks.states
        self.tables = Tables(self.hooks)
        self.exceptions = RouteExceptions(net.clock)
        self.peers = Peers(net.clock)
        self.idents = IpIdents(net.clock, net.name)
        self.protocols: dict[int, Callable[[Frame, Any], None]] = {}
        self.icmp_errors: dict[int, Callable[[Frame, Any, int, int, int], None]] = {}
        self.rp_filter: dict[int, int] = {}
        self.route_localnet: dict[int, bool] = {}
        self.forwards: dict[int, bool] = {}
        self._cache("")
        net.sysctl.on_change(self._cache)

    def _cache(self, name: str) -> None:
        """Cache the sysctls that the walk reads for each packet; `name` is the one that changed, "" for all."""
        if name.startswith(f"net.{self.name}.conf."):
            device = self.net.devices.get(name.split(".")[3])
            for each in [device] if device is not None else self.net.devices.values():
                self.cache_device(each)
        else:
            self.default_ttl = self.net.sysctl.number(self.ttl)

    def cache_device(self, device: Device) -> None:
        """Read the sysctls of a device that is new, or whose sysctls changed."""
        conf, ifindex = self.ops.conf, device.ifindex
        self.rp_filter[ifindex] = conf(device.name, "rp_filter")
        self.route_localnet[ifindex] = bool(conf(device.name, "route_localnet"))
        self.forwards[ifindex] = bool(conf(device.name, "forwarding"))

    # -- netfilter ------------------------------------------------------------------------------

    def nf_hook(self, hook: int, frame: Frame) -> str:
        """NF_HOOK: run a hook and carry out its verdict. Gives ACCEPTED (empty: continue), KEPT or REFUSED."""
        state = self.states[hook]
        for fn in self.fns[hook]:  # the loop of Hooks.run, without its call: each packet of each hop passes here
            verdict = fn(frame, state)
            if verdict is not None:
                return ACCEPTED if verdict is STOP else self._end(frame, verdict, hook)
        return ACCEPTED

    def _end(self, frame: Frame, verdict: Verdict, hook: int) -> str:
        if verdict is STOLEN:
            return KEPT
        if isinstance(verdict, Reject):
            self.ops.reject(frame, verdict.with_, hook)
        self.net.drop(frame, getattr(verdict, "reason", "NETFILTER_DROP"), getattr(verdict, "by", None))
        return REFUSED

    # -- routes ---------------------------------------------------------------------------------

    def out_device(self, route: Route) -> Device:
        """The outgoing device of a local packet: lo for the namespace's own addresses."""
        device: Device = self.net.devices["lo"] if route.kind == "local" else route.device
        return device

    def lookup_output(self, dst: int, src: int = 0, mark: int = 0, oif: Any = None) -> Route | None:
        """The route of a local packet, with the exception for its destination if there is one; None without a route."""
        route = self.fib.lookup(dst, src, mark, "", oif)
        return self.exceptions.output(route, dst) if route is not None and self.exceptions else route

    def route(self, dst: int, src: int = 0, mark: int = 0, iif: str = "") -> Route | None:
        """fib_lookup, for rules."""
        return self.fib.lookup(dst, src, mark, iif)

    def local_route(self, addr: int) -> Route | None:
        """The route of the local table, of any kind."""
        return self.fib.local.lookup(addr)

    def addr_type(self, addr: int) -> str:
        return self.fib.addr_type(addr)

    def is_local(self, addr: int) -> bool:
        """Is this one of the namespace's own addresses (127.0.0.0/8 included)?"""
        if addr in self.fib.own:
            return True
        route = self.fib.local.lookup(addr)
        return route is not None and route.kind == "local"

    def reroute(self, frame: Frame) -> bool:
        """ip_route_me_harder: a local packet's route after OUTPUT changed it. False drops it."""
        source = frame.src if self.is_local(frame.src) else 0
        look_up = self.ops.to_many if self.ops.kind_of(frame.dst) else self.lookup_output
        route = look_up(frame.dst, source, frame.mark)
        if route is None or route.kind not in ("unicast", "local", "broadcast", "multicast"):
            return False
        if is_loopback(frame.src) and route.kind != "local" and not route.device.noarp:
            if not self.route_localnet[route.device.ifindex]:
                return False  # __mkroute_output: a loopback source stays on lo
        frame.route = route
        frame.outdev = self.out_device(route)
        return True

    # -- addresses ------------------------------------------------------------------------------

    def add_address(self, device: Device, addr: int, length: int, scope: str = "global") -> Address:
        """Add an address, with the local, broadcast and connected routes that the kernel adds (fib_frontend.c).
        Raises InputError if the device has it."""
        if any(each.addr == addr and each.device is device for each in self.addresses):
            raise InputError(f"{device.name} already has the address {addr_text(addr, self.width)}")
        width = self.width
        prefix = Prefix(addr & mask(length, width), length, width)
        secondary = any(
            each.device is device and each.prefix == prefix and not each.secondary for each in self.addresses
        )
        address = Address(addr, length, device, scope, secondary, width)
        self.addresses.append(address)
        for listener in self.address_listeners:
            listener(address)
        self.net.sysctl.settle_device(device.name)
        kernel: dict[str, Any] = {"device": device, "prefsrc": addr, "proto": "kernel"}
        if self.fib.local.lookup(addr) is None or self._local_route(addr) is None:
            self.fib.add(Route(Prefix(addr, width, width), "local", scope="host", table=LOCAL_TABLE, **kernel))
        if secondary or not device.up:
            return address
        if device.kind == "loopback" and length < width:
            self.fib.add(Route(prefix, "local", scope="host", table=LOCAL_TABLE, **kernel))
        elif length < width:
            self.fib.add(Route(prefix, scope="link", **kernel))
        if length < width - 1:
            to_all = Prefix(prefix.broadcast, width, width)
            if self._exact_local(to_all.net) is None:
                self.fib.add(Route(to_all, "broadcast", scope="link", table=LOCAL_TABLE, **kernel))
        return address

    def _exact_local(self, addr: int) -> Route | None:
        route = self.fib.local.lookup(addr)
        return route if route is not None and route.prefix.length == self.width else None

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

    def select_addr(self, device: Device | None, towards: int, scope: str = "global") -> int:
        """inet_select_addr: an address of the device, preferably in the subnet of `towards`; else of any device; 0 for none."""
        first = 0
        for address in self.addresses:
            if address.device is device and not address.secondary and (address.scope != "host" or scope == "host"):
                if not towards or not (towards ^ address.addr) & address.netmask:  # on the same subnet
                    return address.addr
                first = first or address.addr
        if first:
            return first
        for address in self.addresses:
            if address.scope == "global" and address.device is not device:
                return address.addr
        return 0

    # -- devices --------------------------------------------------------------------------------

    def remove_device(self, device: Device) -> None:
        """Remove the routes out of a device, and their exceptions."""
        self.fib.remove_device(device)
        self.exceptions.remove_device(device)

    def detach(self, device: Device) -> None:
        """A device is removed, with its addresses and routes."""
        for address in [each for each in self.addresses if each.device is device]:
            self.remove_address(address)
        self.remove_device(device)

    def came_up(self, device: Device) -> None:
        """Add the connected routes of a device that is up again (routes that users added do not come back, as in Linux)."""
        for address in [each for each in self.addresses if each.device is device]:
            self.remove_address(address)
            self.add_address(device, address.addr, address.length, address.scope)

    def __repr__(self) -> str:
        return f"<{self.name} of {self.net.name}>"
