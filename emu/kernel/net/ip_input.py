"""IPv4 on the way in: header checks, PREROUTING, the routing decision, local delivery (net/ipv4/ip_input.c, route.c).

Must not know protocols beyond their number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emu.kernel.link.device import Device
from emu.kernel.net import icmp, ip_forward, ip_options, multipath
from emu.kernel.net.drop import drop
from emu.kernel.net.fib import MOST_KNOWN
from emu.kernel.net.fib_rules import NO_FLOW, Flow
from emu.kernel.net.fib_semantics import ENDING, NO_NETWORK, UNDECIDED, Route
from emu.kernel.net.ip_options import IpOptions
from emu.kernel.net.multicast import is_member
from emu.kernel.netfilter.hooks import LOCAL_IN, PRE_ROUTING
from emu.trail import Delivered
from emu.wire import icmp as wire_icmp
from emu.wire import ipv4, quote
from emu.wire.addr import LIMITED_BROADCAST, is_loopback, is_multicast
from emu.wire.frame import ETH_HLEN, HOST, ICMP, IP_HLEN, OTHERHOST, SCTP, TCP, UDP, Frame
from emu.wire.rewrite import set_options, trim

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

# the ICMP codes of ip_error (net/ipv4/route.c) for a packet without a route
UNREACHABLE_CODES = {
    "unreachable": wire_icmp.HOST_UNREACH, "prohibit": wire_icmp.PKT_FILTERED, NO_NETWORK: wire_icmp.NET_UNREACH,
}  # fmt: skip
PORTED = frozenset((TCP, UDP, SCTP))
# the first octets of addresses that need no further look: not that of 0.0.0.0, loopback, multicast or above
UNICAST = frozenset(range(1, 224)) - {127}
LOCAL_KINDS = frozenset(("local", "broadcast", "multicast"))
LINK_LOCAL_GROUPS = 0xE00000  # 224.0.0.0/24
IGMP = 2  # IPPROTO_IGMP
L4_PLAIN = ETH_HLEN + IP_HLEN  # where the payload of a packet without IP options begins
DESTINATION_AT = 16  # the offset of the destination in the IP header


def receive(frame: Frame, device: Device) -> None:
    """ip_rcv."""
    net: Netns = device.net
    if frame.pkt_type == OTHERHOST:
        drop(net, frame, "OTHERHOST")
        return
    if not frame.valid:
        reason = ipv4.check(frame)
        if reason is not None:
            drop(net, frame, reason)
            return
        trim(frame, ETH_HLEN + frame.tot_len)
    frame.outdev = frame.options = None
    # with physin set the packet passed PREROUTING at the bridge's port (br_netfilter's ip_sabotage_in)
    family = net.ipv4
    if family.fns[PRE_ROUTING] and frame.physin is None:
        dst = frame.dst
        if family.nf_hook(PRE_ROUTING, frame):
            return
        if frame.dst != dst:
            frame.route = None
    elif frame.frag_max_size:
        frame.frag_max_size, frame.ignore_df = (
            0,
            True,
        )  # ip_rcv clears the control block: what br_netfilter stored there is lost
    if device.l3_rcv is not None and device.l3_rcv(frame, device):
        return
    # ip_rcv_finish: route, then deliver or forward. What came over lo, or was rewritten at a bridge's port, has its route already
    route: Route | None = frame.route
    unrouted = route is None
    if unrouted:
        route = family.fib.inputs.get(
            (frame.src, frame.dst, device.ifindex)
        )  # what route_input begins with, without its call
        if route is None:
            reason, route = route_input(net, frame, device)
            if reason:
                if reason == "IP_INADDRERRORS" and frame.l4 != L4_PLAIN:
                    frame.route = None
                    reason = receive_options(net, frame, device) or reason
                drop(net, frame, reason, route)
                return
        frame.route = route
    if frame.l4 != L4_PLAIN:
        reason = receive_options(net, frame, device)
        if reason:
            drop(net, frame, reason, route)
            return
        route = frame.route
    kind = "" if route is None else route.kind
    if route is not None and kind == "unicast":
        ip_forward.forward(net, frame, route, unrouted)
    elif route is not None and kind in LOCAL_KINDS:
        deliver(net, frame, route)
    else:
        no_route(net, frame, device, route)


def receive_options(net: Netns, frame: Frame, device: Device) -> str:
    """ip_rcv_options: read the options of a packet whose route is known; a drop reason ("" if there is none)."""
    options, wrong = ip_options.compile(net, frame, device, frame.route)
    frame.options = options
    if wrong:
        icmp.send(net, frame, wire_icmp.PARAMETER_PROBLEM, 0, wrong << 24)
        return "IP_INHDR"
    if options.srr < 0:
        return ""
    if not net.sysctl.conf(device.name, "accept_source_route"):
        return "NOT_SPECIFIED"
    return _source_route(net, frame, device, options)


def _source_route(net: Netns, frame: Frame, device: Device, options: IpOptions) -> str:
    """ip_options_rcv_srr: the packet is for the next address of its source route that is not this host's. A drop reason, ""
    if there is none."""
    kind = "" if frame.route is None else frame.route.kind
    if frame.pkt_type != HOST:
        return "NOT_SPECIFIED"
    if kind == "unicast" and not options.strict:
        return ""
    if kind == "unicast":
        icmp.send(net, frame, wire_icmp.PARAMETER_PROBLEM, 0, DESTINATION_AT << 24)
    if kind != "local" or (
        device.loopback and net.ipv4.is_local(frame.src)
    ):  # what this host sends itself goes no further
        return "NOT_SPECIFIED"
    data, srr = options.data, options.srr
    for pointer in range(data[srr + 2], data[srr + 1] + 1, 4):
        if pointer + 3 > data[srr + 1]:
            icmp.send(net, frame, wire_icmp.PARAMETER_PROBLEM, 0, IP_HLEN + srr + 2 << 24)
            return "NOT_SPECIFIED"
        here, nexthop = frame.dst, int.from_bytes(data[srr + pointer - 1 : srr + pointer + 3], "big")
        set_options(frame, bytes(data), nexthop)
        reason, frame.route = route_input(net, frame, device)
        if reason or frame.route is None or frame.route.kind not in ("unicast", "local"):
            return "NOT_SPECIFIED"
        options.changed = True
        if frame.route.kind == "unicast":
            options.nexthop = nexthop
            set_options(frame, bytes(data), here)
            break
    return ""


def no_route(net: Netns, frame: Frame, device: Device, route: Route | None) -> None:
    """ip_error: no route, or one that ends here."""
    forwards = net.ipv4.forwards[device.ifindex]
    if route is not None and route.kind == UNDECIDED:
        drop(net, frame, "UNDECIDED", route)
        return
    code = wire_icmp.NET_UNREACH if route is None else UNREACHABLE_CODES.get(route.kind)
    if code is not None and forwards:
        _error(net, frame, code)
    drop(net, frame, "IP_INNOROUTES" if forwards else "IP_INADDRERRORS", route)


def _error(net: Netns, frame: Frame, code: int) -> None:
    """ip_error: send the ICMP error for a packet without a route, within the rate limit."""
    number = net.sysctl.number
    cost, burst = number("net.ipv4.route.error_cost"), number("net.ipv4.route.error_burst")
    if net.ipv4.peers[frame.src].error(net.clock.now, cost, burst):
        icmp.send(net, frame, wire_icmp.DEST_UNREACH, code)


def route_input(net: Netns, frame: Frame, device: Device) -> tuple[str, Route | None]:
    """ip_route_input_noref: a drop reason ("" if there is none), and the route or None for "no route".

    Martians are dropped first. The source of a packet without a route is not looked at.
    """
    src, dst, family = frame.src, frame.dst, net.ipv4
    fib, ifindex = family.fib, device.ifindex
    route = fib.inputs.get((src, dst, ifindex))
    if route is not None:
        return "", route
    first, to = src >> 24, dst >> 24
    if first not in UNICAST or to not in UNICAST:
        if 224 <= to < 240:
            return _route_to_group(net, frame, device)
        if 224 <= first < 240 or src == LIMITED_BROADCAST:
            return "IP_INVALID_SOURCE", None
        if dst == LIMITED_BROADCAST or not src | dst:
            reason, back = source_reason(net, frame, 0, device, None) if src else ("", None)
            return (reason, back) if reason else ("", BROADCAST_IN)
        if not src:
            return "IP_INVALID_SOURCE", None
        if not dst:
            return "IP_INVALID_DEST", None
        if (first == 127 or to == 127) and not device.loopback and not family.route_localnet[ifindex]:
            return "IP_LOCALNET", None
    route = fib.known.get(dst) or fib.lookup(
        dst, src, frame.mark, device.name, None, flow_of(frame) if fib.asks_flow else NO_FLOW
    )
    if route is None or route.kind in ENDING:
        return "", route
    out = None
    if route.kind == "broadcast" and net.sysctl.conf(device.name, "bc_forwarding"):
        route = replace(route, kind="unicast")  # a directed broadcast goes on, also where `forwarding` is 0
        out = route.device
    elif route.kind == "unicast":
        if not family.forwards[ifindex]:
            return "IP_INADDRERRORS", route
        if route.hops:
            route = _choose(net, frame, route)
        out = route.device
    if not device.loopback:
        if out is device or fib.custom or family.rp_filter[ifindex]:
            reason, back = source_reason(net, frame, dst, device, out)
            return (reason, back) if reason else ("", route)
        if src in fib.own and not net.sysctl.conf(device.name, "accept_local"):
            return "IP_LOCAL_SOURCE", None
    if fib.known.get(dst) is route:  # neither chosen among next hops nor changed for this packet
        if len(fib.inputs) >= MOST_KNOWN:
            fib.inputs.clear()
        fib.inputs[src, dst, ifindex] = route
    return "", route


def source_reason(net: Netns, frame: Frame, dst: int, device: Device, out: Device | None) -> tuple[str, Route | None]:
    """fib_validate_source: why the source of a packet that came in on `device`, and is to leave by `out`, is not accepted ("":
    it is), and the route back. Linux looks that up for rp_filter, rules, local routes of one's own, or where `device` is `out`."""
    family = net.ipv4
    conf = net.sysctl.conf
    if not family.rp_filter[device.ifindex] and (out is not device or not conf(device.name, "send_redirects")):
        if conf(device.name, "accept_local"):
            return "", None
        if not family.fib.custom:
            return "IP_LOCAL_SOURCE" if frame.src in family.fib.own else "", None
    return _way_back(net, frame, dst, device, "" if out is None else out.name)


