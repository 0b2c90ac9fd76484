"""A flow: one client asks one target over real sockets, and what became of it.

Sockets are driven in virtual time; the outcome is read from what the sockets and the namespaces said,
never guessed from the rules. Must not know scenarios or files.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from emu.capture.capture import Capture
from emu.clock import MS, SECOND, Clock
from emu.errors import SocketError
from emu.kernel.net.icmp import ERROR_WORDS
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.conn import Conn
from emu.kernel.transport.ping import PingSocket
from emu.kernel.transport.tcp_socket import TcpSocket
from emu.kernel.transport.udp import IcmpError
from emu.kube.dns.resolver import EAI_AGAIN, Lookup
from emu.kube.flow.ends import Target
from emu.wire.addr import ip4_text
from emu.wire.frame import ICMP, TCP, UDP, Frame

WORDS = ("delivered", "refused", "rejected", "dropped", "timeout", "error", "undecided")
SETTLE_NS = 2 * MS
CODE_NAMES = {
    (3, 0): "net-unreachable", (3, 1): "host-unreachable", (3, 2): "proto-unreachable", (3, 3): "port-unreachable",
    (3, 4): "frag-needed", (3, 9): "net-prohibited", (3, 10): "host-prohibited", (3, 13): "admin-prohibited",
    (11, 0): "ttl-exceeded", (11, 1): "reassembly-timeout", (12, 0): "parameter-problem",
}  # fmt: skip


class Testbed(Protocol):
    """What flows run on: a clock, the namespaces by display name, and the capture of their interfaces, if there is one."""

    @property
    def clock(self) -> Clock: ...
    @property
    def namespaces(self) -> Mapping[str, Netns]: ...
    @property
    def capture(self) -> Capture | None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended: one of `WORDS`, and the ICMP code, drop reason or errno name; where, and by what."""

    word: str
    detail: str = ""
    place: str = ""
    by: str = ""

    def __str__(self) -> str:
        text = f"{self.word} ({self.detail})" if self.detail else self.word
        return f"{text} at {self.place}" if self.place else text


@dataclass(frozen=True, slots=True)
class Loss:
    """A frame of the flow that was dropped."""

    reason: str
    place: str
    by: Any


@dataclass(slots=True, eq=False)
class Flow:
    """One flow and its result. `number` is what its frames carry; `nat` reads "before -> after" for each half.
    `socket` is the client's, where the connection was left open (see `more`).
    """

    testbed: Testbed = field(repr=False)
    number: int
    kind: str
    name: str
    source: str
    target: Target
    client: Netns = field(repr=False)
    outcome: Outcome = Outcome("timeout")
    received: bytes = b""
    rtt_ns: list[int] = field(default_factory=list)
    at: str = ""
    dnat: str = ""
    snat: str = ""
    started_ns: int = 0
    ended_ns: int = 0
    losses: list[Loss] = field(default_factory=list)
    arrivals: list[tuple[str, int]] = field(default_factory=list)
    socket: TcpSocket | None = field(default=None, repr=False)
    resolved: Lookup | None = None  # what came of the target's name, where it has one
    look_up_frames: int = 0  # so many of its first frames are the look-up's

    @property
    def frames(self) -> list[Any]:
        """Every captured frame that the flow caused, in time order (`capture.Captured`)."""
        return [] if self.testbed.capture is None else self.testbed.capture.frames(flow=self.number)

    @property
    def packets(self) -> list[Any]:
        """The flow as Scapy packets, as tcpdump on the client's own interface would have them."""
        return [frame.packet() for frame in self.frames if frame.interface.startswith(f"{self.source}/")]

    @property
    def nat(self) -> str:
        return ", ".join(part for part in (self.dnat, self.snat) if part)

    @property
    def delivered(self) -> bool:
        return self.outcome.word == "delivered"

    def arrived(self, frame: Frame, net: Netns) -> None:
        """A packet of the flow reached a socket of `net`."""
        self.arrivals.append((net.name, frame.dport))
        if not self.at:
            self.at = net.name

    def looked_up(self, found: Lookup) -> None:
        """The target's name was looked up. What was lost or arrived on that way is forgotten, unless it failed."""
        self.resolved, self.look_up_frames = found, len(self.frames)
        if found.error:
            loss = self.losses[-1] if self.losses and found.eai == EAI_AGAIN else None
            by = _by(loss) or f"{found.eai}: {found.name}"
            self.outcome = Outcome("error", found.error, loss.place if loss else "", by)
        else:
            self.outcome = Outcome("delivered")
            self.losses.clear()
            self.arrivals.clear()
        self.at = ""

    def look_up_nat(self, proto: int, src: int, dst: int, sport: int, dport: int) -> None:
        """Find what NAT made of the client's first packet: its connection in any namespace on the way."""
        wanted = (proto, src, dst, sport, dport)
        for net in self.testbed.namespaces.values():
            conn: Conn | None = net.conntrack.find(wanted) if net.conntrack is not None else None
            if conn is None or conn.orig != wanted:
                continue
            _proto, back_src, back_dst, back_sport, back_dport = conn.reply
            if not self.dnat and (back_src, back_sport if proto != ICMP else dport) != (dst, dport):
                self.dnat = f"{_end(dst, dport)} -> {_end(back_src, back_sport)}"
                wanted = (proto, src, back_src, sport, back_sport)
            if not self.snat and (back_dst, back_dport) != (src, sport) and proto != ICMP:
                self.snat = f"{_end(src, sport)} -> {_end(back_dst, back_dport)}"
            elif not self.snat and proto == ICMP and back_dst != src:
                self.snat = f"{ip4_text(src)} -> {ip4_text(back_dst)}"


