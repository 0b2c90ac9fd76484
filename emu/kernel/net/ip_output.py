"""IPv4 output: local packets, source addresses, POSTROUTING, the next hop (net/ipv4/ip_output.c, route.c).

Must not know sockets; `fragment.py` cuts packets that are too long.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from emu.errors import SocketError
from emu.kernel.net import multicast
from emu.kernel.net.family import KEPT
from emu.kernel.net.fib import MOST_KNOWN
from emu.kernel.net.fib_rules import NO_FLOW, Flow
from emu.kernel.net.fib_semantics import ENDING, Route
from emu.kernel.net.multicast import FIRST_GROUP, TO_MANY, is_member
from emu.kernel.net.neighbour import lookup as neighbour_lookup
from emu.kernel.netfilter.hooks import LOCAL_OUT, POST_ROUTING
from emu.wire import ipv4
from emu.wire.addr import ZERO_MAC, ip4_kind, is_loopback
from emu.wire.frame import AF_INET, LOOPBACK, Frame
from emu.wire.rewrite import set_ethernet
from emu.wire.sound import well_formed

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

LOCALHOST = 0x7F000001
IP_TYPE = b"\x08\x00"
LO_HEADER = bytes(12) + IP_TYPE
_LO_HEADER = bytearray(LO_HEADER)


def flow(net: Netns, proto: int, sport: int = 0, dport: int = 0, tos: int = 0, uid: int = 0) -> Flow:
    """What rules and routes ask about a packet, where there is a rule or route that asks."""
    return Flow(tos, proto, sport, dport, uid) if net.ipv4.fib.asks_flow else NO_FLOW


def route_output(
    net: Netns, dst: int, src: int = 0, mark: int = 0, oif: Any = None, flow: Flow = NO_FLOW
) -> tuple[Route | None, int, str]:
    """ip_route_output_key: the route and source address of a local packet, or why there is none.

    Gives (route, source, ""), or (None, 0, errno name): ENETUNREACH without a route, EHOSTUNREACH, EACCES or EINVAL
    by the kind of the route, EINVAL for a source that is not local, UNDECIDED if emu does not know.
    """
    family = net.ipv4
    if src and not family.is_local(src):
        return None, 0, "EINVAL"
    dst = destination(dst, src)
    if dst >= FIRST_GROUP and ip4_kind(dst):
        route = multicast.route(net, dst, src, mark, oif, flow)
    else:
        route = family.lookup_output(dst, src, mark, oif, flow)
    if route is None:
        return None, 0, "ENETUNREACH"
    if route.kind in ENDING:
        return None, 0, ENDING[route.kind]
    if is_loopback(src) and route.kind != "local" and not route.device.loopback:
        if not family.route_localnet[route.device.ifindex]:
            return None, 0, "EINVAL"
    return route, src or source_address(net, route, dst), ""


def destination(dst: int, src: int = 0) -> int:
    """What 0.0.0.0 stands for: the socket's own address, else 127.0.0.1 (ip_route_output_key_hash_rcu)."""
    return dst or src or LOCALHOST


def route_socket(net: Netns, dst: int, src: int = 0, flow: Flow = NO_FLOW) -> tuple[Route, int]:
    """The route and source address for a socket's call. Raises SocketError with the errno of `route_output` (EOPNOTSUPP
    where emu cannot decide)."""
    family = net.ipv4
    fib = family.fib
    known = fib.outputs.get((dst, src))
    if known is not None and not family.exceptions:
        return known
    route, source, failed = route_output(net, dst, src, 0, None, flow)
    if route is None:
        raise SocketError(getattr(errno, failed, errno.EOPNOTSUPP))
    if dst < FIRST_GROUP and fib.known.get(dst) is route:  # chosen among no next hops, changed for no destination
        if len(fib.outputs) >= MOST_KNOWN:
            fib.outputs.clear()
        fib.outputs[dst, src] = route, source
    return route, source


def send(net: Netns, frame: Frame, *, interruptible: bool = True) -> None:
    """A socket's call sends a packet; the call returns when everything that follows from it on veths and lo has arrived.
    Raises SocketError: EPERM for what a rule drops, or the errno of the route that rules or NAT gave it."""
    failed = local_out(net, frame, interruptible)
    if net.clock.cpus == 1:  # else the program goes on while another CPU handles the frame
        net.clock.drain()
    if failed:
        raise SocketError(getattr(errno, failed, errno.EOPNOTSUPP))


def source_address(net: Netns, route: Route, dst: int) -> int:
    """The source address of a local packet on this route (RFC 1122 3.3.4.3; fib_result_prefsrc)."""
    if route.prefsrc:
        return route.prefsrc
    if route.kind == "local":
        return dst
    return net.ipv4.select_addr(route.device, route.gateway or dst, "link" if route.scope == "link" else "global")


