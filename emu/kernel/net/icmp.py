"""ICMP: errors sent and received, echo and timestamp requests answered (net/ipv4/icmp.c, RFC 792, RFC 1122 section 3.2.2, RFC 1812 section 4.3).

Must not know who caused an error beyond the packet itself, nor sockets: errors for local flows go to
`net.ipv4.icmp_errors[proto]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.clock import MS, TICK_NS
from emu.kernel.link.device import Device
from emu.kernel.net import ip_options, ip_output
from emu.kernel.net.drop import drop
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.multicast import TO_MANY
from emu.kernel.netfilter.conn import attach
from emu.trail import Born, Delivered
from emu.wire import icmp as wire
from emu.wire import quote, templates
from emu.wire.frame import BROADCAST, ETH_HLEN, ICMP, ICMP_QUERY, IP_HLEN, IP_OFFSET, LOOPBACK, MULTICAST, Frame

if TYPE_CHECKING:
    from emu.kernel.net.netns import Netns

PREC_INTERNETCONTROL, TOS_MASK = 0xC0, 0x1E  # an error's precedence, and what it keeps of the packet's TOS
MAX_PACKET = 576  # RFC 1812 4.3.2.3: the longest error
ECHO_ANSWER = Born("the answer to an echo request")
TIMESTAMP_ANSWER = Born("the answer to a timestamp request")
DISCARDED = "ICMP, which discards it"
_ANSWERS = (wire.ECHO, wire.TIMESTAMP)
_TO_ALL = (*_ANSWERS, wire.ADDRESS, wire.ADDRESS_REPLY)  # what may be sent to a broadcast address
_NO_TYPE = (-1, 0)
_BORN = {key: Born(f"ICMP error: {words}") for key, words in wire.ERROR_WORDS.items()}
_OTHER = Born("ICMP error")


def send(net: Netns, frame: Frame, kind: int, code: int, info: int = 0) -> None:
    """icmp_send: an error about a packet; the caller still drops that packet. No error is sent about broadcasts, later
    fragments and other ICMP errors, or above the rate limit. It has the packet's IP options."""
    if frame.proto < 0 or frame.frag & IP_OFFSET:
        return
    if frame.pkt_type in (BROADCAST, MULTICAST, LOOPBACK) or frame.dmac[0] & 1:
        return
    source, destination = frame.dst, frame.src
    cause: Route | None = frame.route
    to_many = net.ipv4.addr_type(source) in ("BROADCAST", "MULTICAST") if cause is None else cause.kind in TO_MANY
    if to_many or destination == 0:
        return
    if frame.proto == ICMP and (wire.type_code(frame) or _NO_TYPE)[0] not in ICMP_QUERY:
        return
    options = None if frame.options is None else ip_options.echo(net, frame, frame.options)
    if options is None and frame.options is not None:
        return
    if options is not None:
        destination = options.nexthop
    # the packet's destination, if it was for this host; else the source address of the route back
    saddr = source if cause is not None and cause.kind == "local" else 0
    tos = frame.tos & TOS_MASK | PREC_INTERNETCONTROL
    flow = ip_output.flow(net, ICMP, 0, kind << 8 | code, tos)
    route, saddr, _failed = ip_output.route_output(net, destination, saddr, oif=vrf_of(frame), flow=flow)
    if route is None or not _allowed(net, destination, kind, code, route, frame.indev):
        return
    room = min(route.mtu or net.ipv4.out_device(route).mtu, MAX_PACKET) - wire.HEADERS
    room -= 0 if options is None else len(options.data)
    if room <= IP_HLEN:
        return
    error = wire.build(
        templates.ICMP_ERROR, saddr, destination, kind, code, info, quote.cut(frame, room),
        ident=net.ipv4.idents.next(destination, saddr, ICMP), frag=0, ttl=_ttl(net, route), tos=tos,
        flow=frame.flow, trail=[_BORN.get((kind, code), _OTHER)] if net.tracing else None,
    )  # fmt: skip
    if options is not None:
        ip_options.insert(net, error, options, saddr, frame.src)
    net.bear(error, frame.packet)
    error.route = route
    if frame.ct is not None:
        attach(error, frame)
    ip_output.local_out(net, error)