def _end(addr: int, port: int) -> str:
    return f"{ip4_text(addr)}:{port}"


def _error(failure: SocketError) -> Outcome:
    return Outcome("error", failure.name)


def _rejection(flow: Flow, errors: list[IcmpError]) -> Outcome | None:
    if not errors:
        return None
    last = errors[-1]
    detail = CODE_NAMES.get((last.kind, last.code), ERROR_WORDS.get((last.kind, last.code), f"{last.kind}/{last.code}"))
    loss = flow.losses[0] if flow.losses else None
    return Outcome("rejected", detail, loss.place if loss else "", _by(loss))


def _by(loss: Loss | None) -> str:
    if loss is None or loss.by is None:
        return ""
    text = getattr(loss.by, "text", None)
    return str(text()) if callable(text) else str(loss.by)


def _silence(flow: Flow) -> Outcome:
    """No answer: a drop that somebody saw, or none. A rule that is not modelled leaves it open."""
    unknown = next((loss for loss in flow.losses if loss.reason == "UNDECIDED"), None)
    if unknown is not None:
        return Outcome("undecided", "", unknown.place, _by(unknown))
    if flow.losses:
        loss = flow.losses[-1]
        return Outcome("dropped", loss.reason, loss.place, _by(loss))
    return Outcome("timeout")


def _run(flow: Flow, timeout_ns: int, done: Callable[[], bool]) -> bool:
    clock = flow.testbed.clock
    clock.run(clock.now + timeout_ns, done)
    return done()


def tcp(flow: Flow, send: bytes, *, port: int, timeout_ns: int, close: bool) -> None:
    """Connect, send, take the whole answer (as much as an echo gives, or to the end), close."""
    target = flow.target
    sock = flow.client.sockets.tcp(flow.number)
    try:
        if port:
            sock.bind(("0.0.0.0", port))
        sock.connect((target.addr, target.port))
    except SocketError as failure:
        flow.outcome = _error(failure)
        return
    _run(flow, timeout_ns, lambda: sock.connected or sock.state == "CLOSE")
    flow.look_up_nat(TCP, sock.addr, target.addr, sock.port, target.port)
    if not sock.connected:
        flow.outcome = _tcp_failure(flow, sock)
        if sock.state != "CLOSE":
            sock.abort()
        return
    _say(flow, sock, send, timeout_ns=timeout_ns, close=close)


def more(flow: Flow, before: Flow, send: bytes, *, timeout_ns: int, close: bool) -> None:
    """Go on over the connection that `before` left open: both of its ends belong to `flow` from now on."""
    sock, before.socket = before.socket, None
    assert sock is not None
    for net in flow.testbed.namespaces.values():
        for each in net.sockets.tcp_table.connections.values():
            if each.flow == before.number:
                each.flow = flow.number
    sock.flow = flow.number
    flow.look_up_nat(TCP, sock.addr, flow.target.addr, sock.port, flow.target.port)
    if sock.state in ("CLOSE", "CLOSE_WAIT"):  # the peer has ended it: what one sends now brings an error, or nothing
        if sock.connected and send:
            sock.send(send)
            _run(flow, timeout_ns, lambda: sock.state == "CLOSE")
        flow.outcome = _tcp_failure(flow, sock)
        return
    _say(flow, sock, send, timeout_ns=timeout_ns, close=close)


def _say(flow: Flow, sock: TcpSocket, send: bytes, *, timeout_ns: int, close: bool) -> None:
    """Over a connection that is there: send, hear the answer, close it or leave it open."""
    clock = flow.testbed.clock
    flow.outcome = Outcome("delivered")
    if send:
        clock.run_until(clock.now + SETTLE_NS)
        _converse(flow, sock, send, timeout_ns)
    if close:
        clock.run_until(clock.now + SETTLE_NS)
        sock.close()
        _run(flow, timeout_ns, lambda: sock.state in ("CLOSE", "TIME_WAIT"))
    else:
        flow.socket = sock
    clock.run_until(clock.now + SETTLE_NS)


