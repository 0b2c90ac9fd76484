"""TCP sockets: the sans-IO endpoint (`tcp.py`) bound to addresses, frames and the clock (net/ipv4/tcp_ipv4.c).

Calls never block: `connect` sends the SYN, `accept` and `recv` raise EAGAIN, and everything that a
call set off on veths and lo has arrived when it returns. Must not know apps or drivers.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from emu.errors import SocketError
from emu.kernel.net import ip_output
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.multicast import TO_MANY
from emu.kernel.net.route import is_uncached, update_pmtu
from emu.kernel.transport.inet import TEXT, Endpoint, IcmpError, port_number, text_given
from emu.kernel.transport.ports import Ports
from emu.kernel.transport.tcp import TcpConfig, TcpEndpoint
from emu.kernel.transport.tcp_deadlines import Deadlines
from emu.kernel.transport.tcp_established import rcv_established
from emu.kernel.transport.tcp_options import Segment, coalesced
from emu.kernel.transport.tcp_sender import Out, Sender
from emu.kernel.transport.tcp_sock import Deadline
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import TCP, Frame, Plain

Key = tuple[int, int, int, int]
# connect() prefers the ports at even distances of the range's first, and bind() leaves them to it (inet_csk_find_open_port)
CONNECTED, BOUND = 0, 1
WRITABLE = frozenset(("ESTABLISHED", "CLOSE_WAIT", "SYN_SENT", "SYN_RECV"))


class TcpTable(Out, Protocol):
    """What a socket uses of its namespace's TCP: ports, the connections by (local, port, remote, port), and the way out."""

    ports: Ports
    connections: dict[Key, TcpSocket]

    def draw_ident(self) -> int: ...

    def config(self) -> TcpConfig: ...

    def initial_sequence(self, key: Key) -> int: ...

    def timestamp_offset(self, addr: int, peer: int) -> int: ...

    def mss(self, route: Route) -> int: ...


