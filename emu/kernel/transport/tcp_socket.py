"""TCP sockets: the sans-IO endpoint (`tcp.py`) bound to addresses, frames and the clock (net/ipv4/tcp_ipv4.c).

Calls never block: `connect` sends the SYN, `accept` and `recv` raise EAGAIN, and everything that a
call set off on veths and lo has arrived when it returns. Must not know who uses the socket.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from hashlib import blake2s
from typing import TYPE_CHECKING

from emu import craft
from emu.clock import Timer
from emu.errors import SocketError
from emu.kernel.net import ip_output
from emu.kernel.net.drop import drop
from emu.kernel.net.fib import Route
from emu.kernel.net.ip_input import told
from emu.kernel.net.route import heed, update_pmtu
from emu.kernel.transport.icmp_errors import is_frag_needed, meaning
from emu.kernel.transport.ports import Ports
from emu.kernel.transport.tcp import MAX_PACKET, TcpConfig, TcpEndpoint
from emu.kernel.transport.tcp_config import config_of
from emu.kernel.transport.tcp_options import ACK, RST, SYN, Segment, options_bytes, parse_segment, reset_for
from emu.kernel.transport.udp import Endpoint, IcmpError
from emu.trail import Born
from emu.wire import icmp as wire_icmp
from emu.wire import tcp as wire
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import IP_DF, Frame

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

SENT, AGAIN = Born("a TCP socket sends a segment"), Born("a TCP socket sends a segment again")
RESET = Born("the kernel resets: nobody wants this segment")
Key = tuple[int, int, int, int]


class TcpSocket:
    """A stream socket: fresh, listening (`backlog` set) or connected (`endpoint` set).

    `flow` marks what it sends. `on_readable()` is called when data, an end, an error or a connection came, or
    a connect finished: schedule, do not act. `errors` lists the ICMP errors heard.
    """

    __slots__ = (
        "_deferred", "_learned", "_owned", "_sent_to", "_tcp", "_timer", "accepted", "addr", "backlog", "closed", "confirm_neighbour", "endpoint", "errors", "flow",
        "ident", "listener", "net", "nodelay", "on_readable", "pending", "port", "remote", "waiting",
    )  # fmt: skip

    def __init__(self, tcp: Tcp, flow: int = 0) -> None:
        self._tcp, self.net, self.flow = tcp, tcp.net, flow
        self.addr = self.port = 0
        self.remote: tuple[int, int] | None = None
        self.endpoint: TcpEndpoint | None = None
        self.backlog: int | None = None
        self.accepted: deque[TcpSocket] = deque()
        self.listener: TcpSocket | None = None
        self.pending = 0
        self.errors: list[IcmpError] = []
        self.on_readable: Callable[[], None] | None = None
        self.nodelay = self.closed = self.confirm_neighbour = False
        self.ident = 0
        self._sent_to: int | None = None  # the sequence number after the last byte that ever left
        self.waiting = 0  # segments that wait for a neighbour
        self._timer: Timer | None = None
        self._owned = False  # inside send()
        self._deferred = 0  # the path MTU that was told meanwhile
        self._learned = False  # the segment size follows a route exception

    # -- opening --------------------------------------------------------------------------------

    def bind(self, local: Endpoint) -> None:
        """Raises SocketError: EINVAL when bound, EADDRINUSE, EADDRNOTAVAIL."""
        if self.port:
            raise SocketError(errno.EINVAL)
        self.addr = ip4(local[0])
        self.port = self._tcp.ports.bind(self.addr, local[1], self)

    def listen(self, backlog: int = 4096) -> None:
        """Accept connections; the queue holds one more than `backlog` (capped by somaxconn)."""
        if not self.port:
            self.port = self._tcp.ports.bind(self.addr, 0, self)
        self.backlog = min(backlog, self.net.sysctl.number("net.core.somaxconn"))

    def connect(self, remote: Endpoint) -> None:
        """Send the SYN; `connected` or `error` tell the end. Raises SocketError EISCONN, ENETUNREACH, EADDRNOTAVAIL ..."""
        net, tcp = self.net, self._tcp
        if self.endpoint is not None or self.backlog is not None:
            raise SocketError(errno.EISCONN)
        dst, dport = ip4(remote[0]), remote[1]
        route, source, failed = ip_output.route_output(net, dst, self.addr)
        if route is None:
            raise SocketError(getattr(errno, failed))
        if not self.port:
            self.port = tcp.ports.ephemeral(source, lambda port: (source, port, dst, dport) not in tcp.connections)
            tcp.ports.bound.setdefault(self.port, []).append((source, self))
        elif not self.addr:
            tcp.ports.rebind(0, source, self.port, self)
        key = (source, self.port, dst, dport)
        if key in tcp.connections:
            raise SocketError(errno.EADDRNOTAVAIL)
        self.addr, self.remote = source, (dst, dport)
        tcp.connections[key] = self
        self.ident = tcp.random.randrange(0x10000)
        self.endpoint, segments = TcpEndpoint.connect(
            tcp.config(),
            tcp.mss(route),
            tcp.initial_sequence(key),
            net.clock.now,
            ts_offset=tcp.timestamp_offset(source, dst),
        )
        self.endpoint.nodelay = self.nodelay
        self._after(segments)
        net.clock.drain()

    def accept(self) -> TcpSocket:
        """The next established connection. Raises SocketError EAGAIN, EINVAL when not listening."""
        if self.backlog is None:
            raise SocketError(errno.EINVAL)
        if not self.accepted:
            raise SocketError(errno.EAGAIN)
        return self.accepted.popleft()

    # -- talking --------------------------------------------------------------------------------

    def _live(self) -> TcpEndpoint:
        if self.endpoint is None:
            raise SocketError(errno.ENOTCONN)
        return self.endpoint

    def send(self, data: bytes) -> int:
        """Queue bytes and send what may go. Raises SocketError: a pending error, EPIPE, ENOTCONN."""
        endpoint = self._live()
        self._raise_pending()
        if endpoint.state not in ("ESTABLISHED", "CLOSE_WAIT", "SYN_SENT", "SYN_RECV"):
            raise SocketError(errno.EPIPE)
        self._sync_mss(endpoint)
        self._owned = True
        self._after(endpoint.write(data, self.net.clock.now))
        self.net.clock.drain()
        self._release()
        return len(data)

    def recv(self, limit: int = 1 << 30) -> bytes:
        """Bytes that came, b"" at the end of the stream. Raises SocketError: a pending error, EAGAIN, ENOTCONN."""
        endpoint = self._live()
        if not endpoint.readable:
            self._raise_pending()
            if endpoint.eof or endpoint.state == "CLOSE":
                return b""
            raise SocketError(errno.EAGAIN)
        data, segments = endpoint.read(limit, self.net.clock.now)
        self._after(segments)
        self.net.clock.drain()
        return data

    def close(self) -> None:
        """Close in good order; unread data or a listener's waiting connections are reset."""
        if self.closed:
            return
        self.closed = True
        now = self.net.clock.now
        if self.backlog is not None:
            for child in (*self.accepted, *[s for s in self._tcp.connections.values() if s.listener is self]):
                child.abort()
            self.accepted.clear()
            self._tcp.ports.release(self.port, self)
            self.backlog = None
        elif self.endpoint is not None:
            self._after(self.endpoint.close(now))
        elif self.port:
            self._tcp.ports.release(self.port, self)
        self.net.clock.drain()

    def shutdown(self) -> None:
        """Send FIN, go on reading (SHUT_WR)."""
        self._after(self._live().shutdown(self.net.clock.now))
        self.net.clock.drain()

    def abort(self) -> None:
        """Close by RST (SO_LINGER 0)."""
        self.closed = True
        if self.endpoint is not None:
            self._after(self.endpoint.abort(self.net.clock.now))
            self.net.clock.drain()

    @property
    def state(self) -> str:
        """As `ss` names it: CLOSE, LISTEN, SYN_SENT, ESTABLISHED ..."""
        if self.backlog is not None:
            return "LISTEN"
        return "CLOSE" if self.endpoint is None else self.endpoint.state

    @property
    def connected(self) -> bool:
        return self.state not in ("CLOSE", "LISTEN", "SYN_SENT", "SYN_RECV")

    @property
    def error(self) -> int:
        """The errno that ended the connection, 0 for none; stays readable (SO_ERROR without clearing)."""
        return 0 if self.endpoint is None else self.endpoint.error or 0

    @property
    def peer(self) -> tuple[str, int]:
        return ("", 0) if self.remote is None else (ip4_text(self.remote[0]), self.remote[1])

    def _raise_pending(self) -> None:
        if self.pending:
            number, self.pending = self.pending, 0
            raise SocketError(number)

    # -- the endpoint's world ---------------------------------------------------------------------

    def on_segment(self, segment: Segment) -> None:
        """A segment of this connection came."""
        endpoint = self._live()
        before, readable, eof = endpoint.state, endpoint.readable, endpoint.eof
        self._sync_mss(endpoint)
        segments = endpoint.on_segment(segment, self.net.clock.now)
        if endpoint.progress:
            endpoint.progress = False
            self.confirm_neighbour = True
        if before == "SYN_RECV" and endpoint.state in ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1"):
            self._established()
        self._after(segments)
        if self.on_readable is not None and (
            endpoint.state != before or endpoint.readable != readable or endpoint.eof != eof or endpoint.error
        ):
            self.on_readable()

    def _established(self) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.accepted.append(self)
            if listener.on_readable is not None:
                listener.on_readable()

    def _after(self, segments: list[Segment]) -> None:
        """Send what the endpoint wants sent, set its timer, and bury it when it is closed."""
        endpoint = self._live()
        for segment in segments:
            self._emit(segment)
        if endpoint.error and not self.pending and endpoint.state == "CLOSE" and not self.closed:
            self.pending, self.closed = endpoint.error, True
        deadline = endpoint.deadline
        timer = self._timer
        if timer is not None and timer.pending:
            if timer.due_ns == deadline:
                return
            timer.cancel()
        if endpoint.state == "CLOSE":
            self._timer = None
            self._bury()
        elif deadline is not None:
            self._timer = self.net.clock.call_at(deadline, self._on_deadline, background=endpoint.time_waiting)

    def _on_deadline(self) -> None:
        endpoint = self._live()
        before = endpoint.state
        self._sync_mss(endpoint)
        segments = endpoint.on_deadline(self.net.clock.now)
        if self.waiting:
            # skb_still_in_host_queue: what has not left the host is not sent again, though the timer backs off
            segments = [segment for segment in segments if not segment.length]
        self._after(segments)
        if endpoint.state != before and self.on_readable is not None:
            self.on_readable()

    def mtu_reduced(self, mtu: int) -> None:
        """tcp_v4_mtu_reduced: what the route allows now counts, not what the error said. Inside a call it waits for its end."""
        if self._owned:
            self._deferred = mtu
            return
        assert self.remote is not None
        dst = self.remote[0]
        update_pmtu(self.net, dst, self.addr, mtu)
        route, _source, _failed = ip_output.route_output(self.net, dst, self.addr)
        if route is not None:
            self._learned = bool(route.cached)
            self._after(self._live().on_pmtu(self._tcp.mtu(route), self.net.clock.now))

    def _release(self) -> None:
        """release_sock: do what had to wait for the end of a call."""
        self._owned = False
        mtu, self._deferred = self._deferred, 0
        if mtu:
            self.mtu_reduced(mtu)
            self.net.clock.drain()

    def _sync_mss(self, endpoint: TcpEndpoint) -> None:
        """tcp_current_mss: what others learned of the path, or what expired, counts here, too."""
        if self._learned or self.net.exceptions:
            assert self.remote is not None
            route, _source, _failed = ip_output.route_output(self.net, self.remote[0], self.addr)
            if route is not None:
                self._learned = bool(route.cached)
                endpoint.sync_mss(self._tcp.mtu(route))

    def retire(self) -> None:
        """Leave TIME_WAIT at once, for a new incarnation of the connection."""
        if self._timer is not None:
            self._timer.cancel()
        self._bury()

    def _bury(self) -> None:
        if self.remote is not None:
            self._tcp.connections.pop((self.addr, self.port, *self.remote), None)
        self._tcp.ports.release(self.port, self)

    def _emit(self, segment: Segment) -> None:
        assert self.remote is not None
        if segment.stateless:
            ident = 0
        else:
            ident, self.ident = self.ident, (self.ident + 1) & 0xFFFF
        born, end = SENT, (segment.seq + segment.length) & 0xFFFFFFFF
        if segment.length:
            if self._sent_to is not None and (self._sent_to - end) & 0xFFFFFFFF < 1 << 31:
                born = AGAIN
            else:
                self._sent_to = end
        self._tcp.transmit(segment, self.addr, self.port, *self.remote, ident, self.flow, born, self)


