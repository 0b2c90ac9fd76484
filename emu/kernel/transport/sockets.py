"""The sockets of one namespace: the door through which apps, drivers and people use it.

Must not know apps.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING, Any

from emu import craft
from emu.errors import SocketError
from emu.kernel.link.device import Device
from emu.kernel.net import icmp, igmp, ip_output, pim
from emu.kernel.transport import udplite
from emu.kernel.transport.ping import Ping, PingSocket
from emu.kernel.transport.tcp_ipv4 import Tcp
from emu.kernel.transport.tcp_socket import TcpSocket
from emu.kernel.transport.udp import Udp, UdpSocket
from emu.trail import Born
from emu.wire import ipv4
from emu.wire.addr import ip4
from emu.wire.frame import ETH_HLEN, ETH_P_IP, ICMP, IGMP, PIM, TCP, UDP, UDPLITE, Frame
from emu.wire.rewrite import set_smac

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

RAW_PROTO = 255  # IPPROTO_RAW: what rules see of a packet that is sent whole
RAW = Born("a user's own packet")
_VLAN_TYPE, _VLAN_HLEN = b"\x81\x00", 4


class Sockets:
    """Opens sockets; `flow` marks what they send."""

    __slots__ = ("net", "ping_table", "tcp_table", "udp_table")

    def __init__(self, net: Netns) -> None:
        self.net = net
        self.udp_table, self.tcp_table, self.ping_table = Udp(net, net.ipv4), Tcp(net, net.ipv4), Ping(net)
        net.ipv4.protocols = {
            UDP: self.udp_table.receive,
            TCP: self.tcp_table.receive,
            ICMP: icmp.receive,
            IGMP: igmp.receive,
            PIM: pim.receive,
            UDPLITE: udplite.receive,
        }
        net.ipv4.socket_lookup = self.lookup
        net.ipv4.icmp_errors = _ERRORS

    def lookup(self, proto: int, dst: int, dport: int, src: int, sport: int) -> Any:
        """The socket that takes a packet with these addresses and ports; None without one."""
        if proto == TCP:
            return self.tcp_table.lookup(dst, dport, src, sport)
        return self.udp_table.lookup(dst, dport, src, sport) if proto == UDP else None

    def udp(self, flow: int = 0) -> UdpSocket:
        return UdpSocket(self.udp_table, flow)

    def tcp(self, flow: int = 0) -> TcpSocket:
        return TcpSocket(self.tcp_table, flow)

    def ping(self, flow: int = 0, ident: int = 0) -> PingSocket:
        return self.ping_table.open(flow, ident)

    def source_for(self, dst: int) -> int:
        """The source address of what a socket would send to `dst`."""
        _route, source, _failed = ip_output.route_output(self.net, dst)
        return source

    def send_packet(self, packet: Any, flow: int = 0, device: str | None = None) -> Frame:
        """Send any Scapy packet, or bytes of a whole Ethernet frame. What the packet leaves out is filled by this
        namespace: source address by its route, MACs by its devices and neighbours, TTL by sysctl.

        A packet with an Ethernet layer (or ARP) is sent unchanged out of `device` (default: the first that is not lo).
        Raises SocketError ENETUNREACH ..., for a frame EINVAL (no whole Ethernet header), EMSGSIZE (longer than the
        device takes) and ENETDOWN; InputError for an unknown device.
        """
        net = self.net
        trail: list[Any] | None = [RAW] if net.tracing else None
        if isinstance(packet, bytes | bytearray):
            data, layer2, dst = bytes(packet), True, None
        else:
            data, layer2, dst = b"", craft.is_layer2(packet), craft.destination(packet)
        if layer2 or dst is None:
            link = net.device(device) if device else next((d for d in net.devices.values() if not d.noarp), None)
            if link is None:
                raise SocketError(errno.ENODEV)
            if not isinstance(packet, bytes | bytearray):
                data = craft.build(packet, net.ipv4.select_addr(link, 0), link.mac, net.ipv4.default_ttl)
            _check_frame(link, data)
            frame = Frame.parse(data, flow, trail)
            if not layer2:
                set_smac(frame, link.mac)
            net.bear(frame)
            link.transmit(frame)
        else:
            given = craft.source(packet)
            route, source = ip_output.route_socket(net, ip4(dst), flow=ip_output.flow(net, RAW_PROTO))
            data = craft.build(packet, ip4(given) if given else source, bytes(6), net.ipv4.default_ttl)
            next_ident = partial(net.ipv4.idents.next, ip4(dst), source, RAW_PROTO)
            frame = Frame.parse(ipv4.given_header(data, source, next_ident), flow, trail)
            if len(frame.buf) - ETH_HLEN > net.ipv4.out_device(route).mtu:
                raise SocketError(errno.EMSGSIZE)  # raw_send_hdrinc cuts nothing
            frame.ethertype = ETH_P_IP
            net.bear(frame)
            frame.route = route
            ip_output.send(net, frame, interruptible=False)
        net.clock.drain()
        return frame


def _udp_error(quoted: Frame, net: Netns, kind: int, code: int, info: int) -> None:
    net.sockets.udp_table.error(quoted, net, kind, code, info)


def _tcp_error(quoted: Frame, net: Netns, kind: int, code: int, info: int) -> None:
    net.sockets.tcp_table.error(quoted, net, kind, code, info)


def _ping_error(frame: Frame, net: Netns, kind: int, code: int, info: int) -> None:
    net.sockets.ping_table.receive(frame, net, kind, code, info)


_ERRORS = {UDP: _udp_error, TCP: _tcp_error, ICMP: _ping_error}  # one for all namespaces


def _check_frame(link: Device, data: bytes) -> None:
    """packet_snd of net/packet/af_packet.c: what a packet socket does not send. Raises SocketError."""
    if not link.up:
        raise SocketError(errno.ENETDOWN)
    if len(data) < ETH_HLEN:
        raise SocketError(errno.EINVAL)
    tag = _VLAN_HLEN if data[12:14] == _VLAN_TYPE else 0
    if len(data) > ETH_HLEN + tag + link.mtu:
        raise SocketError(errno.EMSGSIZE)
