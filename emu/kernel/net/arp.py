"""ARP: requests, replies, and the entries that both update (net/ipv4/arp.c, RFC 826, RFC 5227 for probes and announcements).

Who is answered is the input route's to decide, with its checks of the sender. Must not know routing's tables, or what waits for the reply.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from emu.kernel.link.device import Device
from emu.kernel.net import ip_input, ip_output
from emu.kernel.net import neighbour as nud
from emu.kernel.net.drop import drop
from emu.kernel.net.neighbour import Neighbour
from emu.kernel.net.route import on_link
from emu.trail import Answered, Asked, Delivered
from emu.wire import arp as wire
from emu.wire import templates
from emu.wire.addr import BROADCAST_MAC, LIMITED_BROADCAST, ZERO_MAC, is_loopback, is_multicast, multicast_mac
from emu.wire.frame import AF_INET, ETH_HLEN, ETH_P_IP, HOST, IP_HLEN, OTHERHOST, Frame

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns


def constructor(net: Netns, entry: Neighbour) -> None:
    """arp_constructor: multicast and broadcast addresses have a MAC without a request."""
    addr = entry.addr
    if entry.device.noarp:
        entry.lladdr, entry.state = entry.device.mac, nud.NOARP
    elif is_multicast(addr):
        entry.lladdr, entry.state = multicast_mac(addr), nud.NOARP
    else:
        route = net.ipv4.local_route(addr)
        if addr == LIMITED_BROADCAST or (route is not None and route.kind == "broadcast"):
            entry.lladdr, entry.state = BROADCAST_MAC, nud.NOARP


def solicit(net: Netns, neigh: Neighbour, waiting: Frame | None) -> None:
    """arp_solicit: unicast while an entry is in PROBE, else broadcast. The sender's address is the waiting packet's source
    if that is local, and arp_announce lets it go to this neighbour; else an address of the device."""
    device = neigh.device
    source, announce = 0, net.sysctl.conf(device.name, "arp_announce")
    if waiting is not None and waiting.ethertype == ETH_P_IP and net.ipv4.addr_type(waiting.src) == "LOCAL":
        if announce not in (1, 2) or (announce == 1 and on_link(net, device, neigh.addr, waiting.src)):
            source = waiting.src
    if not source:
        source = net.ipv4.select_addr(device, neigh.addr, "link")
    unicast = neigh.state == nud.PROBE and neigh.probes <= net.sysctl.neigh(device.name, "ucast_solicit")
    if waiting is not None:
        flow, cause, reason = waiting.flow, waiting.packet, Asked(neigh.addr, device.name, waiting.dst)
    else:
        flow, cause, reason = 0, 0, Asked(neigh.addr, device.name, why="probe")
    send(
        net,
        device,
        templates.ARP_REQUEST,
        neigh.lladdr if unicast else BROADCAST_MAC,
        source,
        ZERO_MAC,
        neigh.addr,
        flow,
        reason,
        cause,
    )


def send(
    net: Netns,
    device: Device,
    template: bytes,
    dmac: bytes,
    spa: int,
    tha: bytes,
    tpa: int,
    flow: int,
    reason: Any,
    cause: int = 0,
) -> None:
    """Send a request or reply, made from its template, from `device`; `cause` as for `Netns.bear`."""
    if device.noarp:
        return
    trail = [reason] if net.tracing else None
    frame = wire.build(template, dmac, device.mac, spa, tha, tpa, flow, trail)
    net.bear(frame, cause)
    device.transmit(frame)


def came_up(net: Netns, device: Device) -> None:
    """inetdev_event: with arp_notify, a link that came up announces each of its addresses (inetdev_send_gratuitous_arp)."""
    if not net.sysctl.conf(device.name, "arp_notify"):
        return
    # first addresses of subnets come before further ones in a device's list (__inet_insert_ifa)
    for address in sorted(net.ipv4.addresses, key=lambda each: each.secondary):
        if address.device is device:
            reason = Asked(address.addr, device.name, why="announce")
            send(net, device, templates.ARP_REQUEST, BROADCAST_MAC, address.addr, ZERO_MAC, address.addr, 0, reason)


def receive(frame: Frame, device: Device) -> None:
    """arp_rcv and arp_process."""
    net: Netns = device.net
    if frame.pkt_type == OTHERHOST or device.noarp:
        drop(net, frame, "OTHERHOST")
        return
    if len(frame.buf) < ETH_HLEN + wire.HLEN:
        drop(net, frame, "PKT_TOO_SMALL")
        return
    packet = wire.parse(frame)
    if packet is None or packet.op not in (wire.REQUEST, wire.REPLY):
        drop(net, frame, "ARP_PROTO")
        return
    if is_multicast(packet.tpa) or (is_loopback(packet.tpa) and not net.ipv4.route_localnet[device.ifindex]):
        drop(net, frame, "IP_INADDRERRORS")
        return
    if packet.spa == packet.tpa and net.sysctl.conf(device.name, "drop_gratuitous_arp"):
        drop(net, frame, "NOT_SPECIFIED")
        return
    net.delivered += 1
    if net.recorder is not None:
        net.recorder.arrived(frame, Delivered(net.name, "ARP"))
    if packet.op == wire.REQUEST and _request(net, frame, device, packet):
        return
    _learn(net, frame, device, packet)


def _request(net: Netns, frame: Frame, device: Device, packet: wire.Arp) -> bool:
    """Reply to a request for a local or proxied address. True: the packet is done with; False: the caller updates an entry by it."""
    if packet.spa == 0:
        # duplicate address detection (RFC 2131): answered, nothing learned
        if net.ipv4.addr_type(packet.tpa) == "LOCAL" and not _ignored(net, device, packet):
            _reply(net, frame, device, packet, Answered(packet.tpa, device.name))
        return True
    asked = Frame(bytearray(ETH_HLEN + IP_HLEN))  # a packet from the sender to the target, for the input route
    asked.src, asked.dst, asked.proto = packet.spa, packet.tpa, 0
    reason, route = ip_input.route_input(net, asked, device)
    if reason or route is None:
        return False  # a sender that cannot be right is not answered (fib_validate_source)
    if route.kind == "local":
        if not _ignored(net, device, packet) and not _filtered(net, device, packet):
            if _neighbour_solicits(net, device, packet):
                _reply(net, frame, device, packet, Answered(packet.tpa, device.name))
        return True
    if net.ipv4.forwards[device.ifindex] and route.kind == "unicast":
        proxied = net.sysctl.conf(device.name, "proxy_arp") and route.device is not device
        if proxied:
            if not _neighbour_solicits(net, device, packet):
                return True
            fact = Answered(packet.tpa, route.device.name, proxy=True)
            delay_ns = net.sysctl.neigh_ns(device.name, "proxy_delay")
            if frame.pkt_type == HOST or not delay_ns:
                _reply(net, frame, device, packet, fact)
            else:
                draw = net.clock.random(f"proxy_delay/{net.name}").randrange(delay_ns)
                net.clock.call_later(draw, partial(_reply, net, frame, device, packet, fact))
            return True
    return False


def _ignored(net: Netns, device: Device, packet: wire.Arp) -> bool:
    """arp_ignore, levels 0 to 3 and 8."""
    level = net.sysctl.conf(device.name, "arp_ignore")
    if level == 0:
        return False
    own = [address for address in net.ipv4.addresses if address.device is device]
    if level == 1:
        return all(address.addr != packet.tpa for address in own)
    if level == 2:
        return all(address.addr != packet.tpa or packet.spa not in address.prefix for address in own)
    if level == 3:
        return all(each.addr != packet.tpa or each.scope == "host" for each in net.ipv4.addresses)
    return level == 8


def _filtered(net: Netns, device: Device, packet: wire.Arp) -> bool:
    """arp_filter: is the way to the sender another device's?"""
    if not net.sysctl.conf(device.name, "arp_filter"):
        return False
    route, _source, _failed = ip_output.route_output(net, packet.spa, packet.tpa)
    return route is None or net.ipv4.out_device(route) is not device


