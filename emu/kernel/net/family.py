"""What a namespace has once for each address family: routes, hooks, tables, addresses, and the family's operations.

The operations are given when a family is made (`boot.py`); there is none that does nothing. IPv4 and IPv6 share this file and
differ in their operations, as struct neigh_ops and struct nf_ipv6_ops do. Must not know a header, a socket or the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from emu.clock import Clock, Draws
from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.net.exceptions import RouteExceptions
from emu.kernel.net.fib import Fib
from emu.kernel.net.fib_rules import LOCAL_TABLE, NO_FLOW, Flow
from emu.kernel.net.fib_semantics import ENDING, Route
from emu.kernel.net.ident import IpIdents
from emu.kernel.net.multipath import Multipath
from emu.kernel.net.neigh_table import NeighTable
from emu.kernel.net.peer import Peers
from emu.kernel.netfilter.hooks import STOLEN, STOP, Hooks, HookState, Reject, Verdict
from emu.kernel.netfilter.table import Tables
from emu.kernel.sysctl import Sysctls
from emu.trail import Recorder
from emu.wire.addr import Prefix, addr_text, is_loopback, mask
from emu.wire.frame import Frame

# what `nf_hook` returns, if no errno: continue, the frame belongs to a hook function
ACCEPTED, KEPT = "", "STOLEN"
CACHED = (".rp_filter", ".route_localnet", ".forwarding", ".ignore_routes_with_linkdown")
NO_ERRORS: Mapping[int, Callable[[Frame, Any, int, int, int], None]] = {}


def _no_socket(proto: int, dst: int, dport: int, src: int, sport: int) -> Any:
    return None


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
    @property
    def recorder(self) -> Recorder | None: ...

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
    of a REJECT rule; `duplicate(frame, gateway, oif, hook)` sends a copy of a packet; `fragment(frame, route, interruptible)` sends a packet as fragments (interruptible: each fragment
    travels before the next is sent) and gives "" or an errno's name for a local sender, `pieces(frame, size)` makes the fragments; `defragment(frame)` gives the whole
    datagram, or None while fragments are missing. `to_many(dst, src, mark, oif, flow)` is the route of a local packet to a
    group or a broadcast address. `conf(device, variable)` reads a sysctl of a device; `kind_of(addr)`
    is MULTICAST, BROADCAST or ""; `resolves(route)`: is its next hop not known to be absent (fib_good_nh)?
    `came_up(device)` announces its addresses, where that is asked for.
    """

    constructor: Callable[[Any], None]
    solicit: Callable[[Any, Frame | None], None]
    error_report: Callable[[Frame, Any], None]
    reject: Callable[[Frame, str, int], None]
    duplicate: Callable[[Frame, int, str, int], None]
    fragment: Callable[[Frame, Route, bool], str]
    pieces: Callable[[Frame, int], list[Frame]]
    defragment: Callable[[Frame], Frame | None]
    to_many: Callable[[int, int, int, Any, Flow], Route | None]
    conf: Callable[[str, str], int]
    kind_of: Callable[[int], str]
    resolves: Callable[[Route], bool]
    came_up: Callable[[Device], None]


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
    receives local packets; `icmp_errors[proto](quoted, net, type, code, info)` errors about them; `socket_lookup(proto,
    dst, dport, src, sport)` finds the socket of a packet: transport puts them there. `neighbours` is the table of the whole
    machine. The values by ifindex are sysctls that the walk reads for each packet.
    """

    __slots__ = (
        "address_listeners", "addresses", "default_ttl", "ethertype", "exceptions", "fib", "fns", "forwards", "hooks", "icmp_errors", "idents", "multipath", "name", "neighbours",
        "net", "number", "ops", "peers", "protocols", "reassembly", "route_localnet", "rp_filter", "socket_lookup", "states", "tables", "ttl", "type_bytes", "width",
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
        neighbours: NeighTable,
    ) -> None:
        self.net, self.number, self.ethertype, self.width = net, number, ethertype, width
        self.name, self.ttl, self.ops, self.reassembly, self.neighbours = name, ttl, ops, reassembly, neighbours
        self.type_bytes = ethertype.to_bytes(2, "big")
        self.addresses: list[Address] = []
        self.address_listeners: list[Callable[[int, Address], None]] = []
        self.fib = Fib(width, ops.kind_of)
        self.hooks = Hooks(net, self)
        self.fns, self.states = self.hooks.fns, self.hooks.states
        self.tables = Tables(self.hooks)
        self.multipath = Multipath(net, ops.resolves, self._address_towards, self._skips)
        self.exceptions = RouteExceptions(net.clock)
        self.peers = Peers(net.clock)
        self.idents = IpIdents(net.clock, net.name)
        self.protocols: dict[int, Callable[[Frame, Any], None]] = {}
        self.icmp_errors: Mapping[int, Callable[[Frame, Any, int, int, int], None]] = NO_ERRORS
        self.socket_lookup: Callable[[int, int, int, int, int], Any] = _no_socket
        self.rp_filter: dict[int, int] = {}
        self.route_localnet: dict[int, bool] = {}
        self.forwards: dict[int, bool] = {}
        self.fib.l3_table = self._l3_table
        self._cache("")
        net.sysctl.on_change(self._cache)

    def _cache(self, name: str) -> None:
        """Cache the sysctls that the walk reads for each packet (`CACHED` of a device's); `name` is the one that changed, "" for all."""
        self.fib.inputs.clear()
        self.fib.outputs.clear()
        if name.endswith(".ignore_routes_with_linkdown"):
            self._cache_carriers()
        if name.startswith(f"net.{self.name}.conf."):
            if not name.endswith(CACHED):
                return
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
        if self._skips(device):
            self.fib.skip_without_carrier(self._skips)

    def _cache_carriers(self) -> None:
        self.fib.skip_without_carrier(self._skips if any(map(self._skips, self.net.devices.values())) else None)

    def _skips(self, device: Device) -> bool:
        """Are routes of the device left out while it has no carrier?"""
        return bool(self.ops.conf(device.name, "ignore_routes_with_linkdown"))

    # -- netfilter ------------------------------------------------------------------------------

    def nf_hook(self, hook: int, frame: Frame) -> str:
        """NF_HOOK: run a hook and carry out its verdict. Gives ACCEPTED (empty: continue), KEPT, or for a frame that was dropped the errno name of its sender."""
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
        return getattr(verdict, "error", "EPERM")

    def duplicate(self, frame: Frame, gateway: int, oif: str, hook: int) -> None:
        """Send a copy of the packet to a gateway (TEE)."""
        self.ops.duplicate(frame, gateway, oif, hook)

    # -- routes ---------------------------------------------------------------------------------

    def out_device(self, route: Route) -> Device:
        """The outgoing device of a local packet: lo for the namespace's own addresses."""
        device: Device = self.net.devices["lo"] if route.kind == "local" else route.device
        return device

    def lookup_output(
        self, dst: int, src: int = 0, mark: int = 0, oif: Any = None, flow: Flow = NO_FLOW
    ) -> Route | None:
        """The route of a local packet, with the exception for its destination if there is one; None without a route."""
        route = self.fib.lookup(dst, src, mark, "", oif, flow)
        if oif is not None and oif.kind != "vrf" and (route is None or route.kind in ENDING):
            # ip_route_output_key_hash_rcu: what a bound socket finds no route for is taken to be on the link
            route = Route(Prefix(dst, self.width, self.width), "unicast", oif, scope="link")
        if route is None:
            return None
        if route.hops:
            route = self.multipath.choose(route, src, dst, flow, local=True)
        return self.exceptions.output(route, dst) if self.exceptions else route

    def _l3_table(self, iif: str, oif: Any) -> int:
        """l3mdev_update_flow and l3mdev_fib_rule_match: the table of the packet's VRF, 0 for none."""
        device = oif if oif is not None else self.net.devices.get(iif)
        if device is None:
            return 0
        master: Any = device if device.kind == "vrf" else device.l3_master
        return 0 if master is None else int(master.table)

    def route(self, dst: int, src: int = 0, mark: int = 0, iif: str = "") -> Route | None:
        """fib_lookup, for rules."""
        return self.fib.lookup(dst, src, mark, iif)

    def _address_towards(self, hop: Route) -> int:
        """fib_info_update_nhc_saddr: the address that packets from here have on a next hop."""
        return self.select_addr(hop.device, hop.gateway, "link" if hop.scope == "link" else "global")

    def local_route(self, addr: int) -> Route | None:
        """The route of the local table, of any kind (fib_get_table of RT_TABLE_LOCAL)."""
        return self.fib.local_lookup(addr)

    def addr_type(self, addr: int) -> str:
        return self.fib.addr_type(addr)

    def find_socket(self, proto: int, dst: int, dport: int, src: int, sport: int) -> Any:
        """The socket that takes a packet with these addresses and ports; None without one."""
        return self.socket_lookup(proto, dst, dport, src, sport)

    def is_local(self, addr: int) -> bool:
        """Is this one of the namespace's own addresses (127.0.0.0/8 included)?"""
        if addr in self.fib.own:
            return True
        route = self.fib.local_lookup(addr)
        return route is not None and route.kind == "local"

    def reroute(self, frame: Frame) -> str:
        """ip_route_me_harder: a local packet's route after OUTPUT changed it. The errno name of a failure drops it.

        What is left of OUTPUT still sees the outgoing device of the old route (nf_hook_state)."""
        source = frame.src if self.is_local(frame.src) else 0
        flow = Flow(frame.tos, uid=getattr(frame.sock, "uid", 0)) if self.fib.asks_flow else NO_FLOW
        look_up = self.ops.to_many if self.ops.kind_of(frame.dst) else self.lookup_output
        route = look_up(frame.dst, source, frame.mark, None, flow)
        if route is None:
            return "ENETUNREACH"
        if route.kind not in ("unicast", "local", "broadcast", "multicast"):
            return ENDING.get(route.kind, "EINVAL")
        if is_loopback(frame.src) and route.kind != "local" and not route.device.loopback:
            if not self.route_localnet[route.device.ifindex]:
                return "EINVAL"  # __mkroute_output: a loopback source stays on lo
        frame.route = route
        return ""

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
        self.fib.outputs.clear()
        for listener in self.address_listeners:
            listener(self.number, address)
        self.net.sysctl.settle_device(device.name)
        for route in self._kernel_routes(address):
            self.fib.append(route)
        return address

    def _kernel_routes(self, address: Address) -> list[Route]:
        """fib_add_ifaddr: the routes that come with an address. The source of a secondary one's is its primary address."""
        device, length, width, prefix = address.device, address.length, address.width, address.prefix
        source = address.addr
        if address.secondary:
            source = next(each.addr for each in self._subnet(device, prefix) if not each.secondary)
        kernel: dict[str, Any] = {"device": device, "prefsrc": source, "proto": "kernel"}
        routes = [Route(Prefix(address.addr, width, width), "local", scope="host", table=LOCAL_TABLE, **kernel)]
        if address.secondary or not device.up:
            return self._in_vrf(routes, device)
        if device.kind == "loopback" and length < width:
            routes.append(Route(prefix, "local", scope="host", table=LOCAL_TABLE, **kernel))
        elif length < width:
            routes.append(Route(prefix, scope="link", **kernel))
        if length < width - 1:
            to_all = Prefix(prefix.broadcast, width, width)
            routes.append(Route(to_all, "broadcast", scope="link", table=LOCAL_TABLE, **kernel))
        return self._in_vrf(routes, device)

    def _in_vrf(self, routes: list[Route], device: Device) -> list[Route]:
        """l3mdev_fib_table: the routes of a device in a VRF are all in the VRF's table."""
        master = device.l3_master
        return routes if master is None else [replace(route, table=master.table) for route in routes]

    def _subnet(self, device: Device, prefix: Prefix) -> list[Address]:
        return [each for each in self.addresses if each.device is device and each.prefix == prefix]

    def remove_address(self, address: Address) -> None:
        """Remove an address and the routes that came with it (__inet_del_ifa). Further addresses of the subnet go with the
        first one, or the next becomes the first (`promote_secondaries`). With a device's last address all its routes and
        neighbours go."""
        device, gone, promoted = address.device, [address], None
        if not address.secondary:
            others = [each for each in self._subnet(device, address.prefix) if each.secondary]
            if others and self.ops.conf(device.name, "promote_secondaries"):
                promoted = others[0]
            gone += others
        came = [route for each in gone for route in self._kernel_routes(each)]
        self.addresses = [each for each in self.addresses if each not in gone]
        self.fib.outputs.clear()
        for route in came:
            self.fib.withdraw(route)
        if promoted is not None:
            for each in gone[1:]:
                self.addresses.append(replace(each, secondary=each is not promoted))
                self.fib.outputs.clear()
                for route in self._kernel_routes(self.addresses[-1]):
                    self.fib.append(route)
        for each in [each for each in self.addresses if each.device is device]:
            for route in self._kernel_routes(each):
                self.fib.append(route)  # what another address has, too
        if all(each.device is not device for each in self.addresses):
            self.remove_device(device)
            device.forget_neighbours(self.number)

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
        while first := next((each for each in self.addresses if each.device is device), None):
            self.remove_address(first)
        self.remove_device(device)

    def came_up(self, device: Device) -> None:
        """Add the connected routes of a device that is up again (routes that users added do not come back, as in Linux), and
        announce its addresses."""
        for address in [each for each in self.addresses if each.device is device]:
            for route in self._kernel_routes(address):
                self.fib.append(route)
        self.fib.revive(device)
        self.ops.came_up(device)

    def __repr__(self) -> str:
        return f"<{self.name} of {self.net.name}>"
