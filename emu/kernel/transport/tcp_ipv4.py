"""TCP of one namespace over IPv4: which socket gets a segment or an ICMP error, and how a segment becomes a packet (net/ipv4/tcp_ipv4.c).

Must not know what a connection does with a segment.
"""

from __future__ import annotations

from hashlib import blake2s
from struct import Struct
from typing import TYPE_CHECKING

from emu.clock import MS
from emu.kernel.net import ip_options, ip_output
from emu.kernel.net.drop import drop
from emu.kernel.net.fib_rules import NO_FLOW
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.ip_input import delivered_fact
from emu.kernel.net.ip_options import IpOptions
from emu.kernel.net.route import update_from_error
from emu.kernel.transport import syncookies
from emu.kernel.transport.icmp_errors import is_frag_needed, meaning
from emu.kernel.transport.inet import IcmpError
from emu.kernel.transport.ports import Ports
from emu.kernel.transport.tcp import MAX_PACKET, TcpConfig, TcpEndpoint
from emu.kernel.transport.tcp_config import config_of
from emu.kernel.transport.tcp_options import Segment, of_plain, options_bytes, plain_part, reset_for, segment_of
from emu.kernel.transport.tcp_sender import NO_ROUTE, Sender
from emu.kernel.transport.tcp_sock import MSS_DEFAULT
from emu.kernel.transport.tcp_socket import Key, TcpSocket
from emu.trail import Born
from emu.wire import icmp as wire_icmp
from emu.wire import tcp as wire
from emu.wire import templates
from emu.wire.addr import is_loopback
from emu.wire.frame import HOST, IP_DF, TCP, Frame, Plain
from emu.wire.rewrite import leave_checksum, set_addresses_alone, set_options
from emu.wire.tcp import ACK, CWR, ECE, FIN, RST, SYN, plain_of

if TYPE_CHECKING:
    from emu.kernel.net.family import Family
    from emu.kernel.net.netns import Netns

_WORDS = tuple(Struct(f"!{count}I") for count in range(8))  # what is hashed
DSCP_MASK = 0xFC  # the TOS byte without ECN
SYN_ACK = Born("a listener answers without keeping the request (SYN cookie)")
RESET = Born("the kernel resets: no socket takes this segment")


def _asks_ecn(syn: Frame) -> bool:
    """tcp_ecn_create_request: both flags, in a packet that is not ECN-capable itself."""
    return wire.flags_of(syn) & (ECE | CWR) == ECE | CWR and not syn.tos & ~DSCP_MASK


def _segment_of(frame: Frame, plain: Plain | None) -> Segment:
    """The segment in a packet, with what an answer copies of that."""
    segment = segment_of(frame, plain)
    if frame.options is not None or frame.tos & DSCP_MASK:
        segment.cause = frame
    return segment


