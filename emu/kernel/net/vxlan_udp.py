"""The outer half of VXLAN: frames of a VXLAN device in UDP packets of their namespace, and back (vxlan_core.c, udp_tunnel_core.c).

The outer packet is a local packet like any other: it crosses OUTPUT and POSTROUTING, and waits for
neighbours. One UDP socket serves all devices of a port. Must not know the device's forwarding database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emu.errors import InputError
from emu.kernel.link.vxlan import INHERIT, Remote, Vxlan
from emu.kernel.net import ip_output
from emu.kernel.net.drop import drop
from emu.kernel.net.flow_hash import FlowPorts
from emu.kernel.net.ip_tunnel import check_pmtu, ecn_decapsulate
from emu.trail import Born, Decapsulated, Encapsulated
from emu.wire import templates, udp
from emu.wire import vxlan as wire
from emu.wire.addr import BROADCAST_MAC
from emu.wire.frame import BROADCAST, ETH_HLEN, HOST, IP_DF, MULTICAST, OTHERHOST, UDP, Frame
from emu.wire.rewrite import leave_checksum, replace

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

Receive = Callable[[Frame, int], None]
Knows = Callable[[Frame, int], bool]
_TOO_LONG = Born("ICMP error: the packet is too long for the tunnel")


class VxlanUdp:
    """The VXLAN devices of one namespace that are up, by UDP port and VNI.

    `bind(port, receive, knows)` opens the socket of a port, `release(port)` closes it. It gives `receive(frame, port)` what
    comes in, and asks `knows(quoted, port)` whether a packet that an ICMP error quotes is a device's.
    """

    __slots__ = ("_bind", "_facts", "_net", "_ports", "_release", "_template", "devices")

    def __init__(self, net: Netns, bind: Callable[[int, Receive, Knows], None], release: Callable[[int], None]) -> None:
        self._net, self._bind, self._release = net, bind, release
        self.devices: dict[int, dict[int, Vxlan]] = {}
        self._ports = FlowPorts(net)
        self._template = templates.UDP
        self._facts: dict[tuple[str, int, int, int, bytes, int], Encapsulated] = {}

    # -- devices --------------------------------------------------------------------------------

    def open(self, device: Vxlan) -> None:
        """vxlan_sock_add. Raises InputError: the port is taken by a socket."""
        port = device.config.dstport
        if port not in self.devices:
            self._bind(port, self.receive, self.knows)
            self.devices[port] = {}
        self.devices[port][device.config.vni] = device

    def close(self, device: Vxlan) -> None:
        """vxlan_sock_release."""
        port = device.config.dstport
        devices = self.devices.get(port)
        if devices is None or devices.pop(device.config.vni, None) is None:
            return
        if not devices:
            del self.devices[port]
            self._release(port)

    def check(self, device: Vxlan) -> None:
        """vxlan_config_validate: raises InputError if another device of the namespace has the same port and VNI."""
        config = device.config
        for other in self._net.devices.values():
            if isinstance(other, Vxlan) and (other.config.vni, other.config.dstport) == (config.vni, config.dstport):
                raise InputError(
                    f"{self._net.name}: {other.name} has VNI {config.vni} on port {config.dstport} already",
                    expected="another id or dstport",
                )

    # -- out ------------------------------------------------------------------------------------

    def xmit_one(self, device: Vxlan, frame: Frame, remote: Remote, mac: bytes) -> None:
        """vxlan_xmit_one: send the frame to one remote, that of the entry of `mac`."""
        net, config = self._net, device.config
        if wire.cut_short(frame):
            drop(net, frame, "PKT_TOO_SMALL", None, device)
            return
        port, vni, inner = remote.port or config.dstport, remote.vni or config.vni, wire.inner_tos(frame)
        tos = inner if config.tos == INHERIT else config.tos
        sport = self._ports.port(frame, config.port_min, config.port_max)
        flow = ip_output.flow(net, UDP, sport, port, tos)
        route, source, failed = ip_output.route_output(net, remote.addr, config.local, 0, remote.device, flow)
        if route is None or route.device is device:
            drop(net, frame, "UNDECIDED" if failed == "UNDECIDED" else "IP_OUTNOROUTES", route, device)
            return
        if route.kind == "local" and config.localbypass:
            self._bypass(device, frame, port, vni)
            return
        lower = net.ipv4.out_device(route)
        most = route.mtu or lower.mtu
        error = check_pmtu(net, frame, most - wire.HEADROOM, reply=device.master is not None)
        if error:
            replace(frame, error)
            net.number(frame, frame.packet)
            frame.route = frame.sock = frame.ct = None
            frame.valid, frame.pkt_type = True, HOST
            if frame.trail is not None:
                frame.trail.append(_TOO_LONG)
            net.clock.enqueue((device.receive, frame))
            return
        df = config.df == "set" or (config.df == "inherit" and wire.inner_df(frame))
        ttl = wire.inner_ttl(frame) if config.ttl_inherit else config.ttl
        fact, trail = self._fact((device.name, vni, source, remote.addr, mac, most)), frame.trail
        if trail is not None:
            trail.append(fact)
        for listener in net.tunnel_listeners:
            listener(frame, fact)
        outer = udp.build(
            self._template, source, remote.addr, sport, port, wire.header(vni) + frame.buf,
            ident=net.ipv4.idents.next(remote.addr, source, UDP), frag=IP_DF if df and not route.mtu_locked else 0,
            ttl=ttl or net.ipv4.default_ttl, tos=wire.outer_tos(tos, inner), flow=frame.flow, trail=trail, summed=config.udpcsum,
        )  # fmt: skip
        # skb_scrub_packet within a namespace: the mark stays, the connection and the route go
        outer.mark, outer.sock, outer.route = frame.mark, frame.sock, route
        outer.burst, outer.confirms = frame.burst, frame.confirms  # it is the same buffer
        outer.packet, outer.caused_by = frame.packet, frame.caused_by
        if config.udpcsum and lower.offload and outer.tot_len <= most:
            leave_checksum(outer)
        ip_output.local_out(net, outer)

    def _fact(self, key: tuple[str, int, int, int, bytes, int]) -> Encapsulated:
        known = self._facts.get(key)
        if known is None:
            known = self._facts[key] = Encapsulated(*key)
        return known

    def _bypass(self, device: Vxlan, frame: Frame, port: int, vni: int) -> None:
        """encap_bypass_if_local: the remote is this host, so that the frame goes to its other device without a packet."""
        other = self.devices.get(port, {}).get(vni)
        if other is None:
            drop(self._net, frame, "NOT_SPECIFIED", None, device)
            return
        frame.pkt_type = HOST
        if other.config.learning:
            other.snoop(frame.smac, LOOPBACK_ADDRESS)
        _forget(frame)
        self._net.clock.enqueue((other.receive, frame))

    # -- in -------------------------------------------------------------------------------------

    def _find(self, data: bytearray, at: int, end: int, port: int) -> tuple[str, Vxlan | None]:
        """The device of a VXLAN header, or the reason to drop its packet."""
        if end < at + wire.HLEN:
            return "PKT_TOO_SMALL", None
        flags, word = wire.words(data, at)
        if not flags & wire.HAS_VNI:
            return "VXLAN_INVALID_HDR", None
        device = self.devices.get(port, {}).get(word >> 8)
        if device is None:
            return "VXLAN_VNI_NOT_FOUND", None
        return ("VXLAN_INVALID_HDR" if flags != wire.HAS_VNI or word & 255 else ""), device

    def receive(self, frame: Frame, port: int) -> None:
        """vxlan_rcv: a datagram for a port of VXLAN, its checksum verified."""
        net, at, end = self._net, frame.l4 + wire.UDP_HLEN, udp.end(frame)
        reason, device = self._find(frame.buf, at, end, port)
        if not reason and end < at + wire.HLEN + ETH_HLEN:
            reason = "NOMEM"  # as __iptunnel_pull_header calls it
        if reason or device is None:
            drop(net, frame, reason)
            return
        source, tos = frame.src, frame.tos
        replace(frame, wire.inner(frame, end))
        frame.valid = frame.partial = False  # a checksum that was left for a device was the outer packet's
        _forget(frame)
        trail = frame.trail
        if trail is not None:
            trail.append(Decapsulated(device.name, device.config.vni, source))
        dmac = frame.dmac
        if frame.smac == device.mac:
            reason = "LOCAL_MAC"
        elif device.config.learning:
            reason = device.snoop(frame.smac, source)
        if not reason and wire.cut_short(frame):
            reason = "PKT_TOO_SMALL"
        if not reason and not ecn_decapsulate(frame, tos):
            reason = "IP_TUNNEL_ECN"
        if reason:
            drop(net, frame, reason, None, device)
            return
        if dmac == device.mac:
            frame.pkt_type = HOST
        elif dmac[0] & 1:
            frame.pkt_type = BROADCAST if dmac == BROADCAST_MAC else MULTICAST
        else:
            frame.pkt_type = OTHERHOST
        net.clock.enqueue((device.receive, frame))

    def learn(self, frame: Frame) -> None:
        """Take over the source port of an outer packet that a kernel sent for the flow in it."""
        _reason, device = self._find(frame.buf, frame.l4 + wire.UDP_HLEN, len(frame.buf), frame.dport)
        if device is not None:
            inner = Frame.parse(wire.inner(frame, len(frame.buf)))
            self._ports.learn(inner, device.config.port_min, device.config.port_max, frame.sport)

    def knows(self, quoted: Frame, port: int) -> bool:
        """vxlan_err_lookup: is the packet that an ICMP error quotes one of a device here?"""
        return self._find(quoted.buf, quoted.l4 + wire.UDP_HLEN, len(quoted.buf), port)[1] is not None


LOOPBACK_ADDRESS = 0x7F000001  # what a frame that never left the host is learned from


def _forget(frame: Frame) -> None:
    """skb_scrub_packet: what belongs to the way until here."""
    frame.ct = frame.route = frame.outdev = frame.physin = frame.physout = frame.options = None
    frame.ctinfo = frame.ctdir = frame.frag_max_size = 0
    frame.ignore_df = frame.bridged_dnat = False