def _way_back(net: Netns, frame: Frame, dst: int, device: Device, way_on: str) -> tuple[str, Route | None]:
    """__fib_validate_source: is the source one of other hosts, and with rp_filter, would an answer to it leave by this device
    (strict), or at all (loose)?"""
    fib, conf = net.ipv4.fib, net.sysctl.conf
    mode = net.ipv4.rp_filter[device.ifindex]
    mark = frame.mark if conf(device.name, "src_valid_mark") else 0
    back = fib.lookup(frame.src, dst, mark, way_on, None, _back(frame) if fib.asks_flow else NO_FLOW)
    if back is None or back.kind in ENDING:
        return "IP_RPFILTER" if mode else "", back
    if back.kind == "local":
        if not conf(device.name, "accept_local"):
            return "IP_LOCAL_SOURCE", None
    elif back.kind != "unicast":
        return "IP_INVALID_SOURCE", back
    return "IP_RPFILTER" if mode == 1 and not back.uses(device) else "", back


def _route_to_group(net: Netns, frame: Frame, device: Device) -> tuple[str, Route | None]:
    """ip_route_input_mc: only a group that the host is in on this link is its own; nothing is forwarded (mc_forwarding is off)."""
    src, family = frame.src, net.ipv4
    if not is_member(device, frame.dst):
        return "NOT_SPECIFIED", MULTICAST_IN
    if is_multicast(src) or src == LIMITED_BROADCAST:
        return "IP_INVALID_SOURCE", None
    if is_loopback(src) and not device.loopback and not family.route_localnet[device.ifindex]:
        return "IP_LOCALNET", None
    if src == 0:
        link_local = frame.dst >> 8 == LINK_LOCAL_GROUPS or frame.proto == IGMP
        return ("", MULTICAST_IN) if link_local else ("IP_INVALID_SOURCE", None)
    if not device.loopback:
        reason, back = source_reason(net, frame, 0, device, None)
        if reason:
            return reason, back
    return "", MULTICAST_IN