def _ttl(net: Netns, route: Route) -> int:
    """A forged source may be a group, for which ICMP's own socket has the TTL of groups (__ip_make_skb)."""
    return 1 if route.kind == "multicast" else net.ipv4.default_ttl


def vrf_of(frame: Frame) -> Device | None:
    """l3mdev_master_ifindex: the VRF that a packet came in by; its answer leaves by the VRF's table."""
    device = frame.indev
    if device is None:
        return None
    found: Device | None = device if device.kind == "vrf" else device.l3_master
    return found


def _allowed(net: Netns, destination: int, kind: int, code: int, route: Route, indev: Device | None) -> bool:
    """icmpv4_global_allow and icmpv4_xrlim_allow: for the kinds that the rate mask names, a bucket of the whole namespace, then
    one of each destination. What came in on lo is not limited, what goes to it by the namespace's bucket alone."""
    if kind == wire.DEST_UNREACH and code == wire.FRAG_NEEDED:
        return True
    number, peers = net.sysctl.number, net.ipv4.peers
    if not 1 << kind & number("net.ipv4.icmp_ratemask") or (indev is not None and indev.loopback):
        return True
    if not peers.bucket.allows(net.clock.now, number("net.ipv4.icmp_msgs_per_sec"), number("net.ipv4.icmp_msgs_burst")):
        return False
    interval = -(-number("net.ipv4.icmp_ratelimit") * MS // TICK_NS)
    if route.kind != "local" and interval and not peers[destination].allows(net.clock.now, interval):
        return False
    peers.bucket.consume(net.random("icmp_global").randrange(3))
    return True


def receive(frame: Frame, net: Netns) -> None:
    """icmp_rcv: a packet for this namespace."""
    if not frame.valid and not wire.checksum_ok(frame) and not _summed_with_header(frame, net):
        drop(net, frame, "ICMP_CSUM")
        return
    if frame.tot_len < frame.l4 - ETH_HLEN + wire.HLEN:
        drop(net, frame, "NOT_SPECIFIED")
        return
    kind = frame.dport >> 8
    if kind == wire.EXT_ECHO:  # icmp_echo, whose probes net.ipv4.icmp_echo_enable_probe has off
        _delivered(frame, net, DISCARDED)
        return
    to_all = frame.route is not None and frame.route.kind in TO_MANY
    if to_all and (
        kind not in _TO_ALL or (kind in _ANSWERS and net.sysctl.number("net.ipv4.icmp_echo_ignore_broadcasts"))
    ):
        drop(net, frame, "INVALID_PROTO")
    elif kind > wire.NR_ICMP_TYPES:
        drop(net, frame, "NO_SOCKET" if kind == wire.EXT_ECHO_REPLY else "UNHANDLED_PROTO")
    elif kind == wire.ECHO:
        _echo(frame, net)
    elif kind == wire.TIMESTAMP:
        _timestamp(frame, net)
    elif kind in wire.ERRORS:
        _error(frame, net)
    elif kind == wire.ECHO_REPLY:
        handler = net.ipv4.icmp_errors.get(ICMP)
        _taken(frame, net, "ICMP: an answer")
        if handler is not None:
            handler(frame, net, kind, 0, 0)
    else:
        _delivered(frame, net, DISCARDED)


def _summed_with_header(frame: Frame, net: Netns) -> bool:
    """A message of zeros passes where conntrack has seen it come in: it sums from the IP header on, whose ones make the sum right
    (nf_ip_checksum). It does not sum again what lo brings back."""
    conntrack, device = net.conntrack, frame.indev
    if conntrack is None or not (conntrack.enabled and conntrack.checksum) or not wire.all_zero(frame):
        return False
    return frame.ct is None or device is None or not device.loopback


def _delivered(frame: Frame, net: Netns, to: str) -> None:
    net.delivered += 1
    for listener in net.delivery_listeners:
        listener(frame, Delivered(net.name, to))


def _taken(frame: Frame, net: Netns, to: str) -> None:
    """It ends here, and is for no flow's receiver."""
    net.delivered += 1
    if net.recorder is not None:
        net.recorder.arrived(frame, Delivered(net.name, to))


def _echo(frame: Frame, net: Netns) -> None:
    """icmp_echo: the answer has the request's code, data, id and sequence number."""
    if net.sysctl.number("net.ipv4.icmp_echo_ignore_all"):
        drop(net, frame, "ICMP_ECHO_IGNORED")
        return
    _delivered(frame, net, "ICMP echo")
    _reply(frame, net, wire.ECHO_REPLY, frame.dport & 255, wire.body(frame), ECHO_ANSWER)


def _timestamp(frame: Frame, net: Netns) -> None:
    """icmp_timestamp (RFC 792; RFC 1122 section 3.2.2.8): the request's own time, and twice the present, ms since midnight."""
    asked = wire.body(frame)[:4]
    if len(asked) < 4:
        drop(net, frame, "PKT_TOO_SMALL")
        return
    _delivered(frame, net, "ICMP timestamp")
    now = ip_options.time_of_day(net).to_bytes(4, "big")
    _reply(frame, net, wire.TIMESTAMP_REPLY, 0, asked + now + now, TIMESTAMP_ANSWER)


def _reply(frame: Frame, net: Netns, kind: int, code: int, data: bytes, born: Born) -> None:
    """icmp_reply: an answer with the request's id, sequence number, TOS and IP options; a new IP id and no DF."""
    options = None if frame.options is None else ip_options.echo(net, frame, frame.options)
    if options is None and frame.options is not None:
        return
    destination = frame.src if options is None else options.nexthop
    source = 0 if frame.route is not None and frame.route.kind in TO_MANY else frame.dst
    destination = ip_output.destination(destination, source)
    way = ip_output.flow(net, ICMP, tos=frame.tos)
    route, source, _failed = ip_output.route_output(net, destination, source, oif=vrf_of(frame), flow=way)
    if route is None or not _allowed(net, destination, kind, code, route, None):
        return
    reply = wire.build(
        templates.ECHO_REPLY, source, destination, kind, code, wire.second_word(frame), data,
        ident=net.ipv4.idents.next(destination, source, ICMP), frag=0, ttl=_ttl(net, route), tos=frame.tos,
        flow=frame.flow, trail=[born] if net.tracing else None,
    )  # fmt: skip
    if options is not None:
        ip_options.insert(net, reply, options, source, frame.src)
    net.bear(reply, frame.packet)
    reply.route = route
    ip_output.local_out(net, reply)


def _error(frame: Frame, net: Netns) -> None:
    """icmp_unreach and icmp_redirect: pass the error to the protocol of the quoted packet, unless the quote is too short to name a
    flow. Without a whole IP header it is no error."""
    kind, data = frame.dport >> 8, wire.body(frame)
    if len(data) < IP_HLEN:
        drop(net, frame, "PKT_TOO_SMALL" if kind == wire.REDIRECT else "NOT_SPECIFIED")
        return
    if data[0] & 15 < IP_HLEN // 4 and kind != wire.REDIRECT:
        drop(net, frame, "IP_INHDR")
        return
    _taken(frame, net, "ICMP: an error about a packet")
    quoted = quote.packet_of(frame)
    if quoted is None:
        return
    quoted.cause = frame
    handler = net.ipv4.icmp_errors.get(quoted.proto)
    if handler is not None:
        handler(quoted, net, kind, frame.dport & 255, wire.second_word(frame))
