"""What ARP promises: who asks for an address is answered, or there is an account of why not.

Must not know NAT or Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from emu.capture.captured import Captured
from emu.clock import MS, SECOND
from emu.invariants import Answer, Evidence, Violation, invariant
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import Device
from emu.kernel.link.veth import Veth
from emu.kernel.net.netns import Netns
from emu.trail import Asked
from emu.wire.arp import REPLY, REQUEST, Arp, parse

PATIENCE_NS = 3 * SECOND  # longer than proxy_delay and any delay of a link that people set
RETRANS_NS = 900 * MS, 1300 * MS  # when a neighbour's next request is due: retrans_time_ms, rounded up to ticks
SETTINGS = ("arp_ignore", "arp_filter", "rp_filter", "drop_gratuitous_arp")  # a host with one of these may keep silent


class _Seen(NamedTuple):
    captured: Captured
    arp: Arp

    @property
    def place(self) -> int:
        return self.captured.place.number


@invariant(
    "every ARP request is answered or accounted for, and an answer ends the asking",
    "Requests that resolve or probe a neighbour. Accounted for: a copy or the answer was dropped with a reason, no host on the link has the "
    "address, a host has arp_ignore, arp_filter or rp_filter set, a link on the way changed since. A request of the last three seconds is "
    "judged only where it was answered. A user's own ARP frames are passed over.",
)
def arp_answered(evidence: Evidence) -> Iterator[Answer]:
    seen = [_Seen(captured, arp) for captured, frame in evidence.arps if (arp := parse(frame)) is not None]
    now_ns = evidence.require_capture().clock.now
    asked: dict[
        tuple[int, int, int], tuple[_Seen, _Seen | None]
    ] = {}  # by interface, address and flow: the last, and its answer
    for at, each in enumerate(seen):
        captured, arp = each
        if captured.direction != "out" or arp.op != REQUEST:
            continue
        if not any(isinstance(fact, Asked) and fact.why != "announce" for fact in captured.trail):
            continue
        later = [other for other in seen[at + 1 :] if other.captured.time_ns <= captured.time_ns + PATIENCE_NS]
        answer = next((other for other in later if _answers(other, each) and other.place == each.place), None)
        key = each.place, arp.tpa, captured.flow
        before = asked.get(key)
        asked[key] = each, answer
        if before is not None and _asks_again(each, *before):
            what = f"{captured.place.name} was answered, and asks again who has {_text(arp.tpa)}"
            yield Violation(
                what, tuple(other.captured for other in seen if other.arp.tpa == arp.tpa or other.arp.spa == arp.tpa)
            )
        elif answer is not None:
            yield None
        elif captured.time_ns + PATIENCE_NS <= now_ns:
            wrong = _unaccounted(evidence, each, later)
            frames = (captured, *(other.captured for other in later if arp.tpa in (other.arp.tpa, other.arp.spa)))
            yield Violation(wrong, frames) if wrong else None


def _text(addr: int) -> str:
    return ".".join(str(addr >> shift & 255) for shift in (24, 16, 8, 0))


def _answers(reply: _Seen, request: _Seen) -> bool:
    arp, asked = reply.arp, request.arp
    return reply.captured.direction == "in" and (arp.op, arp.spa, arp.tpa) == (REPLY, asked.tpa, asked.spa)


def _asks_again(now: _Seen, before: _Seen, answer: _Seen | None) -> bool:
    """Is it the retransmission of a request that was answered well before?"""
    if answer is None:
        return False
    device = now.captured.place.device
    start_ns = before.captured.time_ns
    gap_ns = now.captured.time_ns - start_ns
    if device is None or device.changed_ns >= start_ns or answer.captured.time_ns > start_ns + gap_ns // 2:
        return False
    return RETRANS_NS[0] <= gap_ns <= RETRANS_NS[1]


def _unaccounted(evidence: Evidence, request: _Seen, later: list[_Seen]) -> str:
    """What is wrong with a request without an answer; "" if there is an account of it."""
    captured, asked = request
    copies = [each for each in later if each.arp == asked]
    answers = [each for each in later if (each.arp.op, each.arp.spa, each.arp.tpa) == (REPLY, asked.tpa, asked.spa)]
    if any(each.captured.direction == "drop" for each in (*copies, *answers)):
        return ""
    device = captured.place.device
    if device is None or not device.attached:
        return ""
    words = f"{captured.place.name} asks who has {_text(asked.tpa)}"
    for net, entry in _holders(evidence, device, asked.tpa, captured.time_ns):
        if any(net.sysctl.conf(entry.name, name) for name in SETTINGS) or net.ipv4.is_local(asked.spa):
            continue
        if not any(each.captured.place.device is entry and each.captured.direction == "in" for each in copies):
            return f"{words}, and {net.name}, which has it, does not get the request"
        if not any(each.captured.place.device is entry and each.captured.direction == "out" for each in answers):
            return f"{words}, and {net.name}, which has it, does not answer"
        return f"{words}, and the answer of {net.name} does not arrive"
    return ""


def _holders(evidence: Evidence, device: Device, addr: int, since_ns: int) -> Iterator[tuple[Netns, Device]]:
    """The namespaces that have the address on a device of the same link, none of whose links changed since then."""
    found, waiting = {id(device)}, [device]
    while waiting:
        here = waiting.pop()
        if not (here.up and here.carrier) or here.changed_ns > since_ns or not here.attached:
            continue
        net: Netns = here.net
        if here is not device and any(each.addr == addr and each.device is here for each in net.ipv4.addresses):
            yield net, here
        for other in _beside(here):
            if id(other) not in found:
                found.add(id(other))
                waiting.append(other)


def _beside(device: Device) -> Iterator[Device]:
    """The devices that get what a device sends: a cable's other end, a bridge's ports, a port's bridge with its other ports."""
    if isinstance(device, Bridge):
        if not device.vlan_filtering:
            yield from (port.device for port in device.ports)
        return
    if isinstance(device, Veth) and device.peer is not None:
        yield device.peer
    if device.master is not None and isinstance(device.master.bridge, Bridge):
        yield device.master.bridge
