"""UDP sockets (net/ipv4/udp.c, RFC 768). A call returns when everything it set off on veths and lo has arrived.

Must not know apps or drivers.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emu.errors import SocketError
from emu.kernel.net import icmp, ip_output
from emu.kernel.net.drop import drop
from emu.kernel.net.fragment import cut
from emu.kernel.net.ip_input import delivered_fact
from emu.kernel.net.multicast import TO_MANY
from emu.kernel.net.route import update_from_error
from emu.kernel.netfilter.hooks import LOCAL_OUT
from emu.kernel.transport.icmp_errors import is_frag_needed, meaning
from emu.kernel.transport.inet import MULTICAST_TTL, TEXT, Endpoint, IcmpError, port_number, text_given
from emu.kernel.transport.ports import Ports
from emu.trail import Born
from emu.wire import icmp as wire_icmp
from emu.wire import templates
from emu.wire import udp as wire
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import IP_DF, IP_HLEN, UDP, Frame
from emu.wire.rewrite import leave_checksum, trim

if TYPE_CHECKING:
    from emu.kernel.net.family import Family
    from emu.kernel.net.netns import Netns

MAX_PAYLOAD = 65507
Receive = Callable[[Frame, int], None]
Knows = Callable[[Frame, int], bool]
SENT = Born("a socket sends a datagram")


class EncapSocket:
    """The kernel's own socket of a tunnel's port (udp_tunnel_sock_cfg): `receive(frame, port)` gets what comes in,
    `knows(quoted, port)` is asked whether an ICMP error is about a packet of the tunnel."""

    __slots__ = ("addr", "knows", "port", "receive", "remote")

    def __init__(self, port: int, receive: Receive, knows: Knows) -> None:
        self.port, self.receive, self.knows = port, receive, knows
        self.addr = 0
        self.remote: tuple[int, int] | None = None


class UdpSocket:
    """A datagram socket. Addresses are given as text or int and come back as text.

    `flow` marks what it sends; `on_readable()` is called (from the walk: schedule, do not act) when something came.
    `errors` lists the ICMP errors received, fatal or not. `waiting` is the truesize of its datagrams that wait for a
    neighbour, bytes.
    """

    __slots__ = (
        "_udp", "addr", "broadcast", "closed", "confirm_neighbour", "dont_fragment", "errors", "flow", "inbox", "inbox_bytes", "net", "on_readable",
        "pending", "port", "remote", "sndbuf", "ttl", "waiting",
    )  # fmt: skip

    def __init__(self, udp: Udp, flow: int = 0) -> None:
        self._udp, self.net, self.flow = udp, udp.net, flow
        self.addr = self.port = 0
        self.remote: tuple[int, int] | None = None
        self.inbox: deque[tuple[bytes, int, int, int]] = deque()
        self.inbox_bytes = 0
        self.pending = 0
        self.errors: list[IcmpError] = []
        self.on_readable: Callable[[], None] | None = None
        self.ttl = 0
        self.dont_fragment = not self.net.sysctl.number("net.ipv4.ip_no_pmtu_disc")  # as the socket was made
        self.broadcast = False  # SO_BROADCAST
        self.sndbuf = self.net.sysctl.number("net.core.wmem_default")
        self.waiting = 0
        self.confirm_neighbour = False
        self.closed = False

    def bind(self, local: Endpoint) -> None:
        """Raises SocketError: EINVAL when bound, EADDRINUSE, EADDRNOTAVAIL."""
        if self.port:
            raise SocketError(errno.EINVAL)
        self.addr = ip4(local[0])
        self.port = self._udp.ports.bind(self.addr, local[1], self)
        self._udp.ports.changed()

    def connect(self, remote: Endpoint) -> None:
        """Fix the peer, and the source address that the route to it has. Raises SocketError ENETUNREACH ..."""
        dst, dport = ip_output.destination(ip4(remote[0]), self.addr), port_number(remote[1])
        flow = ip_output.flow(self.net, UDP, self.port, dport)
        route, source = ip_output.route_socket(self.net, dst, self.addr, flow)
        if route.kind == "broadcast" and not self.broadcast:
            raise SocketError(errno.EACCES)
        if not self.port:
            self.port = self._udp.ports.bind(0, 0, self)
        if not self.addr:
            self._udp.ports.rebind(0, source, self.port, self)
            self.addr = source
        self.remote = (dst, dport)
        self._udp.connected[source, self.port, dst, dport] = self
        self._udp.ports.changed()

    def send(self, data: bytes) -> int:
        """Raises SocketError: EDESTADDRREQ, a pending error, EPERM, EMSGSIZE, ENETUNREACH ...

        EAGAIN: half of the send buffer waits for neighbours, so that a program that polls before it sends, with a time
        limit for example, has to wait (sock_writeable).
        """
        if self.remote is None:
            raise SocketError(errno.EDESTADDRREQ)
        return self._send(data, *self.remote)

    def sendto(self, data: bytes, remote: Endpoint) -> int:
        """Raises as `send`, and EINVAL for port 0."""
        if not remote[1]:
            raise SocketError(errno.EINVAL)
        return self._send(data, ip4(remote[0]), port_number(remote[1]))

    def _send(self, data: bytes, dst: int, dport: int) -> int:
        net, dst = self.net, ip_output.destination(dst, self.addr)
        if data.__class__ is TEXT:
            raise text_given(data)
        if self.pending:
            self._raise_pending()
        if self.waiting >= self.sndbuf >> 1:
            raise SocketError(errno.EAGAIN)
        if len(data) > MAX_PAYLOAD:
            raise SocketError(errno.EMSGSIZE)
        flow = ip_output.flow(net, UDP, self.port, dport)
        route, source = ip_output.route_socket(net, dst, self.addr, flow)
        if route.kind == "broadcast" and not self.broadcast:
            raise SocketError(errno.EACCES)
        if not self.port:
            self.port = self._udp.ports.bind(0, 0, self)
            self._udp.ports.changed()
        # all but local routes name their device: the call is left out, as in local_out
        device = net.ipv4.out_device(route) if route.kind == "local" else route.device
        # larger than the link: cut in pieces, which may not forbid cutting (ip_append_data)
        fits = len(data) + wire.HEADERS <= (route.mtu or device.mtu)
        frame = wire.build(
            self._udp.template, source, dst, self.port, dport, data,
            ident=net.ipv4.idents.next(dst, source, UDP), frag=IP_DF if fits and self.dont_fragment and not route.mtu_locked else 0,
            ttl=MULTICAST_TTL if route.kind == "multicast" else self.ttl or net.ipv4.default_ttl, tos=0, flow=self.flow, trail=[SENT] if net.tracing else None,
        )  # fmt: skip
        net.bear(frame)
        frame.route, frame.sock = route, self
        if fits and device.offload:
            leave_checksum(frame)
        if net.ipv4.fns[LOCAL_OUT]:
            frame.ignore_df = True  # DNAT may send it to a smaller link
            if not fits:  # the pieces are made here, and keep their sizes on another link (ip_append_data)
                frame.cause = cut(len(frame.payload), (route.mtu or device.mtu) - IP_HLEN)
        ip_output.send(net, frame)
        return len(data)

    def recvfrom(self) -> tuple[bytes, tuple[str, int]]:
        """The next datagram and where it came from. Raises SocketError EAGAIN, or the pending error."""
        if self.pending:
            self._raise_pending()
        if not self.inbox:
            raise SocketError(errno.EAGAIN)
        data, src, sport, _flow = self.inbox.popleft()
        self.inbox_bytes -= len(data)
        return data, (ip4_text(src), sport)

    def recv(self) -> bytes:
        return self.recvfrom()[0]

    def _raise_pending(self) -> None:
        number, self.pending = self.pending, 0
        raise SocketError(number)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._udp.ports.release(self.port, self)
            if self.remote is not None:
                self._udp.connected.pop((self.addr, self.port, *self.remote), None)


class Udp:
    """UDP of one address family in one namespace."""

    __slots__ = ("connected", "encaps", "fact", "net", "ports", "rcvbuf", "template")

    def __init__(self, net: Netns, family: Family) -> None:
        self.net = net
        self.ports = Ports(net, family, "udp")
        self.connected: dict[tuple[int, int, int, int], UdpSocket] = {}
        self.encaps: dict[int, EncapSocket] = {}  # by port
        self.template = templates.UDP
        self.fact = delivered_fact(net, "a UDP socket")
        self.rcvbuf = net.sysctl.number("net.core.rmem_default")

    def receive(self, frame: Frame, net: Netns) -> None:
        """udp_rcv."""
        wrong = "" if frame.valid else wire.problem(frame)
        if wrong:
            drop(net, frame, wrong)
            return
        socket: Any = None  # a tunnel's socket is another class
        vrf = frame.indev is not None and frame.indev.kind == "vrf"
        if not vrf:
            socket = self.connected.get((frame.dst, frame.dport, frame.src, frame.sport))
        if socket is None:
            # inet_bound_dev_eq: no socket is bound to a device, and so none receives by a VRF
            socket = None if vrf else self.ports.lookup(frame.dst, frame.dport)
            if socket.__class__ is EncapSocket:
                socket.receive(frame, frame.dport)
                return
            if socket is None or (socket.remote is not None and socket.remote != (frame.src, frame.sport)):
                if frame.route.kind in TO_MANY:  # __udp4_lib_mcast_deliver: consumed, which is no drop
                    net.absorbed += 1
                    return
                trim(frame, wire.end(frame))
                icmp.send(net, frame, wire_icmp.DEST_UNREACH, wire_icmp.PORT_UNREACH)
                drop(net, frame, "NO_SOCKET")
                return
        data = wire.payload(frame)
        if socket.inbox_bytes + len(data) > self.rcvbuf:
            drop(net, frame, "SOCKET_RCVBUFF")
            return
        net.delivered += 1
        socket.inbox.append((data, frame.src, frame.sport, frame.flow))
        socket.inbox_bytes += len(data)
        for listener in net.delivery_listeners:
            listener(frame, self.fact)
        if socket.on_readable is not None:
            socket.on_readable()

    def lookup(self, dst: int, dport: int, src: int, sport: int) -> UdpSocket | None:
        """__udp4_lib_lookup: the connected socket, else who is bound to the address or to all of them."""
        found = self.connected.get((dst, dport, src, sport))
        if found is None:
            found = self.ports.lookup(dst, dport)
        return found if found is None or found.remote in (None, (src, sport)) else None

    def encapsulate(self, port: int, receive: Receive, knows: Knows) -> None:
        """setup_udp_tunnel_sock: a tunnel receives on a port, at all addresses. Raises SocketError EADDRINUSE."""
        socket = EncapSocket(port, receive, knows)
        self.ports.bind(0, port, socket)
        self.encaps[port] = socket
        self.ports.changed()

    def end_encapsulation(self, port: int) -> None:
        """udp_tunnel_sock_release."""
        self.ports.release(port, self.encaps.pop(port))

    def error(self, quoted: Frame, net: Netns, kind: int, code: int, info: int) -> None:
        """udp_err: fatal errors reach connected sockets; every error is noted with the socket, a redirect is none."""
        socket: Any = self.connected.get((quoted.src, quoted.sport, quoted.dst, quoted.dport))
        if socket is None:
            socket = self.ports.lookup(quoted.src, quoted.sport)
            if socket is None or socket.__class__ is EncapSocket:
                # __udp4_lib_err_encap: a tunnel sends from other ports than its own; only the route learns from its errors
                tunnel = self.encaps.get(quoted.dport)
                if tunnel is not None and tunnel.knows(quoted, quoted.dport):
                    update_from_error(net, quoted, kind, code, info)
                return
            if socket.remote is not None and socket.remote != (quoted.dst, quoted.dport):
                return
        update_from_error(net, quoted, kind, code, info)
        if kind == wire_icmp.REDIRECT:
            return  # the routes' business, no error
        socket.errors.append(IcmpError(kind, code, info, quoted.dst, quoted.dport))
        converted = meaning(kind, code)
        # a connected socket gets the error of a packet too large: it might send less (udp_err)
        fatal = converted is not None and (converted[1] or (is_frag_needed(kind, code) and socket.dont_fragment))
        if converted is not None and fatal and socket.remote is not None:
            socket.pending = converted[0]
        if socket.on_readable is not None:
            socket.on_readable()
