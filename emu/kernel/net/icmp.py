"""ICMP: errors sent and received, echo requests answered (net/ipv4/icmp.c, RFC 792, RFC 1122 section 3.2.2, RFC 1812 section 4.3).

Must not know who caused an error beyond the packet itself, nor sockets: errors for local flows go to
`net.ipv4.icmp_errors[proto]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu import craft
from emu.clock import MS
from emu.kernel.net import ip_output
from emu.kernel.net.drop import drop
from emu.kernel.net.fib import Route
from emu.kernel.netfilter.conn import attach
from emu.trail import Born, Delivered
from emu.wire import icmp as wire
from emu.wire import quote
from emu.wire.addr import is_multicast
from emu.wire.frame import BROADCAST, ICMP, IP_OFFSET, LOOPBACK, MULTICAST, Frame

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

TOS_INTERNETCONTROL = 0xC0
MAX_PACKET = 576  # RFC 1812 4.3.2.3: the longest error
ECHO_ANSWER = Born("the answer to an echo request")
_BORN = {key: Born(f"ICMP error: {words}") for key, words in wire.ERROR_WORDS.items()}
_OTHER = Born("ICMP error")


def send(net: Netns, frame: Frame, kind: int, code: int, info: int = 0) -> None:
    """icmp_send: an error about a packet; the caller still drops that packet. No error is sent about broadcasts, later
    fragments and other ICMP errors, or above the rate limit."""
    if frame.proto < 0 or frame.frag & IP_OFFSET:
        return
    if frame.pkt_type in (BROADCAST, MULTICAST, LOOPBACK) or frame.dmac[0] & 1:
        return
    source, destination = frame.dst, frame.src
    cause: Route | None = frame.route
    if net.ipv4.addr_type(source) in ("BROADCAST", "MULTICAST") or destination == 0 or is_multicast(destination):
        return
    if frame.proto == ICMP and (frame.dport >> 8) not in (wire.ECHO, wire.ECHO_REPLY, 13, 14, 15, 16, 17, 18):
        return
    # the packet's destination, if it is a local address; else the source address of the route back
    if cause is not None and cause.kind == "local" and net.ipv4.is_local(source):
        saddr = source
    else:
        saddr = 0
    route = net.ipv4.lookup_output(destination, saddr)
    if route is None or route.kind not in ("unicast", "local"):
        return
    if not _allowed(net, destination, kind, code, route):
        return
    if not saddr:
        saddr = ip_output.source_address(net, route, destination)
    error = wire.build(
        craft.template("icmp_error"), saddr, destination, kind, code, info, quote.cut(frame, MAX_PACKET - wire.HEADERS),
        ident=net.ipv4.idents.next(destination, saddr, ICMP), frag=0, ttl=net.ipv4.default_ttl, tos=TOS_INTERNETCONTROL,
        flow=frame.flow, trail=[_BORN.get((kind, code), _OTHER)] if net.tracing else None,
    )  # fmt: skip
    net.born += 1
    error.route = route
    if frame.ct is not None:
        attach(error, frame)
    ip_output.local_out(net, error)


def _allowed(net: Netns, destination: int, kind: int, code: int, route: Route) -> bool:
    """icmpv4_xrlim_allow: a token bucket for each destination, for the kinds that the rate mask names."""
    if kind == wire.DEST_UNREACH and code == wire.FRAG_NEEDED:
        return True
    if route.kind == "local" or not 1 << kind & net.sysctl.number("net.ipv4.icmp_ratemask"):
        return True
    interval_ns = net.sysctl.number("net.ipv4.icmp_ratelimit") * MS
    if not interval_ns:
        return True
    return net.ipv4.peers[destination].allows(net.clock.now, interval_ns)


def receive(frame: Frame, net: Netns) -> None:
    """icmp_rcv: a packet for this namespace."""
    if not frame.valid and not wire.checksum_ok(frame):
        drop(net, frame, "ICMP_CSUM")
        return
    kind = frame.dport >> 8
    if kind == wire.ECHO:
        _echo(frame, net)
    elif kind in wire.ERRORS:
        _error(frame, net)
    elif kind == wire.ECHO_REPLY:
        handler = net.ipv4.icmp_errors.get(ICMP)
        net.delivered += 1
        if handler is not None:
            handler(frame, net, kind, 0, 0)
    else:
        drop(net, frame, "UNHANDLED_PROTO")


def _echo(frame: Frame, net: Netns) -> None:
    """icmp_echo and icmp_reply: same payload, id and sequence; the request's TOS; a new IP id and no DF."""
    number = net.sysctl.number
    if number("net.ipv4.icmp_echo_ignore_all"):
        drop(net, frame, "ICMP_ECHO_IGNORED")
        return
    to_all = net.ipv4.addr_type(frame.dst) in ("BROADCAST", "MULTICAST")
    if to_all and number("net.ipv4.icmp_echo_ignore_broadcasts"):
        drop(net, frame, "ICMP_ECHO_IGNORED")
        return
    net.delivered += 1
    for listener in net.delivery_listeners:
        listener(frame, Delivered(net.name, "ICMP echo"))
    source = 0 if to_all else frame.dst
    route = net.ipv4.lookup_output(frame.src, source)
    if route is None or route.kind not in ("unicast", "local"):
        return
    source = source or ip_output.source_address(net, route, frame.src)
    reply = wire.build(
        craft.template("echo_reply"), source, frame.src, wire.ECHO_REPLY, 0,
        wire.second_word(frame), wire.body(frame),
        ident=net.ipv4.idents.next(frame.src, source, ICMP), frag=0, ttl=net.ipv4.default_ttl, tos=frame.tos,
        flow=frame.flow, trail=[ECHO_ANSWER] if net.tracing else None,
    )  # fmt: skip
    net.born += 1
    reply.route = route
    ip_output.local_out(net, reply)


def _error(frame: Frame, net: Netns) -> None:
    """icmp_unreach and its like: pass the error to the protocol of the quoted packet, unless the quote is too short to name a flow."""
    net.delivered += 1
    quoted = quote.packet_of(frame)
    if quoted is None:
        return
    quoted.cause = frame
    handler = net.ipv4.icmp_errors.get(quoted.proto)
    if handler is not None:
        handler(quoted, net, frame.dport >> 8, frame.dport & 255, wire.second_word(frame))
