"""The copies that TEE sends (net/ipv4/netfilter/nf_dup_ipv4.c): a packet of the host's own, untracked, to a gateway.

What a copy meets in OUTPUT and POSTROUTING is copied no further. Must not know rules.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emu.kernel.net import ip_output
from emu.kernel.netfilter.conn import IP_CT_UNTRACKED
from emu.kernel.netfilter.hooks import LOCAL_IN, PRE_ROUTING
from emu.trail import Born
from emu.wire.frame import Frame
from emu.wire.rewrite import set_df, set_ttl

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

COPY = Born("TEE's copy")


class Duplicator:
    """nf_dup_ipv4 of one namespace. `duplicating` while a copy is on its way out (nf_skb_duplicated)."""

    __slots__ = ("duplicating", "net")

    def __init__(self, net: Netns) -> None:
        self.net, self.duplicating = net, False

    def duplicate(self, frame: Frame, gateway: int, oif: str, hook: int) -> None:
        """Send a copy to `gateway`, by the device `oif` where there is one of that name. It has DF, and in PREROUTING and INPUT a smaller
        TTL, so that two hosts which copy to each other come to an end. Without a route there is no copy."""
        net = self.net
        if self.duplicating:
            return
        flow = ip_output.flow(net, frame.proto, tos=frame.tos)
        route, _source, _failed = ip_output.route_output(net, gateway, 0, 0, net.devices.get(oif), flow)
        if route is None:
            return
        copy = frame.clone()
        copy.ct, copy.ctinfo = None, IP_CT_UNTRACKED
        copy.sock = copy.physin = copy.physout = None
        copy.trail = [COPY] if net.tracing else None
        set_df(copy)
        if hook in (PRE_ROUTING, LOCAL_IN):
            set_ttl(copy, copy.ttl - 1)
        copy.route = replace(route, gateway=route.gateway or gateway) if route.kind == "unicast" else route
        net.bear(copy, frame.packet)
        self.duplicating = True
        ip_output.local_out(net, copy)
        self.duplicating = False
