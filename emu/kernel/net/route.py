"""Path MTUs and redirects: what ICMP errors change in the routes of single destinations (net/ipv4/route.c, RFC 1191, RFC 792).

Also decides when a router sends a redirect. Must not know sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.clock import SECOND
from emu.kernel.link.device import Device
from emu.kernel.net.exceptions import RouteException
from emu.kernel.net.fib_rules import NO_FLOW
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.neighbour import VALID
from emu.kernel.net.neighbour import lookup as neighbour_lookup
from emu.wire.addr import LIMITED_BROADCAST, is_multicast
from emu.wire.frame import Frame
from emu.wire.icmp import DEST_UNREACH, FRAG_NEEDED, REDIRECT

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

GC_TIMEOUT_NS = 300 * SECOND  # ip_rt_gc_timeout: how long a redirect holds
REDIRECT_CODES = range(4)  # redirect codes: network or host, with or without a TOS


def update_from_error(net: Netns, quoted: Frame, kind: int, code: int, info: int) -> None:
    """ipv4_update_pmtu and ipv4_redirect: apply an ICMP error (`quoted.cause`) to the route of the quoted packet.

    The error holds a smaller path MTU or a better gateway; `info` is its second word.
    """
    if kind == DEST_UNREACH and code == FRAG_NEEDED:
        if net.sysctl.number("net.ipv4.ip_no_pmtu_disc") <= 1:
            update_pmtu(net, quoted.dst, quoted.src, info & 0xFFFF)
    elif kind == REDIRECT and code in REDIRECT_CODES:
        error = quoted.cause
        _do_redirect(net, quoted.dst, quoted.src, info, error.src, error.indev)


def update_pmtu(net: Netns, dst: int, src: int, mtu: int) -> None:
    """__ip_rt_update_pmtu: the path MTU to `dst` is `mtu` bytes."""
    route = net.ipv4.fib.lookup(dst, src)
    if route is None or route.kind not in ("unicast", "local") or not mtu:
        return
    first = route.hops[0] if route.hops else route
    entry = net.ipv4.exceptions.find(first, dst) or RouteException(first, dst, 0)
    if entry.locked or entry.mtu < mtu:
        return
    lowest = net.sysctl.number("net.ipv4.route.min_pmtu")
    locked = mtu < lowest
    if locked:
        mtu = min(entry.mtu, lowest)
    lasting_ns = net.sysctl.number("net.ipv4.route.mtu_expires") * SECOND
    if entry.pmtu == mtu and not locked and net.clock.jiffy_ns < entry.expires_ns - lasting_ns // 2:
        return
    for hop in route.hops or (route,):
        net.ipv4.exceptions.learn(hop, dst, lasting_ns, pmtu=mtu, locked=locked)


def is_uncached(route: Route) -> bool:
    """Of the host's own address on another device than lo each lookup makes a route of its own (__mkroute_output), so that an
    exception does not change those that sockets have."""
    return route.kind == "local" and not route.device.loopback


def _do_redirect(net: Netns, dst: int, src: int, new: int, old: int, device: Device) -> None:
    """__ip_do_redirect: accepted only from the gateway in use, and for a new gateway on the link."""
    route = net.ipv4.fib.lookup(dst, src)
    if route is not None and route.hops:
        route = net.ipv4.multipath.choose(route, src, dst, NO_FLOW, local=True)
    if route is None or route.kind != "unicast" or net.ipv4.exceptions.output(route, dst).gateway != old:
        return
    conf = net.sysctl.conf
    if new == old or not conf(device.name, "accept_redirects"):
        return
    if is_multicast(new) or not new or new == LIMITED_BROADCAST:
        return
    if not conf(device.name, "shared_media"):
        if not on_link(net, device, new, old):
            return
        if conf(device.name, "secure_redirects") and not _is_gateway(net, new, device):
            return
    elif net.ipv4.addr_type(new) != "UNICAST":
        return
    neighbour = neighbour_lookup(net.ipv4, route.device, new)
    if neighbour is None:
        return
    if neighbour.state in VALID:
        net.ipv4.exceptions.learn(route, dst, GC_TIMEOUT_NS, gateway=new)
    else:
        # a gateway without a valid neighbour entry is resolved first; the next redirect is accepted
        neighbour.event_send(None)


def redirects(net: Netns, src: int, dst: int, route: Route) -> bool:
    """Is a redirect sent to `src`, because `route` to `dst` goes out of the device that its packet came in on?

    Only to a neighbour on that link (__mkroute_input), and within the rate limit (ip_rt_send_redirect).
    """
    device: Device = route.device
    conf, number = net.sysctl.conf, net.sysctl.number
    if not conf(device.name, "send_redirects"):
        return False
    back = net.ipv4.fib.lookup(src, dst)
    if back is None or not back.uses(device) or back.gateway:
        return False
    if not conf(device.name, "shared_media") and not on_link(net, device, src, route.gateway):
        return False
    return net.ipv4.peers[src].redirect(
        net.clock.now,
        number("net.ipv4.route.redirect_number"),
        number("net.ipv4.route.redirect_load"),
        number("net.ipv4.route.redirect_silence"),
    )


def on_link(net: Netns, device: Device, one: int, other: int) -> bool:
    """inet_addr_onlink: does one subnet of the device hold both? (`other` 0: the one.)"""
    return any(
        each.device is device and one in each.prefix and (not other or other in each.prefix)
        for each in net.ipv4.addresses
    )


def _is_gateway(net: Netns, addr: int, device: Device) -> bool:
    """ip_fib_check_default: is it the gateway of a route already?"""
    return any(
        hop.gateway == addr and hop.device is device
        for table in net.ipv4.fib.tables.values()
        for route in table
        for hop in route.hops or (route,)
    )
