"""What connection tracking and NAT promise: answers come from where the client asked, and every entry is undone as it was done.

Judged by the entries of conntrack wherever a namespace translates: a NodePort, a hairpin, a spoofed source and a packet that conntrack
holds for INVALID have their own truth. Must not know how kube-proxy compiles its rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator

from emu.capture.captured import Captured
from emu.invariants import Answer, Evidence, Violation, invariant
from emu.invariants.evidence import STACKED, Packet, Pass, Seen, identity, is_error
from emu.kernel.net.fib_semantics import Route
from emu.kernel.netfilter.conn import CONFIRMED, DYING, Conn, Tuple5, inverse
from emu.kube.api.core import Service
from emu.kube.flow.flow import Flow
from emu.trail import Natted, Tracked
from emu.wire.addr import ip4_text
from emu.wire.frame import ICMP, IP_OFFSET, TCP, UDP, Frame
from emu.wire.tcp import ACK, SYN


def ends(frame: Frame) -> Tuple5:
    """The two ends; for an echo both ports are the id."""
    if frame.proto == ICMP:
        return ICMP, frame.src, frame.dst, frame.sport, frame.sport
    return frame.proto, frame.src, frame.dst, frame.sport, frame.dport


def turned(pair: Tuple5) -> Tuple5:
    proto, src, dst, sport, dport = pair
    return proto, dst, src, dport, sport


def text(pair: Tuple5) -> str:
    _proto, src, dst, sport, dport = pair
    return f"{ip4_text(src)}:{sport} -> {ip4_text(dst)}:{dport}"


def tracked(frame: Frame) -> Tuple5:
    """The tuple as conntrack has it: an ICMP query's type and code stand for its destination port."""
    return frame.proto, frame.src, frame.dst, frame.sport, frame.dport


# -- what the client sees ---------------------------------------------------------------------------


@invariant(
    "answers come from the address and port that the client sent to, and errors quote packets that it sent",
    "Flows with a number, at their client. Where the client's namespace does not translate, its interface shows what its sockets see; "
    "on a node the arrivals at the client's sockets are judged. Passed over: broadcasts, which any host may answer, sources that are "
    "not the client's own, flows of pods to node ports of Services with externalTrafficPolicy Local, which kube-proxy "
    "does not masquerade, so that the answer may take another way, and a datagram for which a program with several "
    "addresses chose another one than it was asked at.",
)
def reply_source(evidence: Evidence) -> Iterator[Answer]:
    flows: dict[int, list[Seen]] = {}
    for captured, frame in evidence.read:
        if captured.flow and captured.direction != "drop":
            flows.setdefault(captured.flow, []).append((captured, frame))
    elsewhere = _by_local_policy(evidence)
    born = {each.number: packet.seen[0] for packet in evidence.packets for each in packet.frames}
    for number, seen in flows.items():
        if number in elsewhere:
            continue
        for answer in _at_the_interface(seen):
            if answer is None or not _chose_another(evidence, born.get(answer.frames[0].number)):
                yield answer and Violation(answer.what, tuple(captured for captured, _ in seen))
    for flow in evidence.flows:
        yield from _at_the_socket(flow)


def _at_the_interface(seen: list[Seen]) -> Iterator[Answer]:
    beginner = ""
    asked: set[Tuple5] = set()
    sent: set[Hashable] = set()
    for captured, frame in seen:
        if frame.proto < 0 or frame.frag & IP_OFFSET or captured.place.device_name == "lo":
            continue
        beginner = beginner or captured.place.owner
        net = captured.place.device.net if captured.place.device is not None else None
        if captured.place.owner != beginner or net is None:
            continue
        if net.nat is not None:
            return
        if captured.direction == "out":
            if net.ipv4.addr_type(frame.dst) in ("BROADCAST", "MULTICAST"):
                return  # every receiver may answer
            if net.ipv4.is_local(frame.src) and not is_error(frame):
                asked.add(ends(frame))
                sent.add(identity(captured.flow, frame))
        elif net.ipv4.is_local(frame.dst) and identity(captured.flow, frame) not in sent:
            # its own packet that comes back by a hairpin is a request to it, and no answer
            pair = ends(frame)
            wrong = ""
            if is_error(frame):
                quote = Frame.parse(captured.data[:14] + captured.data[frame.l4 + 8 :])
                if quote.proto >= 0 and not quote.frag & IP_OFFSET and ends(quote) not in asked:
                    wrong = f"{beginner} gets an error about {text(ends(quote))}, which it never sent"
            elif turned(pair) not in asked:
                wrong = f"{beginner} is answered {text(pair)}, but asked {', '.join(map(text, asked))}"
            yield Violation(wrong, (captured,)) if wrong else None