def _converse(flow: Flow, sock: TcpSocket, send: bytes, timeout_ns: int) -> None:
    try:
        sock.send(send)
    except SocketError as failure:
        flow.outcome = _error(failure)
        return
    answer = bytearray()
    clock = flow.testbed.clock
    end_ns = clock.now + timeout_ns

    def ready() -> bool:
        endpoint = sock.endpoint
        return endpoint is None or bool(endpoint.readable) or endpoint.eof or endpoint.state == "CLOSE"

    while clock.now < end_ns and len(answer) < len(send):
        if not _run(flow, end_ns - clock.now, ready):
            break
        try:
            data = sock.recv()
        except SocketError:
            break
        if not data:
            break
        answer += data
    flow.received = bytes(answer)
    if sock.state == "CLOSE" and sock.error:
        flow.outcome = _tcp_failure(flow, sock)
    elif not answer and sock.endpoint is not None and not sock.endpoint.eof:
        flow.outcome = _silence(flow)


def _tcp_failure(flow: Flow, sock: TcpSocket) -> Outcome:
    rejected = _rejection(flow, sock.errors)
    if rejected is not None:
        return rejected
    if sock.error == errno.ECONNREFUSED:
        flow.at = _where_refused(flow) or flow.at  # the RST arrived too, at the client
        return Outcome("refused", "RST", flow.at)
    if sock.error == errno.ECONNRESET:
        return Outcome("refused", "RST", flow.at)
    return _silence(flow)


def _where_refused(flow: Flow) -> str:
    return next((loss.place.rpartition("/")[0] for loss in flow.losses if loss.reason == "NO_SOCKET"), "")


def udp(flow: Flow, send: bytes, *, port: int, timeout_ns: int, connected: bool, reply: bool) -> None:
    """One datagram, and its answer if one is expected."""
    target = flow.target
    sock = flow.client.sockets.udp(flow.number)
    try:
        if port:
            sock.bind(("0.0.0.0", port))
        if connected:
            sock.connect((target.addr, target.port))
            sock.send(send)
        else:
            sock.sendto(send, (target.addr, target.port))
    except SocketError as failure:
        local = _rejection(flow, sock.errors)
        flow.outcome = local if local is not None and failure.errno == errno.EPERM else _error(failure)
        sock.close()
        return
    _run(flow, timeout_ns if reply else SETTLE_NS, lambda: bool(sock.inbox or sock.errors))
    src = sock.addr or next((a.addr for a in flow.client.ipv4.addresses if a.device.name != "lo"), 0)
    flow.look_up_nat(UDP, src, target.addr, sock.port, target.port)
    if sock.inbox:
        flow.received, _sender = sock.recvfrom()
        flow.outcome = Outcome("delivered")
    else:
        rejected = _rejection(flow, sock.errors)
        if rejected is not None:
            flow.outcome = rejected
        elif flow.arrivals and not reply:
            flow.outcome = Outcome("delivered")
        else:
            flow.outcome = _silence(flow)
    sock.close()
    clock = flow.testbed.clock
    clock.run_until(clock.now + SETTLE_NS)


def ping(flow: Flow, *, count: int, interval_ns: int, size: int, timeout_ns: int, ttl: int) -> None:
    """Echo requests, one every `interval_ns`; delivered if any came back."""
    clock, target = flow.testbed.clock, flow.target
    sock = flow.client.sockets.ping(flow.number)
    sock.ttl = ttl
    data = (bytes(16) + bytes(index & 255 for index in range(16, size)))[:size]
    for seq in range(1, count + 1):
        started_ns = clock.now
        try:
            sock.send(target.addr, seq, data)
        except SocketError as failure:
            flow.outcome = _error(failure)
            sock.close()
            return
        _run(flow, timeout_ns, partial(_answered, sock, seq))
        if seq < count:
            clock.run_until(started_ns + interval_ns)
    flow.rtt_ns = [reply.rtt_ns for reply in sock.replies]
    source = next((a.addr for a in flow.client.ipv4.addresses if a.device.name != "lo"), 0)
    flow.look_up_nat(ICMP, source, target.addr, sock.ident, 8 << 8)
    if sock.replies:
        flow.outcome = Outcome("delivered")
    else:
        flow.outcome = _rejection(flow, sock.errors) or _silence(flow)
    sock.close()
    clock.run_until(clock.now + SETTLE_NS)


def _answered(sock: PingSocket, count: int) -> bool:
    return len(sock.replies) + len(sock.errors) >= count


def packet(flow: Flow, what: Any, device: str | None, timeout_ns: int) -> None:
    """A user's own Scapy packet, sent as it is; delivered if it reached a socket or protocol anywhere."""
    try:
        flow.client.sockets.send_packet(what, flow.number, device)
    except SocketError as failure:
        flow.outcome = _error(failure)
        return
    _run(flow, timeout_ns, lambda: bool(flow.arrivals or flow.losses))
    clock = flow.testbed.clock
    clock.run_until(clock.now + SETTLE_NS)
    flow.outcome = Outcome("delivered") if flow.arrivals else _silence(flow)


DEFAULT_TIMEOUT_NS = 10 * SECOND
