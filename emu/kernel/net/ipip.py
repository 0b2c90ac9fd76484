"""IPv4 in IPv4: packets of an IPIP device out as the payload of others, and back in (net/ipv4/ipip.c, ip_tunnel.c, tunnel4.c).

The outer packet is a local packet like any other: it crosses OUTPUT and POSTROUTING. Of what icmp_ndo_send does, one thing is not
here: an error about a packet that was masqueraded goes to the address that it has. Must not know what is tunnelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.link.ipip import FALLBACK, INHERIT, Ipip
from emu.kernel.net import icmp, ip_output
from emu.kernel.net import route as learned
from emu.kernel.net.drop import drop
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.ip_tunnel import ecn_decapsulate
from emu.trail import Decapsulated, Encapsulated
from emu.wire import icmp as wire
from emu.wire import ipip
from emu.wire.frame import AF_INET, HOST, IP_DF, IP_HLEN, Frame
from emu.wire.ipv4 import stamp
from emu.wire.rewrite import replace
from emu.wire.vxlan import outer_tos

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

FAILURES_LAST_NS = 30 * SECOND  # IPTUNNEL_ERR_TIMEO


class IpipTunnels:
    """The IPIP devices of one namespace. It receives protocol 4 from its first device on, as the kernel's module does."""

    __slots__ = ("_facts", "_net", "devices")

    def __init__(self, net: Netns) -> None:
        self._net = net
        self.devices: list[Ipip] = []
        self._facts: dict[tuple[str, int, int], Encapsulated] = {}
        net.ipv4.protocols[ipip.IPIP] = self.receive
        net.ipv4.icmp_errors = {**net.ipv4.icmp_errors, ipip.IPIP: self.error}

    def check(self, device: Ipip) -> None:
        """ip_tunnel_newlink: raises InputError if another device has the same ends."""
        for other in self.devices:
            if _ends(other) == _ends(device):
                raise InputError(f"{self._net.name}: {other.name} has the same local, remote and dev: File exists")

    def add(self, device: Ipip) -> None:
        self.devices.append(device)
        device.carrier_of = self

    def forget(self, device: Ipip) -> None:
        self.devices.remove(device)

    def find(self, link: Device | None, local: int, remote: int) -> Ipip | None:
        """ip_tunnel_lookup: the device of a packet that came in on `link` from `remote` to `local`. Both ends, then the remote one,
        then the local one, then neither; of those, one that is bound to the link first. `tunl0` comes last of all."""
        up = [each for each in self.devices if each.up and each.name != FALLBACK]
        for ends in ((local, remote), (0, remote), (local, 0), (0, 0)):
            found = [each for each in up if (each.config.local, each.config.remote) == ends]
            bound = [each for each in found if each.config.lower is link]
            if bound or found:
                return (bound or found)[0]
        return next((each for each in self.devices if each.up and each.name == FALLBACK), None)

    # -- out ------------------------------------------------------------------------------------

    def xmit(self, device: Ipip, frame: Frame) -> None:
        """ip_tunnel_xmit. Without a remote of its own, the tunnel's other end is the next hop of the packet's route."""
        net, config, inner_route = self._net, device.config, frame.route
        remote = config.remote
        if not remote and inner_route is not None:
            remote = inner_route.gateway or frame.dst
        if frame.family != AF_INET or not remote:
            drop(net, frame, "NOT_SPECIFIED", inner_route, device)
            return
        tos = frame.tos if config.tos == INHERIT else config.tos
        flow = ip_output.flow(net, ipip.IPIP, tos=tos)
        route, source, failed = ip_output.route_output(net, remote, config.local, 0, config.lower, flow)
        lower = None if route is None else net.ipv4.out_device(route)
        if route is None or lower is None or lower is device:
            drop(net, frame, "UNDECIDED" if failed == "UNDECIDED" else "NOT_SPECIFIED", route, device)
            return
        df = config.pmtudisc or (frame.df and not config.ignore_df)
        path = route.mtu or lower.mtu
        if not self._fits(device, frame, path - IP_HLEN if df else _mtu(inner_route, device)):
            drop(net, frame, "NOT_SPECIFIED", route, device)
            return
        if device.failures:
            self._report_failure(device, frame)
        fact, trail = self._fact(device.name, source, remote), frame.trail
        if trail is not None:
            trail.append(fact)
        for listener in net.tunnel_listeners:
            listener(frame, fact)
        outer = stamp(
            ipip.wrapped(frame), ipip.IPIP, source, remote,
            ident=net.ipv4.idents.next(remote, source, ipip.IPIP), frag=IP_DF if df and not route.mtu_locked else 0,
            ttl=config.ttl or frame.ttl, tos=outer_tos(tos, frame.tos), flow=frame.flow, trail=trail,
        )  # fmt: skip
        # skb_scrub_packet within a namespace: the mark stays, the connection and the route go
        outer.mark, outer.sock, outer.route = frame.mark, frame.sock, route
        outer.burst, outer.confirms = frame.burst, frame.confirms  # it is the same buffer
        outer.packet, outer.caused_by = frame.packet, frame.caused_by
        ip_output.local_out(net, outer)

    def _fits(self, device: Ipip, frame: Frame, mtu: int) -> bool:
        """tnl_update_pmtu: the packet's route learns what the tunnel carries; one that may not be cut and is longer is refused."""
        net = self._net
        if frame.route is not None:
            learned.update_pmtu(net, frame.dst, frame.src, mtu)
        if not frame.df or ipip.length(frame) <= mtu:
            return True
        icmp.send(net, frame, wire.DEST_UNREACH, wire.FRAG_NEEDED, mtu)
        return False

    def _report_failure(self, device: Ipip, frame: Frame) -> None:
        """ipv4_link_failure: the tunnel's other end was reported unreachable; a packet's sender gets an error, and the packet is sent."""
        if self._net.clock.now < device.failed_ns + FAILURES_LAST_NS:
            device.failures -= 1
            icmp.send(self._net, frame, wire.DEST_UNREACH, wire.HOST_UNREACH)
        else:
            device.failures = 0

    def _fact(self, device: str, src: int, dst: int) -> Encapsulated:
        known = self._facts.get((device, src, dst))
        if known is None:
            known = self._facts[device, src, dst] = Encapsulated(device, None, src, dst)
        return known

    # -- in -------------------------------------------------------------------------------------

    def receive(self, frame: Frame, net: Netns) -> None:
        """tunnel4_rcv, ipip_rcv and ip_tunnel_rcv: the packet within comes in on the tunnel's device."""
        device = self.find(frame.indev, frame.dst, frame.src)
        if device is None:
            icmp.send(net, frame, wire.DEST_UNREACH, wire.PORT_UNREACH)
            drop(net, frame, "NOT_SPECIFIED")
            return
        source, tos = frame.src, frame.tos
        replace(frame, ipip.inner(frame))
        frame.valid = False
        frame.ct = frame.route = frame.outdev = frame.physin = frame.physout = frame.options = None
        frame.ctinfo = frame.ctdir = frame.frag_max_size = 0
        frame.ignore_df = frame.bridged_dnat = False
        trail = frame.trail
        if trail is not None:
            trail.append(Decapsulated(device.name, None, source))
        if ipip.length(frame) < IP_HLEN or not ecn_decapsulate(frame, tos):
            drop(net, frame, "NOT_SPECIFIED", None, device)
            return
        frame.pkt_type = HOST
        net.clock.enqueue((device.receive, frame))

    def error(self, quoted: Frame, net: Netns, kind: int, code: int, info: int) -> None:
        """ipip_err: an ICMP error about an outer packet. A path MTU and a redirect are for its route; what else is wrong is
        remembered by a tunnel with a remote end of its own."""
        device = self.find(None if quoted.cause is None else quoted.cause.indev, quoted.src, quoted.dst)
        if device is None:
            return
        if (kind == wire.DEST_UNREACH and code == wire.FRAG_NEEDED) or kind == wire.REDIRECT:
            learned.update_from_error(net, quoted, kind, code, info)
            return
        expired = kind == wire.TIME_EXCEEDED and code == 0
        if not (expired or (kind == wire.DEST_UNREACH and code != wire.SR_FAILED)):
            return
        if not device.config.remote or (expired and not device.config.ttl):
            return
        now = net.clock.jiffy_ns
        device.failures = device.failures + 1 if now < device.failed_ns + FAILURES_LAST_NS else 1
        device.failed_ns = now


def _ends(device: Ipip) -> tuple[int, int, Device | None, bool]:
    config = device.config
    return config.local, config.remote, config.lower, device.name == FALLBACK


def _mtu(route: Route | None, device: Ipip) -> int:
    """dst_mtu of the packet's own route."""
    return device.mtu if route is None else route.mtu or device.mtu
