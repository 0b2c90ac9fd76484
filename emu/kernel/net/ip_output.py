"""IPv4 on the way out: local packets, source addresses, POSTROUTING, the next hop (net/ipv4/ip_output.c, route.c).

Must not know sockets; what is too long goes to `fragment.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emu.kernel.net.drop import drop
from emu.kernel.net.fib import FAILING, Route
from emu.kernel.net.neighbour import lookup as neighbour_lookup
from emu.kernel.netfilter.hooks import LOCAL_OUT, POST_ROUTING, STOLEN, Drop, Reject
from emu.wire.addr import ZERO_MAC
from emu.wire.frame import Frame
from emu.wire.rewrite import set_ethernet

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

LO_HEADER = bytes(12) + b"\x08\x00"
EVERYBODY = 0xFFFFFFFF


def route_output(net: Netns, dst: int, src: int = 0, mark: int = 0, oif: Any = None) -> tuple[Route | None, int, str]:
    """ip_route_output_key: the route and source address of a local packet, or why there is none.

    Gives (route, source, ""), or (None, 0, errno name): ENETUNREACH without a route, EHOSTUNREACH, EACCES or EINVAL
    by a failing route, EINVAL for a source that is not ours.
    """
    if src and not net.is_local(src):
        return None, 0, "EINVAL"
    route = net.fib.lookup(dst, src, mark, "", oif)
    if route is None:
        return None, 0, "ENETUNREACH"
    if route.kind in FAILING:
        return None, 0, FAILING[route.kind]
    if net.exceptions:
        route = net.exceptions.output(route, dst)
    if dst == EVERYBODY:
        # __mkroute_output: to everybody on the link, not by a gateway
        return replace(route, kind="broadcast", gateway=0), src or source_address(net, route, dst), ""
    if src >> 24 == 127 and route.kind != "local" and not net.route_localnet[route.device.ifindex]:
        return None, 0, "EINVAL"
    return route, src or source_address(net, route, dst), ""


def source_address(net: Netns, route: Route, dst: int) -> int:
    """The address that a local packet on this route comes from (RFC 1122 3.3.4.3; fib_result_prefsrc)."""
    if route.prefsrc:
        return route.prefsrc
    if route.kind == "local":
        return dst
    return net.select_addr(route.device, route.gateway or dst, "link" if route.scope == "link" else "global")


def local_out(net: Netns, frame: Frame) -> str:
    """ip_local_out: OUTPUT, then on the way; `frame.route` is set. Gives "" or the errno name for the sender (EPERM)."""
    route: Route = frame.route
    frame.indev = None
    frame.outdev = net.devices["lo"] if route.kind == "local" else route.device
    if net.hooks.fns[LOCAL_OUT]:
        verdict = net.hooks.run(LOCAL_OUT, frame)
        if verdict is not None:
            if verdict is not STOLEN:
                refuse(net, frame, verdict, LOCAL_OUT)
                return "EPERM"
            return ""
        route = frame.route
    output(net, frame, route)
    return ""


def output(net: Netns, frame: Frame, route: Route) -> None:
    """ip_output: POSTROUTING, then the link. `route` is where the packet goes, `frame.route` too."""
    trail = frame.trail
    if trail is not None:
        trail.append(route)
    device = frame.outdev = net.devices["lo"] if route.kind == "local" else route.device
    if net.hooks.fns[POST_ROUTING]:
        verdict = net.hooks.run(POST_ROUTING, frame)
        if verdict is not None:
            if verdict is not STOLEN:
                refuse(net, frame, verdict, POST_ROUTING)
            return
    if len(frame.buf) - 14 > (route.mtu or device.mtu) or frame.frag_max_size:
        net.fragment(frame, route)
    else:
        finish(frame, route)


def finish(frame: Frame, route: Route) -> None:
    """ip_finish_output2: the neighbour's header in front, and out."""
    device = frame.outdev
    if device.noarp:
        set_ethernet(frame, LO_HEADER, ZERO_MAC, ZERO_MAC)
        device.transmit(frame)
        return
    nexthop = route.gateway or frame.dst
    neighbour = device.neigh.get(nexthop)
    if neighbour is None:
        neighbour = neighbour_lookup(device.net, device, nexthop)
    header = neighbour.header
    sock = frame.sock
    if sock is not None and sock.confirm_neighbour:
        sock.confirm_neighbour = False
        neighbour.confirm()
    if header is not None:
        set_ethernet(frame, header, neighbour.lladdr, device.mac)
        device.transmit(frame)
    else:
        neighbour.output(frame)


def refuse(net: Netns, frame: Frame, verdict: Any, hook: int) -> None:
    """A hook said no: carry out a Reject, then drop."""
    if isinstance(verdict, Reject):
        net.reject(frame, verdict.with_, hook)
        drop(net, frame, "NETFILTER_DROP", verdict.by)
    elif isinstance(verdict, Drop):
        drop(net, frame, verdict.reason, verdict.by)
