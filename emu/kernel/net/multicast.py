"""Multicast and broadcast packets: which way they leave a host, and which groups a host is in (net/ipv4/route.c, igmp.c).

A host is in 224.0.0.1 on every link that is up (RFC 1112 section 4); no socket of emu joins another group, so that no report is
ever sent. The host's own copy is made by `ip_output.mc_output`. Must not know sockets or frames.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emu.kernel.link.device import Device
from emu.kernel.net.fib_rules import NO_FLOW, Flow
from emu.kernel.net.fib_semantics import ENDING, Route
from emu.wire.addr import Prefix, ip4, ip4_kind

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

ALL_HOSTS = ip4("224.0.0.1")
FIRST_GROUP = ip4("224.0.0.0")
GROUPS_LENGTH = 4  # 224.0.0.0/4
TO_MANY = frozenset(("multicast", "broadcast"))  # the kinds of routes


def is_member(device: Device, group: int) -> bool:
    """ip_check_mc_rcu: is the host in this group on this link?"""
    return group == ALL_HOSTS and device.up


def route(net: Netns, dst: int, src: int = 0, mark: int = 0, oif: Any = None, flow: Flow = NO_FLOW) -> Route | None:
    """The route of a local packet to a group or to 255.255.255.255 (ip_route_output_key_hash_rcu, __mkroute_output).

    The device of a bound source sends it, else that of the route. It goes to no gateway, unless a route of the groups' own
    range names one. None without a route; a route of a failing kind as it is.
    """
    family, kind = net.ipv4, ip4_kind(dst).lower()
    link = oif or (_device_of(net, src) if src else None)
    if link is not None:
        source = src or family.select_addr(link, 0, "link")
        return Route(Prefix(dst, 32), kind, link, prefsrc=source, scope="link")
    found = family.lookup_output(dst, src, mark, None, flow)
    if found is None or found.kind in ENDING:
        return found
    if kind == "multicast" and found.prefix.length >= GROUPS_LENGTH:
        return replace(found, kind=kind)
    if not found.gateway:
        return replace(found, kind=kind, mtu=0)
    source = found.prefsrc or family.select_addr(found.device, found.gateway)
    return replace(found, kind=kind, gateway=0, mtu=0, prefsrc=source)


def _device_of(net: Netns, src: int) -> Device | None:
    """__ip_dev_find: the device with this local address."""
    for address in net.ipv4.addresses:
        if address.addr == src:
            return address.device
    found = net.ipv4.local_route(src)
    return None if found is None else found.device
