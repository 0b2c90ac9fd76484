"""One packet there and its answer back: the possible endpoints, then every hop with what was decided.

Must not know commands. The packet is really sent: its walk is read from the captures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emu.report import Report
from emu.report.chances import chances
from emu.report.chances import report as chances_report
from emu.report.walk import walk
from emu.wire.addr import ip4_text
from emu.wire.frame import ETH_P_IP, Frame

if TYPE_CHECKING:
    from emu.capture.capture import Captured
    from emu.capture.interface import Interface
    from emu.kube.cluster import Cluster
    from emu.kube.flow import Flow

LO_HOPS = 2  # one frame on lo is seen twice, out and in
PROBE = b"emu trace"


@dataclass(frozen=True)
class Trace:
    """The flow that was sent, and what to show of it."""

    flow: Flow
    report: Report


def trace(cluster: Cluster, source: str, target: str, protocol: str = "") -> Trace:
    """Send one packet; `protocol` is tcp, udp, icmp or "" (tcp if the target has a port). Raises InputError."""
    kind = protocol or ("tcp" if ":" in target else "icmp")
    if kind == "tcp":
        flow = cluster.tcp(source, target, close=False)
    elif kind == "udp":
        flow = cluster.udp(source, target, PROBE)
    else:
        flow = cluster.ping(source, target.partition(":")[0])
    there, back = _parts(flow)
    endpoints = _endpoints(cluster, flow, there)
    outcome = flow.outcome
    sender = next((ip4_text(a.addr) for a in flow.client.addresses if a.device.name != "lo"), "")
    head = f"{kind} {flow.source} ({sender}) -> {flow.target.name} ({flow.target})"
    ways = walk(there), walk(back)
    end = " ".join(
        part
        for part in (str(outcome), f"at {flow.at}" if flow.at else "", f"by {outcome.by}" if outcome.by else "")
        if part
    )
    parts = [
        head,
        "",
        "possible endpoints:",
        endpoints.text or "  none",
        "",
        "there:",
        ways[0].text or "  nothing was sent",
        "",
        "back:",
        ways[1].text or "  no answer",
        "",
        f"outcome: {end}",
    ]
    data: dict[str, Any] = {
        "protocol": kind,
        "source": flow.source,
        "sourceAddress": sender,
        "target": flow.target.name,
        "targetAddress": str(flow.target),
        "endpoints": endpoints.data,
        "there": ways[0].data,
        "back": ways[1].data,
        "outcome": outcome.word,
        "detail": outcome.detail,
        "place": outcome.place,
        "by": outcome.by,
        "at": flow.at,
    }
    return Trace(flow, Report(data, "\n".join(parts)))


def _is_packet(frame: Captured) -> bool:
    return frame.data[12:14] == ETH_P_IP.to_bytes(2, "big")


def _parts(flow: Flow) -> tuple[list[Captured], list[Captured]]:
    """The hops of the first packet, and those of its answer; later packets of the flow are left out."""
    frames = flow.frames
    sent = [n for n, frame in enumerate(frames) if frame.direction == "out" and _is_packet(frame)]
    if not sent:
        return frames, []
    own = frames[sent[0]].place
    came = next(
        (n for n, f in enumerate(frames) if f.place is own and f.direction == "in" and _is_answer(f, own)), None
    )
    if came is None:  # what the sender sends again is no news; what dies later is
        again = next((n for n in sent[1:] if frames[n].place is own), len(frames))
        return [frame for n, frame in enumerate(frames) if n < again or frame.direction == "drop"], []
    born = _born(frames, came)
    return frames[:born], frames[born : came + 1]


def _is_answer(frame: Captured, own: Interface) -> bool:
    """A packet for the sender; on lo that is one whose ports came back exchanged, which only the second frame can be."""
    return _is_packet(frame) and (own.device_name != "lo" or frame.hop > LO_HOPS)


def _born(frames: list[Captured], came: int) -> int:
    """Where the answer that came begins: the first packet sent with what it carries behind the addresses and ports."""
    answer = frames[came].data
    return next(
        n for n, f in enumerate(frames[: came + 1]) if _is_packet(f) and n and _carries(f.data) == _carries(answer)
    )


def _carries(data: bytes) -> bytes:
    """What no hop rewrites: protocol and IP id, and what follows the ports and sequence numbers' place."""
    return data[18:20] + data[23:24] + data[38:50] + data[54:]


def _endpoints(cluster: Cluster, flow: Flow, there: list[Captured]) -> Report:
    first = next((f for f in there if _is_packet(f) and f.direction == "out"), None)
    pod = cluster.pods.get(flow.source)
    node = pod.node if pod is not None else cluster.nodes.get(flow.source)
    if first is None or node is None:
        return Report([], "")
    local = pod is None or pod.host_network
    frame = Frame.parse(first.data)
    route = node.net.fib.lookup(frame.dst if local else frame.src)
    device = route.device if route is not None else None
    if local:
        frame.outdev = device
    else:
        frame.indev = device
    return chances_report(chances(node.net, frame, local=local))
