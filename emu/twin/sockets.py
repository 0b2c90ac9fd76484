"""Real sockets in a real namespace, with the methods of the emulator's: apps and flows run on them unchanged.

A socket is opened inside its namespace; all later calls on it happen there. Must not know apps or flows.
"""

from __future__ import annotations

import errno
import fcntl
import select
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from emu import craft
from emu.errors import SocketError
from emu.kernel.net import ip_output
from emu.kernel.net.family import Address
from emu.kernel.net.netns import Netns
from emu.kernel.transport.inet import Endpoint, IcmpError
from emu.kernel.transport.ping import EchoReply
from emu.twin.loop import Loop
from emu.twin.space import Space
from emu.wire import captured
from emu.wire import icmp as wire_icmp
from emu.wire.addr import ip4, ip4_text
from emu.wire.checksum import checksum
from emu.wire.frame import ICMP, TCP
from emu.wire.summary import read_ip

IP_RECVERR, IP_HDRINCL, SO_EE_ORIGIN_ICMP = 11, 3, 2
IP_MTU_DISCOVER, IP_PMTUDISC_OMIT = 10, 5
STATES = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
    "LAST_ACK", "LISTEN", "CLOSING", "SYN_RECV",
)  # fmt: skip  # include/net/tcp_states.h
OPENING = ("CLOSE", "LISTEN", "SYN_SENT", "SYN_RECV")
ENDED = ("CLOSE_WAIT", "LAST_ACK", "CLOSING", "TIME_WAIT", "CLOSE")
LARGE = 1 << 22
ERRORS = (wire_icmp.DEST_UNREACH, wire_icmp.TIME_EXCEEDED, wire_icmp.PARAMETER_PROBLEM)
# linux/sock_diag.h, linux/inet_diag.h: one connection by its ends, on any device, whatever its cookie
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, DIAG_ANY = 4, 20, 1, bytes(4) + b"\xff" * 8


def _text(endpoint: Endpoint) -> tuple[str, int]:
    host, port = endpoint
    return (ip4_text(host) if isinstance(host, int) else host), port


def _tried(call: Callable[..., Any], *arguments: Any) -> Any:
    """What a socket's call gives. Raises SocketError with the kernel's errno."""
    try:
        return call(*arguments)
    except OSError as error:
        raise SocketError(error.errno or errno.EIO) from None


def _queued(real: socket.socket) -> Iterator[tuple[int, IcmpError]]:
    """The ICMP errors in a socket's queue (IP_RECVERR), each with its errno; they leave the queue."""
    while True:
        try:
            _data, ancillary, _flags, peer = real.recvmsg(65535, 512, socket.MSG_ERRQUEUE)
        except OSError:
            return
        for _level, _kind, value in ancillary:
            number, origin, kind, code, _pad, info, _rest = struct.unpack_from("=IBBBBII", value)
            if origin == SO_EE_ORIGIN_ICMP:
                yield number, IcmpError(kind, code, info, ip4(peer[0]), peer[1])


class _RealSocket:
    """The part that all kinds share: a nonblocking socket that the loop watches."""

    def __init__(self, net: RealNet, real: socket.socket) -> None:
        self.net, self.real = net, real
        self.addr = self.port = self.flow = 0
        self.received: list[IcmpError] = []
        self.on_readable: Callable[[], None] | None = None
        self.closed = self.chosen = False
        real.setblocking(False)
        net.open.add(self)
        net.clock.watch(self)

    @property
    def errors(self) -> list[IcmpError]:
        """The ICMP errors received."""
        return self.received

    def fileno(self) -> int:
        return self.real.fileno()

    def ready(self, events: int) -> None:
        if self.on_readable is not None:
            self.on_readable()

    def bind(self, local: Endpoint) -> None:
        _tried(self.real.bind, _text(local))
        self.chosen = bool(local[1])
        self._named()

    @property
    def ephemeral(self) -> bool:
        """Whether the kernel chose the port."""
        return bool(self.port) and not self.chosen

    def _named(self) -> None:
        host, self.port = self.real.getsockname()[:2]
        self.addr = ip4(host)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.release()

    def release(self) -> None:
        """Close the descriptor."""
        if self in self.net.open:
            self.net.open.discard(self)
            self.net.clock.forget(self)
            self.real.close()
            self.net.clock.carry()