def _neighbour_solicits(net: Netns, device: Device, packet: wire.Arp) -> bool:
    """neigh_event_ns: the sender of a request for us gets an entry, STALE until it is confirmed. False: the table is full,
    and the request is not answered."""
    entry = nud.lookup(net.ipv4, device, packet.spa)
    if entry is not None:
        entry.update(packet.sha, nud.STALE)
    return entry is not None


def _reply(net: Netns, frame: Frame, device: Device, packet: wire.Arp, reason: Answered) -> None:
    send(
        net,
        device,
        templates.ARP_REPLY,
        packet.sha,
        packet.tpa,
        packet.sha,
        packet.spa,
        frame.flow,
        reason,
        frame.packet,
    )


def _learn(net: Netns, frame: Frame, device: Device, packet: wire.Arp) -> None:
    """Update an existing entry. A request for another host creates no entry, but changes the MAC of a known one. With
    arp_accept an announcement or an unasked reply makes an entry, too."""
    entry: Neighbour | None = device.neigh[AF_INET].get(packet.spa)
    accept = net.sysctl.conf(device.name, "arp_accept")
    if entry is None and not accept:
        return
    gratuitous = _is_gratuitous(net, packet)
    if entry is None and (accept == 1 or (accept == 2 and on_link(net, device, packet.spa, 0))):
        if gratuitous or (packet.op == wire.REPLY and net.ipv4.addr_type(packet.spa) == "UNICAST"):
            entry = nud.lookup(net.ipv4, device, packet.spa)
    if entry is None:
        return
    lock_ns = net.sysctl.neigh_ns(device.name, "locktime")
    override = net.clock.jiffy_ns > entry.updated_ns + lock_ns or gratuitous
    reachable = packet.op == wire.REPLY and frame.pkt_type == HOST
    entry.update(packet.sha, nud.REACHABLE if reachable else nud.STALE, override=override)


def _is_gratuitous(net: Netns, packet: wire.Arp) -> bool:
    """arp_is_garp: the sender announces a unicast address of its own; in a reply the target's MAC is the sender's, too."""
    if packet.spa != packet.tpa or (packet.op == wire.REPLY and packet.tha != packet.sha):
        return False
    return net.ipv4.addr_type(packet.spa) == "UNICAST"