def _by_local_policy(evidence: Evidence) -> set[int]:
    """The flows of pods to node ports of Services with externalTrafficPolicy Local. A node takes a pod's packet to any endpoint, and
    kube-proxy does not masquerade it: the answer may go past that node (KUBE-EXT, "pod traffic for ... external destinations")."""
    cluster = evidence.cluster
    if cluster is None:
        return set()
    ports = {
        port.node_port
        for service in cluster.store.list(Service)
        if service.spec.external_traffic_policy == "Local"
        for port in service.spec.ports
    } - {0}
    return {flow.number for flow in evidence.flows if flow.target.port in ports and flow.source not in cluster.nodes}


def _chose_another(evidence: Evidence, born: Seen | None) -> bool:
    """Is it the answer of a host with several addresses whose program lets the route choose the source (udp(7), IP_PKTINFO)?"""
    if born is None or evidence.cluster is None or born[1].proto != UDP:
        return False
    captured, frame = born
    flow, device = evidence.cluster.flows.get(captured.flow), captured.place.device
    if flow is None or device is None or device.net is None or not device.net.ipv4.is_local(frame.src):
        return False
    reached = [(addr, port) for place, (addr, port, _, _) in flow.arrivals if place == captured.place.owner]
    return (frame.src, frame.sport) not in reached and any(port == frame.sport for _, port in reached)


def _at_the_socket(flow: Flow) -> Iterator[Answer]:
    """Each packet of a flow that reached a socket of its client is an answer from the target, or a request that came back to it."""
    target = flow.target
    if flow.kind not in ("tcp", "udp") or not target.addr or flow.look_up_frames:
        return
    asked = {(target.addr, target.port), *(nat.after for nat in flow.translations if nat.kind == "DNAT")}
    for place, (addr, port, peer, peer_port) in flow.arrivals:
        if place == flow.source and (addr, port) not in asked:
            wrong = (peer, peer_port) != (target.addr, target.port)
            what = f"{place} is answered by {ip4_text(peer)}:{peer_port}, but asked {target}"
            yield Violation(what, tuple(flow.frames), flow) if wrong else None


# -- what a namespace that translates does ------------------------------------------------------------


@invariant(
    "un-NAT is the exact inverse: what an entry of conntrack does to a packet, it undoes to the answer",
    "TCP, UDP and echo packets that cross a namespace with NAT, by the entry that their tuple belongs to: the original one leaves as "
    "the inverse of the reply tuple, the reply as the inverse of the original. Passed over: INVALID packets, entries that were deleted, "
    "and packets that a bridge forwards past iptables.",
)
def unnat_is_inverse(evidence: Evidence) -> Iterator[Answer]:
    entries: dict[tuple[str, Tuple5], Conn] = {}
    undone: dict[tuple[str, Tuple5], tuple[Tuple5, Conn]] = {}  # the way back of what was translated
    for packet, way in evidence.passes:
        frame = way.left[1]
        if frame.frag & IP_OFFSET or is_error(frame) or not _translates(way):
            continue
        for fact in way.facts(Tracked) + way.facts(Natted):
            conn: Conn | None = fact.conn
            if conn is not None:
                entries[way.owner, conn.orig] = entries[way.owner, conn.reply] = conn
        if any(each.conn is None for each in way.facts(Tracked)):
            continue
        left = tracked(frame)
        if way.entry is None:
            born: Conn | None = next((each.conn for each in way.facts(Natted)), None)
            if born is not None and not born.status & DYING:
                right = left in (inverse(born.reply), inverse(born.orig))
                yield None if right else Violation(_otherwise(way, left, inverse(born.reply)), packet.frames)
            continue
        came = tracked(way.entry[1])
        back, by = undone.get((way.owner, came), (None, None))
        if back is not None and by is not None and not by.status & DYING and left != back:
            yield Violation(_otherwise(way, left, back), packet.frames)
            continue
        conn = entries.get((way.owner, came))
        if conn is None or conn.status & DYING:
            continue
        wanted = inverse(conn.reply) if came == conn.orig else inverse(conn.orig)
        if left != wanted:
            yield Violation(_otherwise(way, left, wanted), packet.frames)
            continue
        there, here = inverse(came), inverse(left)
        if came != left and came == conn.orig and there is not None and here is not None:
            undone[way.owner, here] = there, conn
        yield None