class RealTcp(_RealSocket):
    """As `emu.kernel.transport.tcp_socket.TcpSocket`."""

    def __init__(self, net: RealNet, real: socket.socket | None = None, peer: tuple[str, int] = ("", 0)) -> None:
        self.peer, self.error, self._pending, self._rest, self._closing = peer, 0, 0, b"", False
        self._opening = self.blocking = False
        super().__init__(net, real or net.socket(socket.AF_INET, socket.SOCK_STREAM))
        if real is not None:
            self._named()

    def listen(self, backlog: int = 4096) -> None:
        _tried(self.real.listen, backlog)

    def connect(self, remote: Endpoint) -> None:
        """Connect, and read SO_ERROR at once, as a client with a time limit does, unless the client is `blocking`. An ICMP
        error that comes inside the call is a soft error to Linux (the call owns the socket, tcp_v4_err), and SO_ERROR gives it."""
        self.peer = _text(remote)
        # the queue of errors distinguishes an ICMP error from a RST, which has the same errno
        self.real.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        failed = self.real.connect_ex(self.peer)
        self.net.clock.carry()
        self._named()
        if failed not in (0, errno.EINPROGRESS):
            raise SocketError(failed)
        self._opening = True
        self._opened()
        if self.net.asks_at_once and not self.blocking:
            self._fail(self.real.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        if self.error:
            self.abort()

    def accept(self) -> RealTcp:
        real, peer = _tried(self.real.accept)
        return RealTcp(self.net, real, peer)

    def _opened(self) -> None:
        """Read the errors of the handshake. A connection that stands takes none: it survives them (RFC 5927)."""
        if self._opening:
            self.received += [icmp for _number, icmp in _queued(self.real)]
            if self.state != "SYN_SENT":
                self._opening = False
                if self in self.net.open:
                    self.real.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 0)

    def _fail(self, number: int) -> None:
        if number and not self.error:
            self.error = self._pending = number

    @property
    def errors(self) -> list[IcmpError]:
        """The ICMP errors received, also those that the kernel keeps to itself, as soft errors of a connection."""
        self.net.take_icmp()
        return self.received

    def ready(self, events: int) -> None:
        if self.state != "LISTEN":
            self._opened()
        if self.state != "LISTEN" and not (self.blocking and self.state == "SYN_SENT"):
            self._fail(self.real.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            if events & select.EPOLLOUT:
                self._push()
        super().ready(events)

    @property
    def state(self) -> str:
        """The state as `ss` names it; after `close` it is read from the kernel's list."""
        if self.error and not self.closed:
            return "CLOSE"
        if self in self.net.open:
            info: bytes = self.real.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
            return STATES[info[0]]
        return self._listed()

    def _listed(self) -> str:
        """The state of a connection without a descriptor, from sock_diag: to read /proc/net/tcp takes milliseconds, and
        would delay an app."""
        ends = struct.pack("!HHI12xI12x", self.port, self.peer[1], self.addr, ip4(self.peer[0] or "0.0.0.0"))
        asked = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + ends + DIAG_ANY
        head = struct.pack("=IHHII", 16 + len(asked), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
        self.net.diag.send(head + asked)
        answer = self.net.diag.recv(4096)
        (kind,) = struct.unpack_from("=H", answer, 4)
        state = STATES[answer[17]] if kind == SOCK_DIAG_BY_FAMILY else "CLOSE"
        return "CLOSE" if state == "LISTEN" else state

    @property
    def connected(self) -> bool:
        return self.state not in OPENING

    @property
    def endpoint(self) -> RealTcp | None:
        """The endpoint that flows read; this object has its fields."""
        return self if self.peer[1] else None

    @property
    def readable(self) -> int:
        if self not in self.net.open:
            return 0
        waiting = fcntl.ioctl(self.real, termios.FIONREAD, b"\0\0\0\0")
        return int(struct.unpack("i", waiting)[0])

    @property
    def eof(self) -> bool:
        return self.state in ENDED and not self.readable

    def send(self, data: bytes) -> int:
        self._raise()
        self._rest += data
        self._push(loud=True)
        return len(data)

    def _push(self, *, loud: bool = False) -> None:
        while self._rest:
            try:
                self._rest = self._rest[self.real.send(self._rest) :]
                self.net.clock.carry()
            except BlockingIOError:
                return
            except OSError as error:
                self._rest = b""
                if loud:
                    raise SocketError(error.errno or errno.EIO) from None
        if self._closing:
            self.release()

    def recv(self, limit: int = LARGE) -> bytes:
        if not self.readable:
            self._raise()
        data: bytes = _tried(self.real.recv, min(limit, LARGE))
        self.net.clock.carry()
        return data

    def _raise(self) -> None:
        if self._pending:
            number, self._pending = self._pending, 0
            raise SocketError(number)

    def shutdown(self) -> None:
        _tried(self.real.shutdown, socket.SHUT_WR)
        self.net.clock.carry()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = self._closing = True
        if not self._rest:
            self.release()

    def abort(self) -> None:
        if self in self.net.open:
            self.real.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closed = True
        self.release()


class RealUdp(_RealSocket):
    """As `emu.kernel.transport.udp.UdpSocket`. A client (`flow` set) receives ICMP errors, as that socket always does."""

    def __init__(self, net: RealNet, flow: int) -> None:
        super().__init__(net, net.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.flow = flow
        self.inbox: deque[tuple[bytes, int, int, int]] = deque()
        self.pending = 0
        if flow:
            self.real.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)

    def connect(self, remote: Endpoint) -> None:
        _tried(self.real.connect, _text(remote))
        self._named()

    def send(self, data: bytes) -> int:
        sent = self._sent(lambda: self.real.send(data))
        self.net.clock.carry()
        return sent

    def sendto(self, data: bytes, remote: Endpoint) -> int:
        sent = self._sent(lambda: self.real.sendto(data, _text(remote)))
        self.net.clock.carry()
        return sent

    def _sent(self, send: Callable[[], int]) -> int:
        try:
            return send()
        except OSError as error:
            self.pending = error.errno or errno.EIO
            raise SocketError(self.pending) from None
        finally:
            self._named()
            self._take()

    def ready(self, events: int) -> None:
        """epoll also reports that a datagram may be sent, which wakes no program."""
        self._take()
        if self.inbox or self.pending:
            super().ready(events)

    def _take(self) -> None:
        for number, icmp in _queued(self.real):
            self.pending = number
            self.received.append(icmp)
        while True:
            try:
                data, (host, port) = self.real.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError as error:
                self.pending = error.errno or errno.EIO
                continue
            self.inbox.append((data, ip4(host), port, 0))

    def recv(self) -> bytes:
        """As the emulator's: a pending error is raised first."""
        if self.pending:
            number, self.pending = self.pending, 0
            raise SocketError(number)
        return self.recvfrom()[0]

    def recvfrom(self) -> tuple[bytes, tuple[str, int]]:
        if not self.inbox:
            raise SocketError(errno.EAGAIN)
        data, src, sport, _flow = self.inbox.popleft()
        return data, (ip4_text(src), sport)


class RealPing(_RealSocket):
    """As `emu.kernel.transport.ping.PingSocket`: a raw socket, as in the tool `ping`."""

    def __init__(self, net: RealNet, ident: int) -> None:
        super().__init__(net, net.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        self.ident, self.ttl = ident, 0
        self.replies: list[EchoReply] = []
        self._sent_ns: dict[int, int] = {}

    def send(self, dst: str | int, seq: int = 1, data: bytes = b"") -> None:
        if self.ttl:
            self.real.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self.ttl)
        head = struct.pack("!BBHHH", 8, 0, 0, self.ident, seq)
        summed = head[:2] + struct.pack("!H", checksum(head + data)) + head[4:]
        self._sent_ns[seq] = self.net.clock.now
        _tried(self.real.sendto, summed + data, _text((dst, 0)))
        self.net.clock.carry()

    def ready(self, events: int) -> None:
        while True:
            try:
                packet = self.real.recv(65535)
            except BlockingIOError:
                break
            except OSError:
                continue
            self._received(packet)
        super().ready(events)

    def _received(self, packet: bytes) -> None:
        seen = read_ip(packet)
        if seen.sport == wire_icmp.ECHO_REPLY and seen.ident == self.ident:
            rtt_ns = self.net.clock.now - self._sent_ns.get(seen.seq, self.net.clock.now)
            self.replies.append(EchoReply(seen.seq, seen.src, seen.ttl, rtt_ns))
        elif seen.sport in ERRORS:
            asked = read_ip(seen.quote)
            if asked.proto == ICMP and asked.sport == wire_icmp.ECHO and asked.ident == self.ident:
                self.received.append(IcmpError(seen.sport, seen.dport, seen.seq, asked.dst, asked.seq))


class RealSockets:
    """As `emu.kernel.transport.sockets.Sockets`. `opened` lists all sockets."""

    def __init__(self, net: RealNet) -> None:
        self._net = net
        self.opened: list[_RealSocket] = []

    def udp(self, flow: int = 0) -> RealUdp:
        socket = RealUdp(self._net, flow)
        self.opened.append(socket)
        return socket

    def tcp(self, flow: int = 0) -> RealTcp:
        socket = RealTcp(self._net)
        self.opened.append(socket)
        return socket

    def ping(self, flow: int = 0, ident: int = 0) -> RealPing:
        source = self._net.clock.random(f"ping/{self._net.name}")
        return RealPing(self._net, ident or source.randrange(1, 0x10000))

    def source_for(self, dst: int) -> int:
        source: int = self._net.emulated.sockets.source_for(dst)
        return source

    def send_packet(self, packet: Any, flow: int = 0, device: str | None = None) -> None:
        """Send a user's own packet. Fields that are not set are filled in from the emulated namespace, as in the emulator."""
        net, emulated = self._net, self._net.emulated
        dst = None if isinstance(packet, bytes) else craft.destination(packet)
        if isinstance(packet, bytes) or craft.is_layer2(packet) or dst is None:
            link = emulated.device(device) if device else next(d for d in emulated.devices.values() if not d.noarp)
            data = packet
            if not isinstance(packet, bytes):
                data = craft.build(packet, emulated.ipv4.select_addr(link, 0), link.mac, emulated.ipv4.default_ttl)
            with net.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind((link.name, 0))
                _tried(raw.send, data)
            return
        _route, source = ip_output.route_socket(emulated, ip4(dst))
        given = craft.source(packet)
        data = craft.build(packet, ip4(given) if given else source, bytes(6), emulated.ipv4.default_ttl)
        with net.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.setsockopt(socket.IPPROTO_IP, IP_HDRINCL, 1)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            _tried(raw.sendto, captured.packet(data), (dst, 0))


class RealNet:
    """A namespace with the interface of `emu.apps.Host` and `emu.kube.dns.resolver.Client`: sockets and a clock.
    `emulated` is the namespace that it mirrors; `asks_at_once`: TCP clients read SO_ERROR right after connect()."""

    def __init__(self, emulated: Netns, space: Space, loop: Loop, *, asks_at_once: bool = True) -> None:
        self.emulated, self.space, self.clock = emulated, space, loop
        self.name, self.asks_at_once = emulated.name, asks_at_once
        self.open: set[_RealSocket] = set()
        self.sockets = RealSockets(self)
        self.diag = self.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG)
        self.icmp = self.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        # raw_err: without this, the namespace would learn path MTUs from errors about packets that no program sent
        self.icmp.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT)

    def take_icmp(self) -> None:
        """Give the ICMP errors that came to this namespace to the TCP sockets whose packets they quote."""
        while True:
            try:
                seen = read_ip(self.icmp.recv(65535))
            except BlockingIOError:
                return
            if seen.sport not in ERRORS:
                continue
            asked = read_ip(seen.quote)
            for each in {*self.open, *self.sockets.opened} if asked.proto == TCP else ():
                if isinstance(each, RealTcp) and (each.port, each.peer) == (
                    asked.sport,
                    (ip4_text(asked.dst), asked.dport),
                ):
                    each.received.append(IcmpError(seen.sport, seen.dport, seen.seq, asked.dst, asked.dport))

    @property
    def addresses(self) -> list[Address]:
        return self.emulated.ipv4.addresses

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """A new socket of this namespace. Raises SocketError."""
        with self.space.inside():
            return socket.socket(family, kind, proto)

    def close(self) -> None:
        """Abort every socket: nothing that follows is compared."""
        for each in list(self.open):
            if isinstance(each, RealTcp):
                with suppress(OSError):
                    each.abort()
            each.release()
        self.diag.close()
        self.icmp.close()
