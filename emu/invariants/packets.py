"""What holds for every packet on every interface: it ends once, its TTL falls where it is routed, its checksums are right, it runs in no circle.

Must not know NAT or Kubernetes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from emu.capture.captured import Captured
from emu.capture.interface import Interface
from emu.invariants import Answer, Evidence, Violation, invariant
from emu.invariants.evidence import STACKED, is_error
from emu.kernel.net.fib_semantics import Route
from emu.kernel.netfilter.targets.dscp import Ttl
from emu.kernel.transport.sockets import RAW
from emu.trail import Carried
from emu.wire import icmp, ipv4, tcp, udp
from emu.wire.frame import ICMP, IP_OFFSET, TCP, UDP, Frame

_L4_CHECKS = {TCP: tcp.checksum_ok, UDP: udp.checksum_ok, ICMP: icmp.checksum_ok}


@invariant(
    "every packet ends exactly once: born + copied = delivered + absorbed + dropped + waiting",
    "All namespaces together, those that are gone too, when no frame is on a cable: after `lab.run`, after a flow, after `clock.drain`.",
    captured=False,
)
def one_outcome(evidence: Evidence) -> Iterator[Answer]:
    nets = evidence.namespaces.values()
    tallies = [evidence.bench.gone, *(net.tally() for net in nets)]
    entered = sum(each.entered for each in tallies)
    left = sum(each.ended + each.waiting for each in tallies)
    if entered == left:
        yield None
        return
    lines = "\n".join(
        f"{net.name}: born {net.born} copied {net.copied} delivered {net.delivered} absorbed {net.absorbed} "
        f"waiting {net.tally().waiting} drops {dict(net.drops)}"
        for net in nets
    )
    frames = tuple(evidence.frames) if evidence.is_captured else ()
    yield Violation(f"{entered} packets came into being, {left} ended\n{lines}\ngone: {evidence.bench.gone}", frames)


@invariant(
    "a packet's TTL falls by one in each namespace that routes it, and never in a bridge or on a cable",
    "IPv4 packets at all interfaces that captured them. A packet that a tunnel carries is judged on both sides of the tunnel. Passed over: what a"
    " rule with the target TTL changed.",
)
def ttl_falls(evidence: Evidence) -> Iterator[Answer]:
    for packet in evidence.packets:
        if any(
            isinstance(getattr(each, "target", None), Ttl) for captured, _ in packet.seen for each in captured.trail
        ):
            continue
        wrong = ""
        came: dict[str, tuple[int, Interface, bool]] = {}
        sent: dict[int, int] = {}
        for captured, frame in packet.seen:
            place = captured.place
            if captured.direction == "in":
                peer = getattr(place.device, "peer", None)
                if sent.get(id(peer), frame.ttl) != frame.ttl:
                    wrong = f"the TTL changed on the cable to {place.name}"
                came[place.owner] = frame.ttl, place, False
            elif captured.direction == "out":
                sent[id(place.device)] = frame.ttl
                if place.owner in came:
                    ttl, entry, before = came[place.owner]
                    routed = before or _routed(entry, captured, frame)
                    if routed is None:
                        continue
                    came[place.owner] = ttl, entry, routed
                    if frame.ttl != ttl - routed:
                        what = f"came to {place.owner} with TTL {ttl}, was {'routed' if routed else 'bridged'}"
                        wrong = f"a packet {what} and left with {frame.ttl}"
            if wrong:
                break
        yield Violation(wrong, packet.frames) if wrong else None


def _routed(entry: Interface, left: Captured, frame: Frame) -> bool | None:
    """Was a packet that came in at `entry` routed? A cloud carries packets as they are. Of fragments that a router cuts only the
    first has the trail of the whole: others are judged by their interfaces, but not when these are gone (None)."""
    facts = {each.__class__ for each in left.trail}
    if Carried in facts:
        return False
    if facts and not frame.frag & IP_OFFSET:
        return Route in facts
    if any(place.device is None or not place.device.attached for place in (entry, left.place)):
        return None
    bridge = _bridge_of(entry)
    one_bridge = bridge and bridge in (_bridge_of(left.place), left.place.device_name)
    return not one_bridge


def _bridge_of(place: Interface) -> str:
    """The bridge of which an interface is, or was, a port."""
    port = place.device.master if place.device is not None else None
    return place.bridge if port is None else str(port.bridge.name)


@invariant(
    "the checksums of every packet are right, and that of a header which an ICMP error quotes",
    "IPv4 headers, TCP, UDP and ICMP on every interface, not of fragments and drops. Passed over: what a user sent with a wrong "
    "checksum, and what a device with offloads, or lo, need not complete.",
)
def checksums_hold(evidence: Evidence) -> Iterator[Answer]:
    users: set[int] = set()  # flows that a user's own packets opened
    for captured, frame in evidence.read:
        if frame.proto < 0 or captured.direction == "drop":
            continue
        wrong = _wrong_checksum(captured, frame)
        if wrong and RAW in captured.trail:
            users.add(captured.flow)
        if captured.flow in users:
            continue
        yield Violation(f"{wrong} at {captured.interface}", (captured,)) if wrong else None


def _wrong_checksum(captured: Captured, frame: Frame) -> str:
    if ipv4.check(frame) is not None:
        return f"{ipv4.check(frame)}"
    device = captured.place.device
    check = _L4_CHECKS.get(frame.proto)
    if frame.frag or check is None or (device is not None and (device.offload or device.loopback)):
        return ""
    if not check(frame):
        return "a wrong checksum behind the IP header"
    if is_error(frame):
        quote = Frame.parse(captured.data[:14] + captured.data[frame.l4 + 8 :])
        if ipv4.check(quote) == "IP_CSUM":
            return "a wrong checksum in the quoted header"
    return ""


@invariant(
    "no packet runs in a circle: it passes an interface in one direction and with one pair of addresses once",
    "IPv4 packets at all interfaces that captured them. Packets of one flow with the same bytes count as often as they were sent.",
)
def no_loop(evidence: Evidence) -> Iterator[Answer]:
    for packet in evidence.packets:
        seen = [each for each in packet.seen if each[0].direction != "drop"]
        if not seen:
            continue
        first, born = seen[0]
        times: Counter[tuple[int, str, int, int]] = Counter()
        ttls: dict[tuple[int, str, int, int], int] = {}
        sent, wrong = 0, ""
        for captured, frame in seen:
            place = captured.place
            if (place.number, captured.direction) == (first.place.number, first.direction) and frame.ttl == born.ttl:
                sent += 1
            key = place.number, captured.direction, frame.src, frame.dst
            times[key] += 1
            if frame.ttl < ttls.setdefault(key, frame.ttl) or (times[key] > sent and place.kind not in STACKED):
                wrong = f"a packet passes {place.name} ({captured.direction}) again, with TTL {frame.ttl}"
                break
        yield Violation(wrong, packet.frames) if wrong else None