def _translates(way: Pass) -> bool:
    """Does the packet pass the hooks of a namespace that tracks connections?"""
    net = way.net
    if way.left[0].place.kind in STACKED:
        return False  # what a bridge sends has POSTROUTING before it yet
    if net is None or net.conntrack is None or not net.conntrack.enabled:
        return False
    return net.bridge_nf_call_iptables or way.entry is None or any(isinstance(each, Route) for each in way.trail)


def _otherwise(way: Pass, left: Tuple5, wanted: Tuple5 | None) -> str:
    came = f" came as {text(tracked(way.entry[1]))}," if way.entry is not None else ""
    return f"a packet{came} left {way.owner} as {text(left)}, not as {text(wanted) if wanted else 'nothing'}"


@invariant(
    "no two live connections share a tuple",
    "The entries of each namespace's conntrack, each direction in its zone.",
    captured=False,
)
def tuples_unique(evidence: Evidence) -> Iterator[Answer]:
    for net in evidence.namespaces.values():
        if net.conntrack is None:
            continue
        counted: Counter[tuple[Hashable, Tuple5]] = Counter()
        for conn in net.conntrack:
            if conn.zone[0] == conn.zone[1]:
                counted.update(((conn.family, conn.zone), each) for each in {conn.orig, conn.reply})
            else:
                counted.update(((conn.family, number, conn.zone[number]), conn.tuple_of(number)) for number in (0, 1))
        for (_, pair), times in counted.items():
            yield None if times == 1 else Violation(f"{net.name}: {times} connections own {text(pair)}")


@invariant(
    "a connection keeps its endpoint",
    "Packets that one namespace sent from one address and port to another, by the address and port at which they arrive. Another "
    "endpoint is right when the entry that chose the one before was deleted or is past its end.",
)
def endpoint_kept(evidence: Evidence) -> Iterator[Answer]:
    kept: dict[tuple[str, Tuple5], tuple[tuple[int, int], list[Conn], tuple[Captured, ...]]] = {}
    for packet in evidence.packets:
        seen = [each for each in packet.seen if each[0].direction != "drop"]
        if not seen:
            continue
        (first, born), (last, arrived) = seen[0], seen[-1]
        device = last.place.device
        if first.direction != "out" or last.direction != "in" or device is None or device.net is None:
            continue
        if is_error(born) or born.frag & IP_OFFSET or not device.net.ipv4.is_local(arrived.dst):
            continue
        conns = _chosen_by(packet)
        # a node's own packet is translated before its interface shows it
        sent = conns[0].orig if conns and conns[0].table.net_name == first.place.owner else tracked(born)
        key, end = (first.place.owner, sent), (arrived.dst, 0 if arrived.proto == ICMP else arrived.dport)
        before = kept.get(key)
        kept[key] = end, conns, packet.frames
        gone = before is not None and any(not _alive(conn, first.time_ns) for conn in before[1])
        if before is None or before[0] == end or gone or _anew(arrived):
            yield None
        else:
            ways = " and ".join(f"{ip4_text(addr)}:{port}" for addr, port in (before[0], end))
            yield Violation(f"{text(sent)} arrived at {ways}", (*before[2], *packet.frames))


def _chosen_by(packet: Packet) -> list[Conn]:
    """The entries that changed its destination."""
    return [
        each.conn
        for captured, _ in packet.seen
        for each in captured.trail
        if isinstance(each, Natted) and each.kind == "DNAT"
    ]


def _anew(frame: Frame) -> bool:
    """Does the packet open a connection?"""
    return frame.proto == TCP and frame.buf[frame.l4 + 13] & (SYN | ACK) == SYN


def _alive(conn: Conn, at_ns: int) -> bool:
    """Was the entry in its table then? It never was if its first packet was dropped."""
    return bool(conn.status & CONFIRMED) and not conn.status & DYING and conn.expires_ns > at_ns
