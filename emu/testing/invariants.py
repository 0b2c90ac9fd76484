"""The invariants of every network, as named functions over a `Lab`, a `Cluster` or a `Flow`.

Each returns nothing when it holds and raises AssertionError when it does not, with the path of the frames in
question, one ladder line each. They read captured frames (of a `Lab` or `Cluster` with `capture=True`) and
the namespaces' counters; they send nothing. Must not know strategies or pytest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

from emu.capture.capture import Capture, Captured
from emu.capture.interface import Interface
from emu.kernel.net.fib import Route
from emu.kernel.net.netns import Netns, Tally
from emu.kernel.netfilter.conn import Tuple5
from emu.kube.flow.flow import Flow
from emu.report.ladder import ladder
from emu.wire import icmp, ipv4, tcp, udp
from emu.wire.addr import ip4_text
from emu.wire.frame import ICMP, IP_OFFSET, TCP, UDP, Frame
from emu.wire.identity import unchanged


class Bench(Protocol):
    """A `Lab` or a `Cluster`: its namespaces by name, the packets of those that are gone, and what was captured."""

    @property
    def namespaces(self) -> Mapping[str, Netns]: ...
    @property
    def gone(self) -> Tally: ...
    @property
    def capture(self) -> Capture | None: ...


Where = Bench | Flow

_L4_CHECKS = {TCP: tcp.checksum_ok, UDP: udp.checksum_ok, ICMP: icmp.checksum_ok}


def frames_of(where: Where) -> list[Captured]:
    """All captured frames in time order; for a flow, those that it caused."""
    if isinstance(where, Flow):
        return where.frames
    if where.capture is None:
        raise ValueError("nothing was captured: make it with capture=True")
    return where.capture.frames()


def namespaces_of(where: Where) -> Mapping[str, Netns]:
    """All namespaces by name; for a flow, those of its cluster."""
    return where.testbed.namespaces if isinstance(where, Flow) else where.namespaces


def road(frames: Iterable[Captured]) -> str:
    """The ladder of some frames, for the message of an invariant that does not hold."""
    return ladder(frames).text


def _broken(what: str, frames: Iterable[Captured]) -> NoReturn:
    raise AssertionError(f"{what}\n{road(frames)}")


# -- packets: one packet at all interfaces that captured it ----------------------------------------


def identity(flow: int, frame: Frame) -> Hashable:
    """The bytes that no hop rewrites: two frames with equal identities are one packet (NAT and TTL do not count)."""
    return flow, frame.proto, frame.ip_id, frame.frag, unchanged(frame)


class Packet:
    """One IPv4 packet: `seen` pairs each captured frame with its fields, in time order."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: list[tuple[Captured, Frame]] = []

    @property
    def frames(self) -> list[Captured]:
        return [captured for captured, _ in self.seen]


def packets(frames: Iterable[Captured]) -> list[Packet]:
    """The IPv4 packets among these frames, in the order of their first appearance."""
    found: dict[Hashable, Packet] = {}
    for captured in frames:
        frame = Frame.parse(captured.data)
        if frame.proto >= 0 and ipv4.check(frame) is None:
            found.setdefault(identity(captured.flow, frame), Packet()).seen.append((captured, frame))
    return list(found.values())


def _ends(frame: Frame) -> Tuple5:
    """The tuple; for an echo both ports are the id."""
    if frame.proto == ICMP:
        return ICMP, frame.src, frame.dst, frame.sport, frame.sport
    return frame.proto, frame.src, frame.dst, frame.sport, frame.dport


def _inverse(ends: Tuple5) -> Tuple5:
    proto, src, dst, sport, dport = ends
    return proto, dst, src, dport, sport


def _text(ends: Tuple5) -> str:
    _proto, src, dst, sport, dport = ends
    return f"{ip4_text(src)}:{sport} -> {ip4_text(dst)}:{dport}"


def _is_error(frame: Frame) -> bool:
    return frame.proto == ICMP and frame.dport >> 8 in icmp.ERRORS


# -- the invariants ---------------------------------------------------------------------------------


