"""What a TCP socket sends with: its addresses, its route and that one's MTU, and how segments leave by it, alone or in bursts.

After ip_queue_xmit, tcp_current_mss and sk_setup_caps. Must not know calls of programs, or what comes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from emu.kernel.net import ip_output
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.ip_options import IpOptions
from emu.kernel.net.route import is_uncached
from emu.kernel.transport.seqnum import HALF, MASK
from emu.kernel.transport.tcp import TcpEndpoint
from emu.kernel.transport.tcp_options import Segment, bursts, joined, plain_part
from emu.trail import Born
from emu.wire.frame import TCP, Plain

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

NO_ROUTE = "EHOSTUNREACH"
UNOPENED = frozenset(("SYN_SENT", "SYN_RECV"))  # a SYN counts as sent, wherever it goes
SENT, AGAIN = Born("a TCP socket sends a segment"), Born("a TCP socket sends a segment again")


class Out(Protocol):
    """The way out of a namespace."""

    net: Netns

    def mtu(self, route: Route) -> int: ...

    def can_gso(self, socket: Sender) -> bool: ...

    def transmit(
        self, plain: Plain, segment: Segment, src: int, sport: int, dst: int, dport: int, ident: int, flow: int, born: Born,
        sock: Sender | None = None,
    ) -> str: ...  # fmt: skip

    def transmit_plain(self, plain: Plain, sock: Sender, ident: int, born: Born) -> str: ...


class Sender:
    """The sending part of a socket. `flow` marks what it sends."""

    __slots__ = (
        "_at", "_learned", "_out", "_seen", "_sent_to", "_steady", "addr", "confirm_neighbour", "dont_fragment", "dst", "dst_cookie", "endpoint",
        "flow", "ident", "ip_options", "net", "port", "remote", "waiting",
    )  # fmt: skip

    def __init__(self, out: Out, flow: int) -> None:
        self._out, self.net, self.flow = out, out.net, flow
        self.addr = self.port = 0
        self.remote: tuple[int, int] | None = None
        self.endpoint: TcpEndpoint | None = None
        self.confirm_neighbour = False
        self.dont_fragment = not self.net.sysctl.number("net.ipv4.ip_no_pmtu_disc")  # as the socket was made
        self.ident = 0
        self.ip_options: IpOptions | None = None  # of the SYN that opened it, echoed in each packet
        self.dst: Route | None = (
            None  # the route of its last packet, and the generation of the routes that it is of (sk_dst_cache)
        )
        self.dst_cookie = -1
        self._sent_to: int | None = None  # the sequence number after the last byte that ever left
        self.waiting = 0  # the truesize of its segments that wait for a neighbour, bytes
        self._seen = out.net.mtus_set + out.net.ipv4.fib.generation  # changes of routes and MTUs that it knows of
        self._steady = -1  # as `_seen`, if nothing but a further change may concern the segment size
        self._at = -1  # the IP identification when its route became old, until that is looked up anew
        self._learned = False  # the segment size follows a route exception

    def _sync_mss(self, endpoint: TcpEndpoint) -> None:
        """tcp_current_mss: what others learned of the path, or what expired, counts here, too."""
        net = self.net
        changes = net.mtus_set + net.ipv4.fib.generation
        if changes != self._seen or self._learned or self.ip_options is not None or net.ipv4.exceptions:
            new, self._seen = changes != self._seen, changes
            assert self.remote is not None
            way = ip_output.flow(self.net, TCP, self.port, self.remote[1])
            route, _source, _failed = ip_output.route_output(self.net, self.remote[0], self.addr, flow=way)
            if route is None:
                return
            if route.cached and is_uncached(route):
                if new:  # the next segment looks it up (ip_queue_xmit)
                    self._at = self.ident
                if self._at in (-1, self.ident):
                    return
                self._at = -1
            self._learned = bool(route.cached)
            endpoint.sync_mss(self._mtu(route))
        else:
            self._steady = changes

    def _mtu(self, route: Route) -> int:
        """The route's MTU, less the IP options that each packet has (icsk_ext_hdr_len), bytes."""
        options = self.ip_options
        return self._out.mtu(route) - (0 if options is None else len(options.data))

    def _emit_bursts(self, segments: list[Segment], owned: bool) -> None:
        """Send several segments: a burst as one packet, which a device cuts; in a call (`owned`), burst by burst as far as each
        comes."""
        whole = self._out.can_gso(self)
        for burst in bursts(segments):
            if whole and len(burst) > 1:
                if not self._emit_segment(joined(burst), len(burst)):
                    break
            elif not all(map(self._emit_segment, burst)):
                break
            if owned:
                self.net.clock.drain()

    def _emit_segment(self, segment: Segment, count: int = 1) -> bool:
        """Send a segment. False: it is new, and did not leave the host, so that it waits as if it had not been sent yet
        (tcp_write_xmit, which then sends no more)."""
        assert self.remote is not None
        dst, dport = self.remote
        ident, born, length = 0, SENT, segment.length
        if not segment.stateless:
            ident = self.ident
            self.ident = ident + count & 0xFFFF
        if length:
            end = segment.seq + length & MASK
            if self._sent_to is not None and self._sent_to - end & MASK < HALF:
                born = AGAIN
            else:
                self._sent_to = end
        failed = self._out.transmit(
            plain_part(segment), segment, self.addr, self.port, dst, dport, ident, self.flow, born, self
        )
        if failed:
            if failed == NO_ROUTE and not segment.stateless:
                self.ident = ident
            if born is SENT and length:
                return self._failed(segment.seq)
        return True

    def _emit(self, plain: Plain) -> None:
        """Send a segment with new bytes of a connection that stands."""
        ident = self.ident
        self.ident = ident + 1 & 0xFFFF
        self._sent_to = plain[0] + len(plain[4]) & MASK
        failed = self._out.transmit_plain(plain, self, ident, SENT)
        if failed:
            if failed == NO_ROUTE:
                self.ident = ident
            self._failed(plain[0])

    def _failed(self, seq: int) -> bool:
        """What begins at `seq` did not leave for the first time. Gives whether it counts as sent."""
        endpoint = self.endpoint
        assert endpoint is not None
        if endpoint.state in UNOPENED:
            return True
        self._sent_to = seq
        endpoint.give_back(seq, self.net.clock.now)
        return False
