"""What a namespace learned about single destinations: path MTUs and better gateways (net/ipv4/route.c, RFC 1191, RFC 792).

Each is an exception to one route: `fib` stays as it was written, and while there are no exceptions nobody asks here.
When to tell others of a better gateway is here, too. Must not know sockets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emu.clock import SECOND, Clock
from emu.kernel.link.device import Device
from emu.kernel.net.fib import Route
from emu.kernel.net.neighbour import VALID
from emu.kernel.net.neighbour import lookup as neighbour_lookup
from emu.kernel.net.peer import peer
from emu.wire.addr import ip4_text
from emu.wire.frame import Frame
from emu.wire.icmp import DEST_UNREACH, FRAG_NEEDED, REDIRECT

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

GC_TIMEOUT_NS = 300 * SECOND  # ip_rt_gc_timeout: how long a redirect is believed
TICK_NS = SECOND // 250
REDIRECT_CODES = range(4)  # for a network or a host, with or without a TOS
MULTICAST, LIMITED_BROADCAST = 14, 0xFFFFFFFF


@dataclass(slots=True)
class RouteException:
    """fib_nh_exception: what holds for packets to `dst` by `route` until `expires_ns`. `pmtu`, `gateway`: 0 for not known.

    `locked`: the path takes less than `min_pmtu`, so that packets to it may be cut.
    """

    route: Route
    dst: int
    expires_ns: int
    pmtu: int = 0
    gateway: int = 0
    locked: bool = False
    _output: Route | None = None
    _input: Route | None = None

    def change(self, expires_ns: int, *, pmtu: int = 0, gateway: int = 0, locked: bool = False) -> None:
        """update_or_create_fnhe: what is 0 stays as it was."""
        self.expires_ns = expires_ns
        self.gateway = gateway or self.gateway
        if pmtu:
            self.pmtu, self.locked = pmtu, locked
        self._output = self._input = None

    @property
    def mtu(self) -> int:
        """ipv4_mtu: what a packet to `dst` may have, by what is known."""
        most: int = self.route.mtu or self.route.device.mtu
        return min(self.pmtu, most) if self.pmtu else most

    @property
    def output(self) -> Route:
        """The route as a local packet takes it."""
        if self._output is None:
            self._output = replace(
                self.input,
                mtu=self.mtu if self.pmtu else self.route.mtu,
                mtu_locked=self.locked,
                cached=f"{'<redirected> ' if self.gateway else ''}for {ip4_text(self.dst)}",
            )
        return self._output

    @property
    def input(self) -> Route:
        """The route as a packet that is forwarded takes it: the gateway counts, the MTU does not (ip_forward_use_pmtu)."""
        if self._input is None:
            route = self.route
            if self.gateway:
                route = replace(route, gateway=self.gateway, cached=f"<redirected> for {ip4_text(self.dst)}")
            self._input = route
        return self._input


class RouteExceptions(dict[tuple[Route, int], RouteException]):
    """The exceptions of one namespace, by route and destination."""

    __slots__ = ("_clock",)

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def find(self, route: Route, dst: int) -> RouteException | None:
        """find_exception: what is known of `dst`, unless it has expired."""
        entry = self.get((route, dst))
        if entry is not None and self._clock.now > entry.expires_ns:
            del self[route, dst]
            return None
        return entry

    def output(self, route: Route, dst: int) -> Route:
        """The route of a local packet to `dst`."""
        entry = self.find(route, dst)
        return route if entry is None else entry.output

    def input(self, route: Route, dst: int) -> Route:
        """The route of a packet to be forwarded to `dst`."""
        entry = self.find(route, dst)
        return route if entry is None else entry.input

    def learn(
        self, route: Route, dst: int, lasting_ns: int, *, pmtu: int = 0, gateway: int = 0, locked: bool = False
    ) -> None:
        """Note something about `dst` that holds for `lasting_ns` from now on."""
        entry = self.find(route, dst)
        if entry is None:
            entry = self[route, dst] = RouteException(route, dst, 0)
        entry.change(self._clock.now + lasting_ns, pmtu=pmtu, gateway=gateway, locked=locked)

    def remove_device(self, device: Device) -> None:
        """Forget what was learned about routes out of a device that goes away."""
        for key in [key for key in self if key[0].device is device]:
            del self[key]


def heed(net: Netns, quoted: Frame, kind: int, code: int, info: int) -> None:
    """What an ICMP error (`quoted.cause`) tells about the road of a local packet: a smaller MTU, or a better gateway.

    `info` is the error's second word.
    """
    if kind == DEST_UNREACH and code == FRAG_NEEDED:
        if net.sysctl.number("net.ipv4.ip_no_pmtu_disc") <= 1:
            update_pmtu(net, quoted.dst, quoted.src, info & 0xFFFF)
    elif kind == REDIRECT and code in REDIRECT_CODES:
        told_by = quoted.cause
        _do_redirect(net, quoted.dst, quoted.src, info, told_by.src, told_by.indev)


def update_pmtu(net: Netns, dst: int, src: int, mtu: int) -> None:
    """__ip_rt_update_pmtu: the path to `dst` takes packets of `mtu` bytes."""
    route = net.fib.lookup(dst, src)
    if route is None or route.kind != "unicast" or not mtu:
        return
    entry = net.exceptions.find(route, dst) or RouteException(route, dst, 0)
    if entry.locked or entry.mtu < mtu:
        return
    lowest = net.sysctl.number("net.ipv4.route.min_pmtu")
    locked = mtu < lowest
    if locked:
        mtu = min(entry.mtu, lowest)
    lasting_ns = net.sysctl.number("net.ipv4.route.mtu_expires") * SECOND
    if entry.pmtu == mtu and not locked and net.clock.now < entry.expires_ns - lasting_ns // 2:
        return
    net.exceptions.learn(route, dst, lasting_ns, pmtu=mtu, locked=locked)


def _do_redirect(net: Netns, dst: int, src: int, new: int, old: int, device: Device) -> None:
    """__ip_do_redirect: believed only from the gateway in use, about an address on the link."""
    route = net.fib.lookup(dst, src)
    if route is None or route.kind != "unicast" or net.exceptions.output(route, dst).gateway != old:
        return
    conf = net.sysctl.conf
    if new == old or not conf(device.name, "accept_redirects"):
        return
    if new >> 28 == MULTICAST or not new >> 24 or new == LIMITED_BROADCAST:
        return
    if not conf(device.name, "shared_media"):
        if not _on_link(net, device, new, old):
            return
        if conf(device.name, "secure_redirects") and not _is_gateway(net, new, device):
            return
    elif net.addr_type(new) != "UNICAST":
        return
    neighbour = neighbour_lookup(net, route.device, new)
    if neighbour.state in VALID:
        net.exceptions.learn(route, dst, GC_TIMEOUT_NS, gateway=new)
    else:
        # a gateway that nobody has met is asked for first; the next redirect is believed
        neighbour.event_send(None)


def redirects(net: Netns, src: int, dst: int, route: Route) -> bool:
    """Is `src` to be told that `route`, by the link that its packet came from, is the shorter way to `dst`?

    Only a neighbour on that link is told (__mkroute_input), and not too often (ip_rt_send_redirect).
    """
    device: Device = route.device
    conf, number = net.sysctl.conf, net.sysctl.number
    if not conf(device.name, "send_redirects"):
        return False
    back = net.fib.lookup(src, dst)
    if back is None or back.device is not device or back.gateway:
        return False
    if not conf(device.name, "shared_media") and not _on_link(net, device, src, route.gateway):
        return False
    return peer(net, src).redirect(
        net.clock.now,
        number("net.ipv4.route.redirect_number"),
        number("net.ipv4.route.redirect_load") * TICK_NS,
        number("net.ipv4.route.redirect_silence") * TICK_NS,
    )


def _on_link(net: Netns, device: Device, one: int, other: int) -> bool:
    """inet_addr_onlink: does one subnet of the device hold both? (`other` 0: the one.)"""
    return any(
        each.device is device and one in each.prefix and (not other or other in each.prefix) for each in net.addresses
    )


def _is_gateway(net: Netns, addr: int, device: Device) -> bool:
    """ip_fib_check_default: is it the gateway of a route already?"""
    return any(route.gateway == addr and route.device is device for table in net.fib.tables.values() for route in table)