def waiting(net: Netns) -> int:
    """Packets that sit in a namespace: in neighbours' queues, and as pieces of datagrams that are not whole yet."""
    return net.tally().waiting


def one_outcome(where: Where) -> None:
    """Every packet ends in exactly one outcome: born + copied = delivered + absorbed + dropped + waiting.

    Summed over all namespaces, those that are gone too, at a moment when nothing is on a cable (after `lab.run` or a
    flow).
    """
    bench = where.testbed if isinstance(where, Flow) else where
    nets = bench.namespaces.values()
    tallies = [bench.gone, *(net.tally() for net in nets)]
    entered = sum(each.entered for each in tallies)
    left = sum(each.ended + each.waiting for each in tallies)
    if entered != left:
        lines = "\n".join(
            f"{net.name}: born {net.born} copied {net.copied} delivered {net.delivered} absorbed {net.absorbed} "
            f"waiting {waiting(net)} drops {dict(net.drops)}"
            for net in nets
        )
        lines += f"\ngone: {bench.gone}"
        frames = frames_of(where) if isinstance(where, Flow) or where.capture is not None else []
        _broken(f"{entered} packets came into being, {left} ended\n{lines}", frames)


def ttl_falls(where: Where) -> None:
    """A packet's TTL falls by one in each namespace that routes it, and stays the same on cables and bridges."""
    for packet in packets(frames_of(where)):
        came: dict[str, tuple[int, Interface, bool]] = {}
        sent: dict[int, int] = {}
        for captured, frame in packet.seen:
            place = captured.place
            if captured.direction == "in":
                peer = getattr(place.device, "peer", None)
                if sent.get(id(peer), frame.ttl) != frame.ttl:
                    _broken(f"the TTL changed on the cable to {place.name}", packet.frames)
                came[place.owner] = frame.ttl, place, False
            elif captured.direction == "out":
                sent[id(place.device)] = frame.ttl
                if place.owner in came:
                    ttl, entry, routed = came[place.owner]
                    routed = routed or _routed(entry, captured)
                    came[place.owner] = ttl, entry, routed
                    if frame.ttl != ttl - routed:
                        what = f"came to {place.owner} with TTL {ttl}, was {'routed' if routed else 'bridged'}"
                        _broken(f"a packet {what} and left with {frame.ttl}", packet.frames)


def _routed(entry: Interface, left: Captured) -> bool:
    """Was a packet that came in at `entry` routed? Only the first fragment has a trail."""
    bridge = _bridge_of(entry)
    one_bridge = bridge and bridge in (_bridge_of(left.place), left.place.device_name)
    return not one_bridge or any(isinstance(each, Route) for each in left.trail)


def _bridge_of(place: Interface) -> str:
    """The bridge of which an interface is, or was, a port."""
    port = place.device.master if place.device is not None else None
    return place.bridge if port is None else str(port.bridge.name)


def nat_is_identity(where: Where) -> None:
    """The client of a flow sees its target: answers come from the target's address, and errors quote sent packets.

    Only flows with a number (a socket's `flow`) have a client; 0 is the background. Judged where the client's
    interface shows the addresses that its sockets see: not on nodes and routers, which translate before their interfaces.
    """
    flows: dict[int, list[Captured]] = {}
    for captured in frames_of(where):
        if captured.flow and captured.direction != "drop":
            flows.setdefault(captured.flow, []).append(captured)
    for frames in flows.values():
        _flow_is_identity(frames)


def _flow_is_identity(frames: list[Captured]) -> None:
    beginner = ""
    asked: set[Tuple5] = set()
    sent: set[Hashable] = set()
    for captured in frames:
        frame = Frame.parse(captured.data)
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
            if net.ipv4.is_local(frame.src) and not _is_error(frame):
                asked.add(_ends(frame))
                sent.add(identity(captured.flow, frame))
        elif net.ipv4.is_local(frame.dst) and identity(captured.flow, frame) not in sent:
            # its own packet that comes back by a hairpin is a request to it, and no answer
            ends = _ends(frame)
            if _is_error(frame):
                quote = Frame.parse(captured.data[:14] + captured.data[frame.l4 + 8 :])
                if quote.proto >= 0 and not quote.frag & IP_OFFSET and _ends(quote) not in asked:
                    _broken(f"{beginner} gets an error about {_text(_ends(quote))}, which it never sent", frames)
            elif _inverse(ends) not in asked:
                _broken(f"{beginner} is answered {_text(ends)}, but asked {', '.join(map(_text, asked))}", frames)


