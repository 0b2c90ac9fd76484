"""ping: ICMP echo from a namespace, as the iputils tool's raw socket does it. Must not print."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from emu.errors import SocketError
from emu.kernel.net import ip_output
from emu.kernel.net.fragment import cut
from emu.kernel.net.route import update_from_error
from emu.kernel.netfilter.hooks import LOCAL_OUT
from emu.kernel.transport.inet import MULTICAST_TTL, IcmpError
from emu.trail import Born
from emu.wire import icmp as wire
from emu.wire import templates
from emu.wire.addr import ip4
from emu.wire.frame import ICMP, IP_DF, IP_HLEN, Frame

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

SENT = Born("ping sends an echo request")
DATA = bytes(16) + bytes(range(16, 56))  # a timestamp's place, then ping's counting pattern


class EchoReply(NamedTuple):
    """One answer: its source, its TTL on arrival, and the round trip."""

    seq: int
    src: int
    ttl: int
    rtt_ns: int


class PingSocket:
    """One run of ping: its identifier, the answers and errors that came. Replies are matched by identifier."""

    __slots__ = (
        "_ping", "addr", "dont_fragment", "errors", "flow", "forbid_fragments", "ident", "net", "on_readable", "replies", "sent", "ttl",
    )  # fmt: skip

    def __init__(self, ping: Ping, ident: int, flow: int = 0) -> None:
        self._ping, self.net, self.ident, self.flow = ping, ping.net, ident, flow
        self.addr = self.ttl = 0
        self.dont_fragment = not self.net.sysctl.number("net.ipv4.ip_no_pmtu_disc")  # as the socket was made
        self.forbid_fragments = False  # ping -M do
        self.sent: dict[int, int] = {}
        self.replies: list[EchoReply] = []
        self.errors: list[IcmpError] = []
        self.on_readable: Callable[[], None] | None = None

    def send(self, dst: str | int, seq: int = 1, data: bytes = DATA) -> None:
        """One echo request. Raises SocketError ENETUNREACH, EPERM, EMSGSIZE (with `forbid_fragments`) ..."""
        net, to = self.net, ip_output.destination(ip4(dst), self.addr)
        route, source = ip_output.route_socket(net, to, self.addr, ip_output.flow(net, ICMP))
        if net.ipv4.addr_type(to) == "BROADCAST":
            raise SocketError(errno.EACCES)
        device = net.ipv4.out_device(route)
        fits = len(data) + wire.HEADERS <= (route.mtu or device.mtu)
        whole = fits and self.dont_fragment and not route.mtu_locked
        if not fits and self.forbid_fragments:
            raise SocketError(errno.EMSGSIZE)
        frame = wire.build(
            self._ping.template, source, to, wire.ECHO, 0, self.ident << 16 | seq & 0xFFFF, data,
            ident=0 if self.forbid_fragments else net.ipv4.idents.next(to, source, ICMP), frag=IP_DF if whole or self.forbid_fragments else 0,
            ttl=MULTICAST_TTL if route.kind == "multicast" else self.ttl or net.ipv4.default_ttl, tos=0, flow=self.flow, trail=[SENT] if net.tracing else None,
        )  # fmt: skip
        net.bear(frame)
        frame.route = route
        self.sent[seq] = net.clock.now
        if net.ipv4.fns[LOCAL_OUT] and not self.forbid_fragments:
            frame.ignore_df = True  # DNAT may send it to a smaller link
            if not fits:  # the pieces are made here, and keep their sizes on another link (ip_append_data)
                frame.cause = cut(len(frame.payload), (route.mtu or device.mtu) - IP_HLEN)
        ip_output.send(net, frame)

    def close(self) -> None:
        self._ping.sockets.pop(self.ident, None)


class Ping:
    """The echo sockets of one namespace, by identifier."""

    __slots__ = ("net", "sockets", "template")

    def __init__(self, net: Netns) -> None:
        self.net = net
        self.sockets: dict[int, PingSocket] = {}
        self.template = templates.ECHO_REQUEST

    def open(self, flow: int = 0, ident: int = 0) -> PingSocket:
        """A new run with an identifier of its own (`ident`: a certain one). Raises SocketError EADDRINUSE."""
        if ident in self.sockets:
            raise SocketError(errno.EADDRINUSE)
        while not ident or ident in self.sockets:
            ident = self.net.random("ping").randrange(1, 0x10000)
        socket = self.sockets[ident] = PingSocket(self, ident, flow)
        return socket

    def receive(self, frame: Frame, net: Netns, kind: int, code: int, info: int) -> None:
        """An echo reply, or an error whose quote (`frame`) is one of our requests."""
        if kind != wire.ECHO_REPLY:
            quoted = frame.dport >> 8
            # icmp_err: about an echo reply of the kernel; else raw_err, in which any raw socket of ICMP takes part
            if quoted == wire.ECHO_REPLY or self.sockets:
                update_from_error(net, frame, kind, code, info)
            if quoted != wire.ECHO:
                return
        socket = self.sockets.get(frame.sport)
        if socket is None:
            return
        if kind == wire.ECHO_REPLY:
            seq = wire.sequence(frame)
            sent_ns = socket.sent.get(seq, net.clock.now)
            socket.replies.append(EchoReply(seq, frame.src, frame.ttl, net.clock.now - sent_ns))
        else:
            socket.errors.append(IcmpError(kind, code, info, frame.dst, wire.sequence(frame)))
        if socket.on_readable is not None:
            socket.on_readable()
