"""One packet there and its answer back: the possible endpoints, then every hop with what was decided.

Must not know commands. The packet is really sent: its walk is read from the captures.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emu import craft
from emu.kernel.net.ip_output import route_output
from emu.kube.flow.ends import by_name
from emu.report import Report
from emu.report.chances import chances
from emu.report.chances import report as chances_report
from emu.report.walk import walk
from emu.wire.addr import ip4_text
from emu.wire.frame import ETH_P_IP, Frame

if TYPE_CHECKING:
    from emu.capture.capture import Captured
    from emu.kube.cluster import Cluster
    from emu.kube.flow.flow import Flow

PROBE = b"emu trace"
CLIENT_PORT, LOOPBACK = 40000, 127
_IP_TYPE = ETH_P_IP.to_bytes(2, "big")


@dataclass(frozen=True)
class Trace:
    """The flow that was sent, and what to show of it."""

    flow: Flow
    report: Report


def trace(cluster: Cluster, source: str, target: str, protocol: str = "", *, detail: str = "detailed") -> Trace:
    """Send one packet; `protocol` is tcp, udp, icmp or "" (tcp if the target has a port). Raises InputError.

    `detail` of the text: minimal shows a line a hop, summary its sentence too, detailed its facts as well.
    """
    named = by_name(target)
    kind = protocol or ("tcp" if (named.port if named is not None else ":" in target) else "icmp")
    if kind == "tcp":
        flow = cluster.tcp(source, target, close=False)
    elif kind == "udp":
        flow = cluster.udp(source, target, PROBE)
    else:
        flow = cluster.ping(source, target if named is not None else target.partition(":")[0])
    there, back = _parts(flow)
    endpoints = _endpoints(cluster, flow, kind)
    outcome = flow.outcome
    sender = next((ip4_text(a.addr) for a in flow.client.ipv4.addresses if a.device.name != "lo"), "")
    head = f"{kind} {flow.source} ({sender}) -> {flow.target.name} ({flow.target})"
    ways = [walk(part, facts=detail != "minimal", sentences_only=detail == "summary") for part in (there, back)]
    end = f"{outcome.word} ({outcome.detail})" if outcome.detail else outcome.word
    where = flow.at or outcome.place
    end += (f" at {where}" if where else "") + (f" by {outcome.by}" if outcome.by else "")
    parts = [
        head,
        *([] if flow.resolved is None else ["", "looked up:", *(f"  {each}" for each in flow.resolved.asked)]),
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
    if flow.resolved is not None:
        data["resolved"] = flow.resolved.data
    return Trace(flow, Report(data, "\n".join(parts)))


def _is_packet(frame: Captured) -> bool:
    return frame.data[12:14] == _IP_TYPE


def _parts(flow: Flow) -> tuple[list[Captured], list[Captured]]:
    """The hops of the first packet, and those of its answer. What is sent again looks as before and is left out."""
    frames = list(_first_time(frame for frame in flow.frames if frame.hop > flow.look_up_frames))
    packets = [n for n, frame in enumerate(frames) if _is_packet(frame)]
    mine = [n for n in packets if frames[n].direction != "drop"]
    if not mine:
        return frames, []
    if packets[0] != mine[0]:  # it died where it was born, and somebody there told the sender
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
    answer = _carries(frames[came].data)
    return next(n for n, frame in enumerate(frames) if _is_packet(frame) and _carries(frame.data) == answer)


def _carries(data: bytes) -> bytes:
    """IP id, protocol, and what follows addresses, ports and checksums: an id of 0 alone would not tell packets apart."""
    return data[18:20] + data[23:24] + data[38:50] + data[54:]


def _endpoints(cluster: Cluster, flow: Flow, kind: str) -> Report:
    """What the rules of the sender's node may make of the packet as the sender meant it."""
    pod = cluster.pods.get(flow.source)
    node = pod.node if pod is not None else cluster.nodes.get(flow.source)
    if node is None or not flow.target.addr or flow.target.addr >> 24 == LOOPBACK:
        return Report([], "")
    net, client = node.net, flow.client
    route, source, _ = route_output(client, flow.target.addr)
    if route is None:
        return Report([], "")
    frame = Frame.parse(_probe(kind, source, flow.target.addr, flow.target.port))
    local = client is net
    towards = net.ipv4.fib.lookup(frame.dst if local else frame.src)
    device = towards.device if towards is not None else None
    if local:
        frame.outdev = device
    else:
        frame.indev = device
    return chances_report(chances(net, frame, local=local))


def _probe(kind: str, src: int, dst: int, port: int) -> bytes:
    """A packet as rules see it: addresses, ports, no payload."""
    template = {"tcp": "tcp", "udp": "udp", "icmp": "echo_request"}[kind]
    bare = craft.template(template)
    ports = bare[34:38] if kind == "icmp" else struct.pack("!HH", CLIENT_PORT, port)
    return bare[:26] + struct.pack("!II", src, dst) + ports + bare[38:]