def endpoint_kept(where: Where) -> None:
    """All packets of one connection arrive at one endpoint (while conntrack has its entry)."""
    ends: dict[tuple[str, int, Tuple5], dict[tuple[str, int, int], list[Captured]]] = {}
    for packet in packets(frames_of(where)):
        (first, born), (last, arrived) = packet.seen[0], packet.seen[-1]
        device = last.place.device
        if first.direction != "out" or last.direction != "in" or device is None or _is_error(born):
            continue
        if device.net is None:  # its pod is gone
            continue
        if born.frag & IP_OFFSET or not device.net.ipv4.is_local(arrived.dst):
            continue
        key = first.place.owner, first.flow, _ends(born)
        end = last.place.owner, arrived.dst, arrived.dport
        found = ends.setdefault(key, {})
        found.setdefault(end, []).extend(packet.frames)
        if len(found) > 1:
            places = " and ".join(f"{owner} {ip4_text(dst)}:{port}" for owner, dst, port in found)
            _broken(f"{_text(_ends(born))} arrived at {places}", [each for frames in found.values() for each in frames])


def checksums_hold(where: Where) -> None:
    """Every captured packet has right checksums, and so has every packet that an ICMP error quotes."""
    for captured in frames_of(where):
        frame = Frame.parse(captured.data)
        if frame.proto < 0 or captured.direction == "drop":
            continue
        wrong = ipv4.check(frame)
        check = _L4_CHECKS.get(frame.proto)
        if wrong is None and not frame.frag and check is not None and not check(frame):
            wrong = "a wrong checksum behind the IP header"
        if wrong is None and not frame.frag and _is_error(frame):
            quote = Frame.parse(captured.data[:14] + captured.data[frame.l4 + 8 :])
            if ipv4.check(quote) == "IP_CSUM":
                wrong = "a wrong checksum in the quoted header"
        if wrong is not None:
            _broken(f"{wrong} at {captured.interface}", [captured])


def tuples_unique(where: Where) -> None:
    """No two live connections of a namespace share a tuple."""
    for net in namespaces_of(where).values():
        if net.conntrack is not None:
            counted = Counter(each for conn in net.conntrack for each in {conn.orig, conn.reply})
            for ends, times in counted.items():
                if times > 1:
                    raise AssertionError(f"{net.name}: {times} connections own {_text(ends)}")


INVARIANTS: dict[str, Callable[[Any], None]] = {
    check.__name__: check
    for check in (one_outcome, ttl_falls, nat_is_identity, endpoint_kept, checksums_hold, tuples_unique)
}


def hold(where: Where, *names: str) -> None:
    """Check a lab, cluster or flow by the named invariants (by all of them, if none is named)."""
    for name in names or INVARIANTS:
        INVARIANTS[name](where)


def broken(where: Where) -> Iterator[tuple[str, str]]:
    """The invariants that do not hold, each with its message."""
    for name, check in INVARIANTS.items():
        try:
            check(where)
        except AssertionError as failure:
            yield name, str(failure)


def hops(where: Where, source: str, target: str) -> list[int]:
    """How many times each packet from namespace `source` to `target` was routed: by how much its TTL fell."""
    falls = []
    for packet in packets(frames_of(where)):
        (first, born), (last, arrived) = packet.seen[0], packet.seen[-1]
        if (first.place.owner, last.place.owner, last.direction) == (source, target, "in"):
            falls.append(born.ttl - arrived.ttl)
    return falls


__all__ = [
    "INVARIANTS", "broken", "checksums_hold", "endpoint_kept", "frames_of", "hold", "hops", "nat_is_identity",
    "one_outcome", "packets", "road", "ttl_falls", "tuples_unique", "waiting",
]  # fmt: skip