def flow_of(frame: Frame) -> Flow:
    """What rules and routes ask about a packet that came in (fib4_rules_early_flow_dissect): a fragment has no ports."""
    if frame.frag or frame.proto not in PORTED:
        return Flow(frame.tos, frame.proto)
    return Flow(frame.tos, frame.proto, frame.sport, frame.dport)


def _back(frame: Frame) -> Flow:
    """The same for the way back to its source (fib_validate_source)."""
    flow = flow_of(frame)
    return flow._replace(sport=flow.dport, dport=flow.sport)


def _choose(net: Netns, frame: Frame, route: Route) -> Route:
    """ip_mkroute_input: one of several next hops. An ICMP error goes the way of the packet that it quotes."""
    src, dst, flow = frame.src, frame.dst, flow_of(frame)
    quoted = quote.packet_of(frame) if frame.proto == ICMP and frame.dport >> 8 in wire_icmp.ERRORS else None
    if quoted is not None and net.sysctl.number("net.ipv4.fib_multipath_hash_policy") == multipath.L3:
        src, dst = quoted.src, quoted.dst
    return net.ipv4.multipath.choose(route, src, dst, flow, local=False)


BROADCAST_IN = Route(prefix=ip_forward.LIMITED_BROADCAST_NET, kind="broadcast")
MULTICAST_IN = Route(prefix=ip_forward.GROUPS, kind="multicast")


def deliver(net: Netns, frame: Frame, route: Route) -> None:
    """ip_local_deliver: INPUT, then the protocol."""
    family = net.ipv4
    if frame.frag:
        whole = family.ops.defragment(frame)
        if whole is None:
            return
        frame = whole
    frame.outdev = None
    if family.fns[LOCAL_IN] and family.nf_hook(LOCAL_IN, frame):
        return
    deliver_finish(net, frame)


def deliver_finish(net: Netns, frame: Frame) -> None:
    """ip_local_deliver_finish: to the protocol."""
    family = net.ipv4
    protocol = family.protocols.get(frame.proto)
    if protocol is None:
        icmp.send(net, frame, wire_icmp.DEST_UNREACH, wire_icmp.PROT_UNREACH)
        drop(net, frame, "IP_NOPROTO")
        return
    protocol(frame, net)


def delivered_fact(net: Netns, to: str) -> Delivered:
    """The trail entry for packets that reach `to` (a socket or protocol); a receiver makes it once."""
    return Delivered(net.name, to)