def local_out(net: Netns, frame: Frame, interruptible: bool = False) -> str:
    """ip_local_out: OUTPUT, then ip_output; `frame.route` is set. Gives "" or the errno name for the sender.

    `interruptible`: a system call sends it; each fragment of it travels before the next is sent."""
    route: Route = frame.route
    frame.indev = None
    family = net.ipv4
    if route.device is not None and route.device.l3_master is not None and route.kind == "unicast":
        ended = _through_vrf(net, frame, route.device.l3_master)
        if ended:
            return "" if ended == KEPT else ended
    # all but local routes name their device: each packet that a host sends passes here, without that call
    frame.outdev = family.out_device(route) if route.kind == "local" else route.device
    trail = frame.trail
    if trail is not None:
        trail.append(route)
    if family.fns[LOCAL_OUT]:
        ended = family.nf_hook(LOCAL_OUT, frame)
        if ended:
            return "" if ended == KEPT else ended
        if frame.route is not route:
            route = frame.route
            frame.outdev = family.out_device(route)
            if trail is not None:
                trail.append(route)
    return (mc_output if route.kind in TO_MANY else output)(net, frame, route, interruptible)


def _through_vrf(net: Netns, frame: Frame, vrf: Any) -> str:
    """vrf_ip_out_direct: a local packet to a slave crosses OUTPUT and POSTROUTING once more, with the VRF as its device. Gives
    what `nf_hook` gives."""
    frame.outdev = vrf
    for hook in (LOCAL_OUT, POST_ROUTING):
        if net.ipv4.fns[hook]:
            ended = net.ipv4.nf_hook(hook, frame)
            if ended:
                return ended
    vrf.tapped(frame, own=True)
    return ""


def mc_output(net: Netns, frame: Frame, route: Route, interruptible: bool) -> str:
    """ip_mc_output: the host receives its own broadcasts, and what it sends to a group that it is in. The copy crosses
    POSTROUTING, and comes in on the outgoing device; taps do not see it (dev_loopback_xmit). Gives what `output` gives."""
    family, device = net.ipv4, frame.outdev
    if not device.loopback and (route.kind == "broadcast" or is_member(device, frame.dst)):
        net.copied += 1
        copy = frame.clone()
        if not family.fns[POST_ROUTING] or not family.nf_hook(POST_ROUTING, copy):
            copy.indev, copy.pkt_type, copy.sock = device, LOOPBACK, None
            if not copy.valid:  # dev_loopback_xmit: the checksum of the payload is not asked, its lengths are
                copy.valid = ipv4.check(copy) is None and well_formed(copy)
            net.clock.enqueue((device.deliver, copy))
        if route.kind == "multicast" and not frame.ttl:
            net.drop(frame, "NOT_SPECIFIED", route)  # a TTL of 0 does not leave the host
            return ""
    return output(net, frame, route, interruptible)


def output(net: Netns, frame: Frame, route: Route, interruptible: bool = False) -> str:
    """ip_output: POSTROUTING, then the link. `route` is where the packet goes, `frame.outdev` the outgoing device. Gives
    "" or the errno name for a local sender."""
    family = net.ipv4
    if family.fns[POST_ROUTING]:
        ended = family.nf_hook(POST_ROUTING, frame)
        if ended:
            return "" if ended == KEPT else ended
    if frame.tot_len > (route.mtu or frame.outdev.mtu) or frame.frag_max_size:
        failed: str = family.ops.fragment(frame, route, interruptible)
        return failed
    finish(frame, route)
    return ""


def finish(frame: Frame, route: Route) -> None:
    """ip_finish_output2: put the neighbour's Ethernet header in front and transmit."""
    device = frame.outdev
    if device.noarp:
        if device.loopback:
            set_ethernet(frame, _LO_HEADER, ZERO_MAC, ZERO_MAC)
        else:  # arp_constructor: the next hop of a device without ARP has the device's own address
            mac = device.mac
            set_ethernet(frame, mac + mac + IP_TYPE, mac, mac)
        device.transmit(frame)
        return
    nexthop = route.gateway or frame.dst
    neighbour = device.neigh[AF_INET].get(nexthop)
    if neighbour is None:
        neighbour = neighbour_lookup(device.net.ipv4, device, nexthop)
        if neighbour is None:
            device.net.drop(frame, "NEIGH_CREATEFAIL", None, device)
            return
    header = neighbour.header
    sock = frame.sock
    if sock is not None and sock.confirm_neighbour:
        sock.confirm_neighbour = False
        frame.confirms = True
    if frame.confirms:  # also one that a container sent, as the mark stays (sock_confirm_neigh, skb_scrub_packet)
        neighbour.confirm()
    if header is not None:
        set_ethernet(frame, header, neighbour.lladdr, device.mac)
        device.transmit(frame)
    else:
        neighbour.output(frame)
