"""br_netfilter: bridged IPv4 packets walk iptables (net/bridge/br_netfilter_hooks.c).

Rules see the bridge as the input and output device; physdev sees the ports. After a DNAT to an endpoint
behind the same bridge the packet stays bridged: with a connected neighbour entry only the destination MAC changes
(fast path), else the packet is sent through the bridge interface's neighbour first (slow path). On while
`net.bridge.bridge-nf-call-iptables` is 1; its two siblings switch the look at IPv6 and ARP headers on. Must not know rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.kernel.link.bridge import Okfn, Port
from emu.kernel.net import ip_input
from emu.kernel.net.drop import drop
from emu.kernel.net.neighbour import lookup as neighbour_lookup
from emu.kernel.netfilter.hooks import FORWARD, LOCAL_IN, POST_ROUTING, PRE_ROUTING
from emu.wire import ipv4, ipv6
from emu.wire.frame import ETH_HLEN, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, HOST, Frame
from emu.wire.rewrite import set_dmac, set_smac, trim

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

ARP_HLEN = 8  # the fixed part of an ARP header, bytes


def install(net: Netns) -> None:
    """Register at the bridge hooks of a namespace."""
    hooks = net.bridge_hooks
    hooks.pre_routing = pre_routing
    hooks.local_in = local_in
    hooks.forward = forward
    hooks.post_routing = post_routing
    hooks.dev_xmit = dev_xmit


def pre_routing(frame: Frame, port: Port | None, okfn: Okfn) -> None:
    """br_nf_pre_routing: PREROUTING at the port, before the bridge looks at the frame."""
    assert port is not None
    bridge = port.bridge
    net: Netns = bridge.net
    if frame.ethertype != ETH_P_IP:
        if frame.ethertype == ETH_P_IPV6 and net.bridge_nf_call_ip6tables:
            end = ipv6.end(frame.buf)
            if not end:
                drop(net, frame, "IP_INHDR")
                return
            trim(frame, end)
        okfn(frame)
        return
    if not net.bridge_nf_call_iptables:
        okfn(frame)
        return
    if not frame.valid:
        if ipv4.check(frame) is not None:
            drop(net, frame, "IP_INHDR")
            return
        trim(frame, ETH_HLEN + frame.tot_len)
    frame.physin, frame.physout, frame.options = port.device, None, None
    frame.indev, frame.outdev = bridge, None
    dst = frame.dst
    if net.ipv4.fns[PRE_ROUTING]:
        if net.ipv4.nf_hook(PRE_ROUTING, frame):
            return
        if frame.dst != dst:
            _after_dnat(net, frame, port, okfn)
            return
    okfn(frame)


def _after_dnat(net: Netns, frame: Frame, port: Port, okfn: Okfn) -> None:
    """br_nf_pre_routing_finish: is the new destination behind this bridge?"""
    bridge = port.bridge
    reason, route = ip_input.route_input(net, frame, bridge)
    if reason and reason != "IP_INADDRERRORS":
        drop(net, frame, reason, route)
        return
    if not reason and route is not None and route.kind == "unicast" and route.device is bridge:
        frame.route = route
        neighbour = neighbour_lookup(net.ipv4, bridge, route.gateway or frame.dst)
        if neighbour is None:
            drop(net, frame, "NEIGH_CREATEFAIL", route)
            return
        if neighbour.header is not None:
            set_dmac(frame, neighbour.lladdr)
            okfn(frame)
            return
        frame.bridged_dnat, frame.br_smac = True, frame.smac
        frame.outdev = bridge
        neighbour.output(frame)
        return
    # a host that does not forward has an unreachable route, which the packet meets above the bridge (ip_error)
    set_dmac(frame, bridge.mac)
    frame.pkt_type = HOST
    frame.route = None if reason else route
    okfn(frame)


def dev_xmit(frame: Frame) -> None:
    """br_nf_dev_xmit: the neighbour has resolved the new destination; the packet continues at the port that it came in on."""
    frame.bridged_dnat = False
    frame.cause = None  # the bridge's own transmission made one buffer of the fragments (skb_linearize)
    set_smac(frame, frame.br_smac)
    port: Port = frame.physin.master
    port.finish(frame)


def local_in(frame: Frame, promisc: bool, okfn: Okfn) -> None:
    """br_nf_local_in: what a promiscuous bridge hands up besides forwarding it belongs to no connection. Else the new connection
    of a broadcast or multicast packet is confirmed here, as its copies may be on their way."""
    conn = frame.ct
    if conn is not None:
        if promisc:
            frame.ct, frame.ctinfo, frame.ctdir = None, 0, 0
        elif frame.pkt_type != HOST:
            net: Netns = frame.indev.net
            net.conntrack.confirm(frame, net.ipv4.states[LOCAL_IN])
    okfn(frame)


def forward(frame: Frame, port: Port | None, okfn: Okfn) -> None:
    """br_nf_forward: IPv4 packets that PREROUTING has seen; ARP without a whole fixed header is dropped."""
    assert port is not None
    bridge = port.bridge
    net: Netns = bridge.net
    if frame.physin is None or frame.ethertype != ETH_P_IP:
        if frame.ethertype == ETH_P_ARP and len(frame.buf) < ETH_HLEN + ARP_HLEN and net.bridge_nf_call_arptables:
            drop(net, frame, "PKT_TOO_SMALL")
        else:
            okfn(frame)
        return
    frame.physout = port.device
    frame.indev = frame.outdev = bridge
    if net.ipv4.fns[FORWARD] and net.ipv4.nf_hook(FORWARD, frame):
        return
    okfn(frame)


def post_routing(frame: Frame, port: Port | None, okfn: Okfn) -> None:
    """br_nf_post_routing: only for packets that FORWARD has seen; routed packets have passed POSTROUTING already."""
    assert port is not None
    bridge = port.bridge
    net: Netns = bridge.net
    if frame.physout is None:
        okfn(frame)
        return
    frame.indev, frame.outdev = None, bridge
    if net.ipv4.fns[POST_ROUTING] and net.ipv4.nf_hook(POST_ROUTING, frame):
        return
    size = frame.largest
    if size <= port.device.mtu and not 0 < frame.frag_max_size < size:
        okfn(frame)
    elif (frame.df and not frame.frag_max_size and not frame.ignore_df) or frame.frag_max_size > bridge.mtu:
        drop(net, frame, "PKT_TOO_BIG")
    else:
        for piece in net.ipv4.ops.pieces(frame, bridge.mtu):
            okfn(piece)