class Tcp:
    """TCP of one namespace: connections by (local, port, remote, port), listeners by port."""

    __slots__ = ("_config", "connections", "fact", "net", "ports", "random", "secret", "template")

    def __init__(self, net: Netns) -> None:
        self.net = net
        self.ports = Ports(net, "tcp")
        self.connections: dict[Key, TcpSocket] = {}
        self.random = net.clock.random(f"tcp/{net.name}")
        self.secret = self.random.randbytes(16)
        self.template = craft.template("tcp")
        self.fact = told(net, "a TCP socket")
        self._config: TcpConfig | None = None
        net.sysctl.on_change(self._forget_config)

    def _forget_config(self, name: str) -> None:
        if ".tcp_" in name or name.startswith("net.core."):
            self._config = None

    def config(self) -> TcpConfig:
        """The namespace's sysctls as an endpoint takes them."""
        if self._config is None:
            self._config = config_of(self.net.sysctl)
        return self._config

    def initial_sequence(self, key: Key) -> int:
        """secure_tcp_seq (RFC 6528): a keyed hash of the connection, and a clock of 64 ns, so that a new incarnation of a
        connection begins above the old one's numbers."""
        return self._hash(*key) + (self.net.clock.now >> 6) & 0xFFFFFFFF

    def timestamp_offset(self, addr: int, peer: int) -> int:
        """secure_tcp_ts_off: one for each pair of hosts, so that timestamps only grow from connection to connection."""
        return self._hash(addr, peer)

    def _hash(self, *words: int) -> int:
        data = b"".join(word.to_bytes(4, "big") for word in words)
        return int.from_bytes(blake2s(data, key=self.secret, digest_size=4).digest(), "big")

    def mss(self, route: Route) -> int:
        """What we announce: the route's MTU (before any DNAT) less 40."""
        return min(self.mtu(route), MAX_PACKET) - 40

    def mtu(self, route: Route) -> int:
        device = self.net.devices["lo"] if route.kind == "local" else route.device
        mtu: int = route.mtu or device.mtu
        return mtu

    def transmit(
        self,
        segment: Segment,
        src: int,
        sport: int,
        dst: int,
        dport: int,
        ident: int,
        flow: int,
        born: Born,
        sock: TcpSocket | None = None,
    ) -> None:
        """Stamp a segment and send it. No route any more: the segment is lost, the timers know."""
        net = self.net
        route, _source, failed = ip_output.route_output(net, dst, src)
        if route is None or failed:
            return
        frame = wire.build(
            self.template, src, dst, sport, dport, seq=segment.seq, ack=segment.ack, flags=segment.flags,
            window=segment.window, options=options_bytes(segment), payload=segment.payload, ident=ident,
            ttl=net.default_ttl, tos=0, flow=flow, trail=[born] if net.tracing else None,
            frag=0 if route.mtu_locked else IP_DF,
        )  # fmt: skip
        net.born += 1
        frame.route, frame.sock, frame.burst = route, sock, segment.burst
        ip_output.local_out(net, frame)

    def receive(self, frame: Frame, net: Netns) -> None:
        """tcp_v4_rcv."""
        if not frame.valid and not wire.checksum_ok(frame):
            drop(net, frame, "TCP_CSUM")
            return
        segment = parse_segment(frame.buf[frame.l4 : 14 + frame.ip_length])
        segment.burst = frame.burst
        socket = self.connections.get((frame.dst, frame.dport, frame.src, frame.sport))
        isn = None
        if socket is not None and socket.endpoint is not None and segment.flags & (SYN | ACK | RST) == SYN:
            # a new incarnation: tcp_timewait_state_process may let a listener take over
            isn = socket.endpoint.reusable_isn(segment)
            if isn is not None:
                socket.retire()
                socket = None
        if socket is None:
            listener = self.ports.lookup(frame.dst, frame.dport)
            if listener is None or listener.backlog is None:
                self._refuse(frame, segment)
                drop(net, frame, "NO_SOCKET")
                return
            if segment.flags & (SYN | ACK | RST) != SYN:
                if segment.flags & ACK and not segment.flags & RST:
                    self._refuse(frame, segment)
                drop(net, frame, "TCP_FLAGS")
                return
            if len(listener.accepted) > listener.backlog:
                drop(net, frame, "TCP_LISTEN_OVERFLOW")
                return
            self._deliver(frame)
            self._open(frame, segment, listener, isn)
            return
        self._deliver(frame)
        socket.on_segment(segment)

    def _deliver(self, frame: Frame) -> None:
        net = self.net
        net.delivered += 1
        if net.on_delivered is not None:
            net.on_delivered(frame, self.fact)

    def _open(self, frame: Frame, syn: Segment, listener: TcpSocket, isn: int | None) -> None:
        """A SYN for a listener: a connection in SYN_RECV, of the flow that asked."""
        route, _source, _failed = ip_output.route_output(self.net, frame.src, frame.dst)
        if route is None:
            return
        child = TcpSocket(self, frame.flow)
        child.addr, child.port, child.remote, child.listener = (
            frame.dst,
            frame.dport,
            (frame.src, frame.sport),
            listener,
        )
        child.ident = self.random.randrange(0x10000)
        child.nodelay = listener.nodelay
        key = frame.dst, frame.dport, frame.src, frame.sport
        child.endpoint, segments = TcpEndpoint.accept(
            self.config(), self.mss(route), self.initial_sequence(key) if isn is None else isn, syn, self.net.clock.now,
            ts_offset=self.timestamp_offset(frame.dst, frame.src),
        )  # fmt: skip
        child.endpoint.nodelay = listener.nodelay
        self.connections[child.addr, child.port, frame.src, frame.sport] = child
        child._after(segments)

    def _refuse(self, frame: Frame, segment: Segment) -> None:
        """tcp_v4_send_reset: to whatever is not itself a reset."""
        reset = reset_for(segment)
        if reset is not None:
            self.transmit(reset, frame.dst, frame.dport, frame.src, frame.sport, 0, frame.flow, RESET)

    def error(self, quoted: Frame, net: Netns, kind: int, code: int, info: int) -> None:
        """tcp_v4_err: an ICMP error about one of our segments."""
        socket = self.connections.get((quoted.src, quoted.sport, quoted.dst, quoted.dport))
        if socket is None or socket.endpoint is None:
            return
        socket.errors.append(IcmpError(kind, code, info, quoted.dst, quoted.dport))
        endpoint, now = socket.endpoint, net.clock.now
        l4 = quoted.l4
        seq = int.from_bytes(quoted.buf[l4 + 4 : l4 + 8], "big")
        segments: list[Segment] = []
        if is_frag_needed(kind, code):
            if endpoint.sent(seq) and net.sysctl.number("net.ipv4.ip_no_pmtu_disc") <= 1:
                socket.mtu_reduced(info & 0xFFFF)
        elif kind == wire_icmp.REDIRECT:
            if endpoint.sent(seq):
                heed(net, quoted, kind, code, info)
        else:
            found = meaning(kind, code)
            if found is None:
                return
            segments = endpoint.on_icmp_error(found[0], now, hard=found[1], seq=seq)
        socket._after(segments)
        if socket.on_readable is not None:
            socket.on_readable()