class Tcp:
    """TCP of one address family in one namespace: connections by (local, port, remote, port), listeners by port."""

    __slots__ = ("_config", "connections", "fact", "net", "ports", "_secret", "template")

    def __init__(self, net: Netns, family: Family) -> None:
        self.net = net
        self.ports = Ports(net, family, "tcp")
        self.connections: dict[Key, TcpSocket] = {}
        self._secret = b""
        self.template = templates.TCP
        self.fact = delivered_fact(net, "a TCP socket")
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

    def draw_ident(self) -> int:
        """Where the IP identification of a new connection begins."""
        if not self._secret:
            self._key()  # the secret is the first draw
        return self.net.random("tcp").randrange(0x10000)

    def _key(self) -> bytes:
        """The secret of the hashes (net_secret_init), drawn when a connection needs it first."""
        if not self._secret:
            self._secret = self.net.random("tcp").randbytes(16)
        return self._secret

    def _hash(self, *words: int) -> int:
        data = _WORDS[len(words)].pack(*words)
        return int.from_bytes(blake2s(data, key=self._secret or self._key(), digest_size=4).digest(), "big")

    def mss(self, route: Route) -> int:
        """What we announce: the route's MTU (before any DNAT) less 40."""
        return min(self.mtu(route), MAX_PACKET) - wire.HEADERS

    def can_gso(self, socket: Sender) -> bool:
        """Does a burst go down the stack as one packet, which the last device cuts? Wherever there is a route (sk_can_gso)."""
        assert socket.remote is not None
        way = ip_output.flow(self.net, TCP, socket.port, socket.remote[1])
        route, _source, _failed = ip_output.route_output(self.net, socket.remote[0], socket.addr, flow=way)
        return route is not None

    def mtu(self, route: Route) -> int:
        device = self.net.ipv4.out_device(route)
        mtu: int = route.mtu or device.mtu
        return mtu

    def transmit(
        self,
        plain: Plain,
        segment: Segment,
        src: int,
        sport: int,
        dst: int,
        dport: int,
        ident: int,
        flow: int,
        born: Born,
        sock: Sender | None = None,
    ) -> str:
        """Stamp a segment and send it. `plain` is its part without options other than timestamps. Gives "", or the errno name of
        what did not let it out: the route (NO_ROUTE) or OUTPUT.

        A reset has the DSCP and the IP options of the packet that it answers (ip_send_unicast_reply)."""
        net, to, cause = self.net, dst, segment.cause
        family = net.ipv4
        options: IpOptions | None = None
        if cause is not None and cause.options is not None:
            options = ip_options.echo(net, cause, cause.options)
            if options is None:
                return ""
        elif sock is not None:
            options = sock.ip_options
        if options is not None:
            to = options.nexthop
        fib, route = family.fib, None
        if sock is not None and sock.dst_cookie == fib.generation and options is None and not family.exceptions:
            route = sock.dst  # __sk_dst_check
        if route is None:
            way = ip_output.flow(net, TCP, sport, dport) if fib.asks_flow else NO_FLOW
            route, source, failed = ip_output.route_output(net, to, src, 0, None, way)
            if route is None or failed:
                return NO_ROUTE
            if sock is not None and src and options is None and not is_loopback(src) and fib.known.get(to) is route:
                # sk_setup_caps: nothing but the routes and rules, which are counted, decided on it
                sock.dst, sock.dst_cookie = route, fib.generation
        # a SYN-ACK is too small to be cut, and what needs no connection is sent by the namespace's socket, which forbids it
        whole = sock is None or segment.stateless or (sock.dont_fragment and not route.mtu_locked)
        frag, trail = IP_DF if whole else 0, [born] if net.tracing else None
        tos = 0 if cause is None else cause.tos & DSCP_MASK
        flags = plain[2]
        if not flags & SYN and not segment.sack:
            frame = wire.build_plain(
                self.template, src, dst, sport, dport, plain, ident, family.default_ttl, tos, flow, trail, frag
            )
        else:
            frame = wire.build(
                self.template, src, dst, sport, dport, seq=segment.seq, ack=segment.ack, flags=flags,
                window=segment.window, options=options_bytes(segment), payload=segment.payload, ident=ident,
                ttl=family.default_ttl, tos=tos, flow=flow, trail=trail, frag=frag,
            )  # fmt: skip
        if options is not None:
            ip_options.insert(net, frame, options, src or source, dst)
            if to != dst:  # the segment's checksum is for the last address of the source route
                set_options(frame, frame.option_bytes, to, summed=True)
        if not src or not dst:
            self._unaddressed(frame, source)
        net.bear(frame, segment.answers)
        frame.route, frame.sock, frame.burst = route, sock, segment.burst
        if segment.gso_size or (route.device.offload and sock is not None and (not segment.stateless or flags & SYN)):
            leave_checksum(frame)
            frame.gso_size = segment.gso_size
        return ip_output.local_out(net, frame)

    def transmit_plain(self, plain: Plain, sock: Sender, ident: int, born: Born) -> str:
        """`transmit` of a connection's segment that is no more than `plain`: by the route of the socket's last packet, if that still
        holds. A socket with IP options has none."""
        net, route = self.net, sock.dst
        assert sock.remote is not None
        dst, dport = sock.remote
        family = net.ipv4
        if route is None or sock.dst_cookie != family.fib.generation or family.exceptions:
            return self.transmit(plain, of_plain(plain), sock.addr, sock.port, dst, dport, ident, sock.flow, born, sock)
        frag = IP_DF if sock.dont_fragment and not route.mtu_locked else 0
        frame = wire.build_plain(
            self.template, sock.addr, dst, sock.port, dport, plain, ident, family.default_ttl, 0, sock.flow,
            [born] if net.tracing else None, frag,
        )  # fmt: skip
        net.bear(frame)
        frame.route, frame.sock = route, sock
        if route.device.offload:
            leave_checksum(frame)
        return ip_output.local_out(net, frame)

    def _unaddressed(self, frame: Frame, source: int) -> None:
        """What answers a segment to or from 0.0.0.0 is summed over that. A reset gets its addresses later, by its route, and is
        dropped where it arrives; a SYN-ACK keeps them."""
        if wire.flags_of(frame) & RST:
            set_addresses_alone(frame, frame.src or source, frame.dst or frame.src or source)

    def receive(self, frame: Frame, net: Netns) -> None:
        """tcp_v4_rcv. What came by a broadcast or multicast MAC is discarded in silence."""
        if frame.pkt_type != HOST:
            drop(net, frame, "NOT_SPECIFIED")
            return
        wrong = "" if frame.valid else wire.problem(frame)
        if wrong:
            drop(net, frame, wrong)
            return
        kind = "" if frame.indev is None else frame.indev.kind
        plain = frame.plain or plain_of(frame)
        if plain is not None and not plain[2] & SYN and kind not in ("loopback", "vrf"):
            socket = self.connections.get((frame.dst, frame.dport, frame.src, frame.sport))
            if socket is not None and socket.listener is None:
                net.delivered += 1  # `_deliver`, without its call
                for watch in net.delivery_listeners:
                    watch(frame, self.fact)
                if not socket.expected(plain, frame):
                    socket.take(_segment_of(frame, plain))
                return
        segment = _segment_of(frame, plain)
        if kind == "loopback":
            segment.gso_size = segment.gso_size or len(segment.payload)  # lo takes the sender's pages as they are
        elif kind == "vrf":  # inet_bound_dev_eq: sockets are bound to no device
            self._refuse(frame, segment)
            drop(net, frame, "NO_SOCKET")
            return
        socket = self.connections.get((frame.dst, frame.dport, frame.src, frame.sport))
        isn = None
        if socket is not None and socket.endpoint is not None and segment.flags & (SYN | ACK | RST) == SYN:
            # a new incarnation: tcp_timewait_state_process may let a listener take over
            isn = socket.endpoint.reusable_isn(segment)
            if isn is not None:
                socket.leave_time_wait()
                socket = None
        elif socket is not None and socket.endpoint is not None and socket.endpoint.misses(segment):
            socket = None
        if socket is None:
            listener = self.ports.lookup(frame.dst, frame.dport)
            if listener is None or listener.backlog is None:
                self._refuse(frame, segment)
                drop(net, frame, "NO_SOCKET")
                return
            if segment.flags & (SYN | ACK | RST | FIN) != SYN:
                if segment.flags & ACK and not segment.flags & RST:
                    if self._answers_cookie(frame, segment, listener):
                        return
                    self._refuse(frame, segment)
                drop(net, frame, "TCP_RESET" if segment.flags & (ACK | RST) == RST else "TCP_FLAGS")
                return
            cookie = isn is None and self._wants_cookie(listener)
            if len(listener.accepted) > listener.backlog or (not cookie and isn is None and self._is_full(listener)):
                drop(net, frame, "TCP_LISTEN_OVERFLOW")
                return
            self._deliver(frame)
            self._open(frame, segment, listener, isn, cookie=cookie)
            return
        self._deliver(frame)
        socket.take(segment)

    def lookup(self, dst: int, dport: int, src: int, sport: int) -> TcpSocket | None:
        """__inet_lookup: the connection, else who listens at the address or at all of them."""
        found = self.connections.get((dst, dport, src, sport))
        if found is None:
            found = self.ports.lookup(dst, dport)
        return found if found is None or found.remote is not None or found.backlog is not None else None

    def _deliver(self, frame: Frame) -> None:
        net = self.net
        net.delivered += 1
        for listener in net.delivery_listeners:
            listener(frame, self.fact)

    def _wants_cookie(self, listener: TcpSocket) -> bool:
        """tcp_syn_flood_action: is a SYN answered without being kept?"""
        cookies = self.net.sysctl.number("net.ipv4.tcp_syncookies")
        return cookies == 2 or (cookies == 1 and listener.half_open > (listener.backlog or 0))

    def _is_full(self, listener: TcpSocket) -> bool:
        """tcp_conn_request: may no further request be kept? Without cookies a quarter of tcp_max_syn_backlog is for hosts that
        are known, and none is."""
        if listener.half_open > (listener.backlog or 0):
            return True
        if self.net.sysctl.number("net.ipv4.tcp_syncookies"):
            return False
        most = self.net.sysctl.number("net.ipv4.tcp_max_syn_backlog")
        return most - listener.half_open < most >> 2

    def _open(self, frame: Frame, syn: Segment, listener: TcpSocket, isn: int | None, *, cookie: bool) -> None:
        """A SYN for a listener: a connection in SYN_RECV, of the SYN's flow. With `cookie` only its answer is sent."""
        way = ip_output.flow(self.net, TCP, frame.dport, frame.sport)
        route, _source, _failed = ip_output.route_output(self.net, frame.src, frame.dst, flow=way)
        if route is None:
            return
        child = TcpSocket(self, frame.flow)
        child.addr, child.port, child.remote, child.listener = (
            frame.dst,
            frame.dport,
            (frame.src, frame.sport),
            listener,
        )
        child.ident = self.draw_ident()
        if frame.options is not None:
            child.ip_options = ip_options.echo(self.net, frame, frame.options)
        child.nodelay, child.dont_fragment = listener.nodelay, listener.dont_fragment
        key = frame.dst, frame.dport, frame.src, frame.sport
        now, offset = self.net.clock.now, self.timestamp_offset(frame.dst, frame.src)
        if cookie:
            if syn.ts is None:
                syn.wscale, syn.sack_ok = None, False  # there is no timestamp to keep them in
            isn, _ = syncookies.sequence(self._hash, key, syn.seq, min(syn.mss or MSS_DEFAULT, self.mss(route)), now)
            listener.overflowed_ns = now
        child.endpoint, segments = TcpEndpoint.accept(
            self.config(), self.mss(route), self.initial_sequence(key) if isn is None else isn, syn, now,
            ts_offset=offset, nodelay=listener.nodelay, ecn=_asks_ecn(frame) and (not cookie or syn.ts is not None),
        )  # fmt: skip
        if cookie:
            (answer,) = segments
            if answer.ts is not None:
                kept = syncookies.stamp(now // MS, syn.wscale, answer.sack_ok)
                answer.ts = (kept + offset & 0xFFFFFFFF, answer.ts[1])
            self.transmit(plain_part(answer), answer, *key, 0, frame.flow, SYN_ACK, child)
            return
        listener.half_open += 1
        self.connections[child.addr, child.port, frame.src, frame.sport] = child
        child.output(segments)

    def _answers_cookie(self, frame: Frame, segment: Segment, listener: TcpSocket) -> bool:
        """cookie_v4_check: does the segment acknowledge a cookie of this listener? Then its connection is made, and takes it."""
        now, config = self.net.clock.now, self.config()
        since = listener.overflowed_ns
        if not self.net.sysctl.number("net.ipv4.tcp_syncookies") or since is None:
            return False
        key, first = (frame.dst, frame.dport, frame.src, frame.sport), segment.seq - 1 & 0xFFFFFFFF
        iss = segment.ack - 1 & 0xFFFFFFFF
        mss = syncookies.segment_size(self._hash, key, first, iss, now)
        if not mss or now > since + syncookies.MAX_AGE * syncookies.PERIOD_NS:
            return False
        offset = self.timestamp_offset(frame.dst, frame.src)
        kept = syncookies.Kept(None, False)
        if segment.ts is not None:
            kept = syncookies.options(segment.ts[1] - offset)
            if not config.timestamps or (kept.sack_ok and not config.sack):
                return False
            if kept.wscale is not None and not config.window_scaling:
                return False
        way = ip_output.flow(self.net, TCP, frame.dport, frame.sport)
        route, _source, _failed = ip_output.route_output(self.net, frame.src, frame.dst, flow=way)
        if route is None:
            return False
        if len(listener.accepted) > (listener.backlog or 0):
            drop(self.net, frame, "TCP_LISTEN_OVERFLOW")
            return True
        ts = None if segment.ts is None else (segment.ts[0], 0)
        syn = Segment(first, 0, SYN, segment.window, mss=mss, wscale=kept.wscale, sack_ok=kept.sack_ok, ts=ts)
        child = TcpSocket(self, frame.flow)
        child.addr, child.port, child.remote, child.listener = (
            frame.dst,
            frame.dport,
            (frame.src, frame.sport),
            listener,
        )
        child.ident = self.draw_ident()
        child.nodelay, child.dont_fragment = listener.nodelay, listener.dont_fragment
        child.endpoint = TcpEndpoint.of_cookie(config, self.mss(route), iss, syn, now, offset, nodelay=listener.nodelay)
        listener.half_open += 1
        self.connections[key] = child
        self._deliver(frame)
        child.take(segment)
        return True

    def _refuse(self, frame: Frame, segment: Segment) -> None:
        """tcp_v4_send_reset: answer any segment but a reset."""
        reset = reset_for(segment)
        if reset is not None:
            self.transmit(
                plain_part(reset), reset, frame.dst, frame.dport, frame.src, frame.sport, 0, frame.flow, RESET
            )

    def error(self, quoted: Frame, net: Netns, kind: int, code: int, info: int) -> None:
        """tcp_v4_err: an ICMP error about one of our segments."""
        socket = self.connections.get((quoted.src, quoted.sport, quoted.dst, quoted.dport))
        if socket is None or socket.endpoint is None:
            return
        if kind != wire_icmp.REDIRECT:
            socket.errors.append(IcmpError(kind, code, info, quoted.dst, quoted.dport))
        endpoint, seq = socket.endpoint, wire.sequence(quoted)
        if endpoint.mini and (kind == wire_icmp.REDIRECT or is_frag_needed(kind, code)):
            pass  # a request or a closed connection has no route that could change (tcp_req_err)
        elif is_frag_needed(kind, code):
            if endpoint.sent(seq) and net.sysctl.number("net.ipv4.ip_no_pmtu_disc") <= 1:
                socket.mtu_reduced(info & 0xFFFF)
        elif kind == wire_icmp.REDIRECT:
            if endpoint.sent(seq):
                update_from_error(net, quoted, kind, code, info)
        else:
            found = meaning(kind, code)
            if found is None:
                return
            unreachable = kind == wire_icmp.DEST_UNREACH and code in (wire_icmp.NET_UNREACH, wire_icmp.HOST_UNREACH)
            socket.icmp_error(found[0], seq, revert=unreachable, abort=unreachable or kind != wire_icmp.DEST_UNREACH)
        if socket.on_readable is not None:
            socket.on_readable()
