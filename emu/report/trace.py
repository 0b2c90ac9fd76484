"""One packet there and its answer back: the possible endpoints, then every hop with what was decided.

Must not know commands. The packet is really sent: its walk is read from the captures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from emu.capture.capture import Captured
from emu.kernel.net.ip_output import route_output
from emu.kernel.net.netns import Netns
from emu.kube.flow.ends import Places, by_name, sources
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import address
from emu.report import Report
from emu.report.endpoints import endpoints
from emu.report.endpoints import report as endpoints_report
from emu.report.outcomes import Probe
from emu.report.snapshot import Snapshot
from emu.report.walk import walk
from emu.wire.addr import ip4_text
from emu.wire.captured import carried, is_ipv4
from emu.wire.frame import ICMP, TCP, UDP

CONTENTS = b"emu trace"
CLIENT_PORT, LOOPBACK = 40000, 127
_OF_NEIGHBOURS = ("NEIGH_FAILED", "NEIGH_QUEUEFULL", "NEIGH_CREATEFAIL")
PROTOCOLS = {"tcp": TCP, "udp": UDP, "icmp": ICMP}


class Sends(Places, Protocol):
    """A cluster that sends the three kinds of packets. `warnings` is what it does not model of what it was given."""

    warnings: list[str]

    def tcp(self, source: str, to: str, send: bytes = ..., *, close: bool = ...) -> Flow: ...
    def udp(self, source: str, to: str, send: bytes = ...) -> Flow: ...
    def ping(self, source: str, to: str) -> Flow: ...


@dataclass(frozen=True)
class Trace:
    """The flow that was sent, and what to show of it."""

    flow: Flow
    report: Report


def trace(
    cluster: Sends, source: str, target: str, protocol: str = "", *, detail: str = "detailed", arp: bool = False
) -> Trace:
    """Send one packet; `protocol` is tcp, udp, icmp or "" (tcp if the target has a port). Raises InputError.

    `detail` of the text: minimal shows a line a hop, summary its sentence too, detailed its facts as well. Frames of ARP are counted in the text,
    unless `arp`, or a neighbour that did not answer is what ended the packet.
    """
    named = by_name(target)
    kind = protocol or ("tcp" if (named.port if named is not None else ":" in target) else "icmp")
    client, node = _ends(cluster, source)
    before = Snapshot.of(node) if node is not None else None
    if kind == "tcp":
        flow = cluster.tcp(source, target, close=False)
    elif kind == "udp":
        flow = cluster.udp(source, target, CONTENTS)
    else:
        flow = cluster.ping(source, target if named is not None else target.partition(":")[0])
    there, back = _parts(flow)
    chosen = _endpoints(client, node, before, flow, kind)
    outcome = flow.outcome
    sender = next((ip4_text(a.addr) for a in flow.client.addresses if a.device.name != "lo"), "")
    head = f"{kind} {flow.source} ({sender}) -> {flow.target.name} ({flow.target})"
    arp = arp or any(loss.reason in _OF_NEIGHBOURS for loss in flow.losses) or outcome.detail == "host-unreachable"
    ways = [walk(part) for part in (there, back)]
    texts = [_road(part, detail, arp=arp) for part in (there, back)]
    end = f"{outcome.word} ({outcome.detail})" if outcome.detail else outcome.word
    where = flow.at or outcome.place
    end += (f" at {where}" if where else "") + (f" by {outcome.by}" if outcome.by else "")
    parts = [
        head,
        *([] if flow.resolved is None else ["", "looked up:", *(f"  {each}" for each in flow.resolved.asked)]),
        "",
        "possible endpoints:",
        _chosen(chosen, flow),
        "",
        "there:",
        texts[0] or "  nothing was sent",
        "",
        "back:",
        texts[1] or "  no answer",
        "",
        f"outcome: {end}",
    ]
    data: dict[str, Any] = {
        "protocol": kind,
        "source": flow.source,
        "sourceAddress": sender,
        "target": flow.target.name,
        "targetAddress": str(flow.target),
        "endpoints": chosen.data,
        "there": ways[0].data,
        "back": ways[1].data,
        "outcome": outcome.word,
        "detail": outcome.detail,
        "place": outcome.place,
        "by": outcome.by,
        "at": flow.at,
        "warnings": list(cluster.warnings),
    }
    if flow.resolved is not None:
        data["resolved"] = flow.resolved.data
    if flow.forbidden:
        forbidden = flow.forbidden[0]
        data["policy"] = {
            "direction": forbidden.way, "pod": forbidden.pod, "reason": forbidden.reason,
            "policies": list(forbidden.policies), "rule": forbidden.rule,
        }  # fmt: skip
        parts.append(f"policy: the {forbidden.way} of {forbidden.pod} forbids it: {forbidden.reason}")
    return Trace(flow, Report(data, "\n".join(parts)))


def _chosen(found: Report, flow: Flow) -> str:
    """The possible endpoints. None where a rule ends a packet that no rule rewrites; where the rules of the sender's node decide nothing,
    the one that was chosen on the way."""
    after = [each.after for each in flow.translations if each.kind == "DNAT"]
    if not after and flow.outcome.word in ("rejected", "dropped") and flow.outcome.by.startswith("-"):
        return f"  none: {flow.outcome.by}"
    if not found.text and after:
        return f"  {address(after[-1])}, chosen on the way"
    return found.text or "  none"


def _road(frames: Sequence[Captured], detail: str, *, arp: bool) -> str:
    """The hops as text. Without `arp` the frames that only ask for neighbours are counted."""
    shown = [each for each in frames if arp or _is_packet(each)]
    text = walk(shown, facts=detail != "minimal", sentences_only=detail == "summary").text
    left = len(frames) - len(shown)
    if left and shown:
        text = f"  {left} frame{'s' * (left != 1)} of ARP are left out (--arp shows them)\n{text}"
    return text


def _is_packet(frame: Captured) -> bool:
    return is_ipv4(frame.data)


def _parts(flow: Flow) -> tuple[list[Captured], list[Captured]]:
    """The hops of the first packet, and those of its answer. Retransmissions look the same and are left out."""
    frames = list(_first_time(frame for frame in flow.frames if frame.hop > flow.look_up_frames))
    packets = [n for n, frame in enumerate(frames) if _is_packet(frame)]
    mine = [n for n in packets if frames[n].direction != "drop"]
    if not mine:
        return frames, []
    if packets[0] != mine[0]:  # it was dropped where it was sent, and the sender got an error
        return frames[: mine[0]], frames[mine[0] : mine[0] + 1]
    own = frames[mine[0]].place
    if own.device_name == "lo":  # lo shows a packet once, as it comes in
        back = mine[1] if len(mine) > 1 else len(frames)
        return frames[:back], frames[back : back + 1]
    came = next((n for n in mine if frames[n].place is own and frames[n].direction == "in"), None)
    if came is None:
        return frames, []
    born = _born(frames, came)
    return frames[:born], frames[born : came + 1]


def _first_time(frames: Iterable[Captured]) -> Iterator[Captured]:
    seen: set[tuple[str, str, str]] = set()
    for frame in frames:
        key = frame.interface, frame.way, frame.line()
        if not _is_packet(frame) or key not in seen:
            seen.add(key)
            yield frame


def _born(frames: list[Captured], came: int) -> int:
    """Where the answer that came begins: the first packet with what no hop rewrites in it."""
    answer = carried(frames[came].data)
    return next(n for n, frame in enumerate(frames) if _is_packet(frame) and carried(frame.data) == answer)


def _ends(cluster: Places, source: str) -> tuple[Netns, Netns | None]:
    """The sender's namespace, and that of its node (None outside). Raises InputError."""
    name = sources(cluster, source)[0]
    pod = cluster.pods.get(name)
    node = pod.node if pod is not None else cluster.nodes.get(name)
    client = pod.net if pod is not None else cluster.namespaces[name]
    return client, node.net if node is not None else None


def _endpoints(client: Netns, node: Netns | None, before: Snapshot | None, flow: Flow, kind: str) -> Report:
    """What the rules of the sender's node, as they were `before` the flow, may make of the packet as the sender meant it."""
    target = flow.target
    if node is None or before is None or not target.addr or target.addr >> 24 == LOOPBACK:
        return Report([], "")
    route, source, _ = route_output(client, target.addr)
    if route is None:
        return Report([], "")
    device = ""
    if client is not node:
        towards = node.ipv4.fib.lookup(source)
        if towards is None or towards.device is None:
            return Report([], "")
        device = towards.device.name
    probe = Probe(PROTOCOLS[kind], source, target.addr, CLIENT_PORT, target.port, device)
    return endpoints_report(endpoints(before, probe))