class TcpSocket(Sender):
    """A stream socket: fresh, listening (`backlog` set) or connected (`endpoint` set).

    `flow` marks what it sends. `on_readable()` is called when data, an end, an error or a connection came, or
    a connect finished: schedule, do not act. `errors` lists the ICMP errors received. `blocking`: the program waits inside
    connect(), see there.
    """

    __slots__ = (
        "_backlog", "_deferred", "_ending", "_owned", "_rest", "_tcp", "_timers", "_woken", "accepted", "backlog", "blocking",
        "closed", "errors", "half_open", "listener", "_nodelay", "on_readable", "overflowed_ns", "pending",
    )  # fmt: skip

    def __init__(self, tcp: TcpTable, flow: int = 0) -> None:
        super().__init__(tcp, flow)
        self._tcp = tcp
        self.pending = 0
        self.backlog: int | None = None
        self.half_open = 0  # a listener's requests
        self.overflowed_ns: int | None = None  # when a listener last answered with a cookie
        self.accepted: list[TcpSocket] = []
        self.listener: TcpSocket | None = None
        self.errors: list[IcmpError] = []
        self.on_readable: Callable[[], None] | None = None
        self._nodelay = self.closed = self.blocking = False
        self._timers = Deadlines(self.net.clock, self._on_deadline)
        self._owned = False  # inside connect(), send() or recv()
        self._woken = False  # the program will soon write its rest
        self._backlog: list[Segment] = []  # what came meanwhile
        self._rest = b""  # what the program has to write when the send buffer has room again
        self._ending: Callable[[], None] | None = None  # what it does after that
        self._deferred = 0  # the path MTU of an ICMP error that came meanwhile

    # -- opening --------------------------------------------------------------------------------

    def bind(self, local: Endpoint) -> None:
        """Raises SocketError: EINVAL when bound, EADDRINUSE, EADDRNOTAVAIL."""
        if self.port:
            raise SocketError(errno.EINVAL)
        self.addr = ip4(local[0])
        self.port = self._tcp.ports.bind(self.addr, local[1], self, parity=BOUND)

    def listen(self, backlog: int = 4096) -> None:
        """Accept connections; the queue holds one more than `backlog` (capped by somaxconn)."""
        if not self.port:
            self.port = self._tcp.ports.bind(self.addr, 0, self, parity=BOUND)
        self.backlog = min(backlog, self.net.sysctl.number("net.core.somaxconn"))
        self._tcp.ports.changed()

    def connect(self, remote: Endpoint) -> None:
        """Send the SYN; `connected` or `error` show the end. Raises SocketError EISCONN, ENETUNREACH, EADDRNOTAVAIL ...

        An ICMP error that comes while the call owns the socket is a soft error (tcp_v4_err). A program that waits with poll
        or reads SO_ERROR learns of it at once and gives up. One that is `blocking` waits for the next SYN and its error.
        """
        net, tcp = self.net, self._tcp
        if self.endpoint is not None or self.backlog is not None:
            raise SocketError(errno.EISCONN)
        dst, dport = ip_output.destination(ip4(remote[0]), self.addr), port_number(remote[1])
        route, source = ip_output.route_socket(net, dst, self.addr, ip_output.flow(net, TCP, self.port, dport))
        if route.kind in TO_MANY:
            raise SocketError(errno.ENETUNREACH)
        if not self.port:
            self.port = tcp.ports.ephemeral(
                source, lambda port: (source, port, dst, dport) not in tcp.connections, parity=CONNECTED
            )
            tcp.ports.bound.setdefault(self.port, []).append((source, self))
        elif not self.addr:
            tcp.ports.rebind(0, source, self.port, self)
        key = (source, self.port, dst, dport)
        if key in tcp.connections:
            raise SocketError(errno.EADDRNOTAVAIL)
        self.addr, self.remote = source, (dst, dport)
        tcp.connections[key] = self
        self.ident = tcp.draw_ident()
        self.endpoint, segments = TcpEndpoint.connect(
            tcp.config(), tcp.mss(route), tcp.initial_sequence(key), net.clock.now,
            tcp.timestamp_offset(source, dst), nodelay=self.nodelay,
        )  # fmt: skip
        self._owned = True
        self.output(segments)
        self._release()
        if not self.blocking and self.endpoint.soft_error is not None:
            self.endpoint.take_soft_error()
            self.output([])

    def accept(self) -> TcpSocket:
        """The next established connection. Raises SocketError EAGAIN, EINVAL when not listening."""
        if self.backlog is None:
            raise SocketError(errno.EINVAL)
        if not self.accepted:
            raise SocketError(errno.EAGAIN)
        return self.accepted.pop(0)

    # -- talking --------------------------------------------------------------------------------

    def _live(self) -> TcpEndpoint:
        if self.endpoint is None:
            raise SocketError(errno.ENOTCONN)
        return self.endpoint

    def send(self, data: bytes) -> int:
        """Write bytes. What the send buffer has no room for the program keeps, and writes when the socket is writable again
        (EAGAIN and EPOLLOUT); it closes after that. Raises SocketError: a pending error, EPIPE, ENOTCONN."""
        if data.__class__ is TEXT:
            raise text_given(data)
        endpoint = self.endpoint
        if endpoint is None or self.pending:
            endpoint = self._sound()
        if endpoint.state not in WRITABLE:
            raise SocketError(errno.EPIPE)
        if self._rest:
            self._rest += data
        elif not self._push(endpoint, data):
            self._rest += data
            self._write(endpoint)
        return len(data)

    def _push(self, endpoint: TcpEndpoint, data: bytes) -> bool:
        """Write what leaves at once, in one segment. False: it does not, and nothing was done."""
        net = self.net
        clock, family = net.clock, net.ipv4
        if net.mtus_set + family.fib.generation != self._steady or family.exceptions:
            self._sync_mss(endpoint)
        plain = endpoint.push(b"" + data, clock.now)
        if plain is None:
            return False
        self._owned = True
        self._emit(plain)
        if clock.backlog:
            clock.drain()
        timers = self._timers
        if timers.compressed is not None:
            self._follow(endpoint)
        else:  # a segment that leaves moves no other deadlines
            if endpoint.xmit_at != timers.transmit:
                timers.move_transmit(endpoint.xmit_at, False)
            if endpoint.delack_at != timers.ack:
                timers.move_ack(endpoint.delack_at, False)
        if self._backlog or self._deferred or clock.backlog or endpoint.backlog_bytes or endpoint.ack_deferred:
            self._release()
        else:
            self._owned = False
        return True

    def _write(self, endpoint: TcpEndpoint) -> None:
        """Write until all is written, or the send buffer is full."""
        while True:
            self._sync_mss(endpoint)
            self._owned = True
            self.output(endpoint.write(self._rest, self.net.clock.now))
            self._rest = self._rest[endpoint.taken :]
            self._release()
            if not self._rest or endpoint.no_space or not endpoint.may_write:
                break

    def _writable(self) -> None:
        """The send buffer has room again (EPOLLOUT)."""
        self._woken = False
        endpoint = self.endpoint
        if endpoint is not None and self._rest and endpoint.may_write:
            self._write(endpoint)
        if not self._rest and self._ending is not None:
            ending, self._ending = self._ending, None
            ending()

    def recv(self, limit: int = 1 << 30) -> bytes:
        """Bytes that came, b"" at the end of the stream. Raises SocketError: a pending error, EAGAIN, ENOTCONN."""
        endpoint = self.endpoint
        if endpoint is None or not endpoint.receive_queue:
            endpoint = self._sound()
            if endpoint.eof or endpoint.state == "CLOSE":
                return b""
            raise SocketError(errno.EAGAIN)
        self._owned = True
        data, segments = endpoint.read(limit, self.net.clock.now)
        if segments or self._rest or self.net.clock.backlog:  # else nothing but what is read has changed
            self.output(segments)
            self._release()
        self._owned = False
        return data

    def close(self) -> None:
        """Close in good order; unread data or a listener's waiting connections are reset."""
        if self.closed:
            return
        if self._rest:
            self._ending = self.close
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
            self._owned = True
            self.output(self.endpoint.close(now))
            self._release()
        elif self.port:
            self._tcp.ports.release(self.port, self)
        self.net.clock.drain()

    def shutdown(self) -> None:
        """Send FIN and keep reading (SHUT_WR)."""
        if self._rest:
            self._ending = self.shutdown
            return
        self.output(self._live().shutdown(self.net.clock.now))
        self.net.clock.drain()

    def abort(self) -> None:
        """Close by RST (SO_LINGER 0)."""
        self.closed = True
        if self.endpoint is not None:
            self.output(self.endpoint.abort(self.net.clock.now))
            self.net.clock.drain()

    @property
    def nodelay(self) -> bool:
        """TCP_NODELAY. Switching it on sends what Nagle held back."""
        return self._nodelay

    @nodelay.setter
    def nodelay(self, on: bool) -> None:
        self._nodelay = on
        if self.endpoint is not None:
            self.output(self.endpoint.set_nodelay(on, self.net.clock.now))
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

    def _sound(self) -> TcpEndpoint:
        """The endpoint. Raises SocketError: ENOTCONN, a pending error."""
        endpoint = self._live()
        if self.pending:
            number, self.pending = self.pending, 0
            raise SocketError(number)
        return endpoint

    # -- the endpoint and its network ---------------------------------------------------------------------

    def icmp_error(self, number: int, seq: int, *, revert: bool, abort: bool) -> None:
        """An ICMP error that quotes the segment `seq` of this connection, as an errno."""
        endpoint = self._live()
        now = self.net.clock.now
        self.output(endpoint.on_icmp_error(number, now, seq=seq, revert=revert, abort=abort, owned=self._owned))

    def expected(self, plain: Plain, frame: Frame) -> bool:
        """A segment without options other than timestamps came in `frame`: take it if the connection expects it next, and no call
        owns the socket. False: `take` it."""
        endpoint = self.endpoint
        if self._owned or endpoint is None or endpoint.state != "ESTABLISHED":
            return False
        net = self.net
        if net.mtus_set + net.ipv4.fib.generation != self._steady or net.ipv4.exceptions:
            self._sync_mss(endpoint)
        if not rcv_established(endpoint, plain, frame.burst, frame.gso_size, net.clock.now):
            return False
        if endpoint.progress:
            endpoint.progress = False
            self.confirm_neighbour = True
        if endpoint.out or self._rest:
            segments, endpoint.out = endpoint.out, []
            self.output(segments)
        else:  # what sends nothing moves no other deadlines
            timers = self._timers
            if endpoint.xmit_at != timers.transmit:
                timers.move_transmit(endpoint.xmit_at, False)
            if endpoint.delack_at != timers.ack:
                timers.move_ack(endpoint.delack_at, False)
        wake = self.on_readable
        if wake is not None and (plain[4] or endpoint.error):
            wake()
        return True

    def take(self, segment: Segment, *, waited: bool = False) -> None:
        """A segment of this connection came; inside a call it waits for the end of that (the socket's backlog), and is taken
        then (`waited`)."""
        endpoint = self.endpoint
        assert endpoint is not None
        if self._owned and not waited:
            if not self._backlog or not coalesced(self._backlog[-1], segment):
                endpoint.wait(segment)
                self._backlog.append(segment)
            return
        before, received = endpoint.state, endpoint.rcv_nxt
        self._sync_mss(endpoint)
        segments = endpoint.on_segment(segment, self.net.clock.now, waited)
        if endpoint.progress:
            endpoint.progress = False
            self.confirm_neighbour = True
        if before == "SYN_RECV" and endpoint.state in ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1"):
            self.confirm_neighbour = True  # tcp_init_metrics
            self._established()
        self.output(segments)
        wake = self.on_readable
        if wake is not None and (endpoint.rcv_nxt != received or endpoint.state != before or endpoint.error):
            wake()

    def _established(self) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.half_open -= 1
            listener.accepted.append(self)
            if listener.on_readable is not None:
                listener.on_readable()

    def output(self, segments: list[Segment]) -> None:
        """Send the endpoint's segments, set its timer, and release its ports when it is closed."""
        endpoint = self.endpoint
        assert endpoint is not None
        if segments:
            if len(segments) > 1:
                self._emit_bursts(segments, self._owned)
            else:
                self._emit_segment(segments[0])
                if self._owned and self.net.clock.backlog:
                    self.net.clock.drain()
        state = endpoint.state
        if endpoint.error and not self.pending and state == "CLOSE" and not self.closed:
            self.pending, self.closed = endpoint.error, True
        self._follow(endpoint)
        if self._rest and not self._owned and not endpoint.no_space and not self._woken:
            self._woken = True
            self.net.clock.wake(self._writable)
        if state == "CLOSE":
            if self._ending is not None:
                self.closed, self._ending = True, None
            self._rest = b""
            self._unhash()

    def _follow(self, endpoint: TcpEndpoint) -> None:
        """Let the timers follow the endpoint's deadlines."""
        timers, xmit_at, delack_at = self._timers, endpoint.xmit_at, endpoint.delack_at
        if xmit_at != timers.transmit:
            timers.move_transmit(xmit_at, endpoint.state == "SYN_RECV")
        if delack_at != timers.ack:
            timers.move_ack(delack_at, endpoint.state == "SYN_RECV")
        if endpoint.linger_at != timers.linger or endpoint.compressed_at != timers.compressed:
            timers.move_rare(endpoint.linger_at, endpoint.compressed_at)

    def _on_deadline(self, which: Deadline) -> None:
        endpoint = self._live()
        before = endpoint.state
        self._sync_mss(endpoint)
        segments = endpoint.on_deadline(self.net.clock.now, which)
        if self.waiting:
            # skb_still_in_host_queue: what has not left the host is not sent again, though the timer backs off
            segments = [segment for segment in segments if not segment.length]
        self.output(segments)
        if endpoint.state != before and self.on_readable is not None:
            self.on_readable()

    def mtu_reduced(self, mtu: int) -> None:
        """tcp_v4_mtu_reduced: what the route allows now counts, not the MTU of the error. Inside a call it waits for its end."""
        if self._owned:
            self._deferred = mtu
            return
        assert self.remote is not None
        dst = self.remote[0]
        update_pmtu(self.net, dst, self.addr, mtu)
        way = ip_output.flow(self.net, TCP, self.port, self.remote[1])
        route, _source, _failed = ip_output.route_output(self.net, dst, self.addr, flow=way)
        if route is not None and not is_uncached(route):
            self._learned, self._steady = bool(route.cached), -1
            self.output(self._live().on_pmtu(self._mtu(route), self.net.clock.now))

    def _release(self) -> None:
        """release_sock: do what had to wait for the end of a call. What that sets off and comes back waits, too."""
        endpoint, clock = self.endpoint, self.net.clock
        assert endpoint is not None
        while self._backlog:  # nothing joins what is taken (__release_sock)
            waiting, self._backlog = self._backlog, []
            for segment in waiting:
                self.take(segment, waited=True)
        self._owned = False
        if (
            endpoint.backlog_bytes or endpoint.ack_deferred or self._rest
        ):  # else nothing has changed since the last output
            self.output(endpoint.release(clock.now))
        if self._deferred:
            mtu, self._deferred = self._deferred, 0
            self.mtu_reduced(mtu)
        if clock.backlog:
            clock.drain()

    def leave_time_wait(self) -> None:
        """Leave TIME_WAIT at once, for a new incarnation of the connection."""
        self._timers.cancel()
        self._unhash()

    def _unhash(self) -> None:
        if self.listener is not None and self.listener.backlog is not None:
            self.listener.half_open -= 1
            self.listener = None
        if self.remote is not None:
            self._tcp.connections.pop((self.addr, self.port, *self.remote), None)
        self._tcp.ports.release(self.port, self)
