"""Forwarding: TTL, MTU, FORWARD (net/ipv4/ip_forward.c). Must not know how the route was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.kernel.net import icmp, ip_options, ip_output
from emu.kernel.net import route as learned
from emu.kernel.net.drop import drop
from emu.kernel.net.fib_semantics import Route
from emu.kernel.netfilter.hooks import FORWARD
from emu.wire import icmp as wire
from emu.wire.addr import LIMITED_BROADCAST, Prefix
from emu.wire.frame import HOST, Frame
from emu.wire.rewrite import decrease_ttl

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

LIMITED_BROADCAST_NET, GROUPS = Prefix(LIMITED_BROADCAST, 32), Prefix.parse("224.0.0.0/4")


def forward(net: Netns, frame: Frame, route: Route, redirect: bool = True) -> None:
    """ip_forward: forward a packet for another host along `route`. `redirect`: its sender may be redirected, for the route was
    looked up by ip_rcv (a flag that br_netfilter's look-up sets is wiped there)."""
    if frame.pkt_type != HOST:
        drop(net, frame, "OTHERHOST")
        return
    if frame.ttl <= 1:
        icmp.send(net, frame, wire.TIME_EXCEEDED, 0)
        drop(net, frame, "IP_INHDR")
        return
    family = net.ipv4
    if family.exceptions:
        route = frame.route = family.exceptions.input(route, frame.dst)
    device, options = route.device, frame.options
    if options is not None and options.strict and route.gateway:
        icmp.send(net, frame, wire.DEST_UNREACH, wire.SR_FAILED)
        drop(net, frame, "NOT_SPECIFIED")
        return
    mtu = route.mtu or device.mtu
    if (
        frame.tot_len > mtu
        and frame.df
        and frame.largest > mtu
        and not frame.ignore_df
        and (not frame.frag_max_size or frame.frag_max_size > mtu)
    ):
        icmp.send(net, frame, wire.DEST_UNREACH, wire.FRAG_NEEDED, mtu)
        drop(net, frame, "PKT_TOO_BIG")
        return
    decrease_ttl(frame)
    trail = frame.trail
    if trail is not None:
        trail.append(route)
    if (
        redirect
        and device is frame.indev
        and (options is None or options.srr < 0)
        and learned.redirects(net, frame.src, frame.dst, route)
    ):
        icmp.send(net, frame, wire.REDIRECT, wire.REDIRECT_HOST, route.gateway or frame.dst)
    frame.outdev = device
    if family.fns[FORWARD] and family.nf_hook(FORWARD, frame):
        return
    if options is not None:
        ip_options.forward(net, frame, route, options)
    ip_output.output(net, frame, route)
