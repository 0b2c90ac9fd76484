"""What may become of one packet on a real node: it is sent once for each way the rules' lots may fall.

Each try walks a namespace without a past (`node.py`): raw, conntrack, mangle, nat, routes, filter, and the answer back.
Lots are not drawn: at each one both ways are followed, and the probabilities multiplied. Must not know how a fate is
shown.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from emu.errors import InputError
from emu.kernel.link.device import Device
from emu.kernel.net import ip_output
from emu.kernel.net.netns import Netns
from emu.report.node import Edge, Node, Sent
from emu.wire.addr import ip4_text
from emu.wire.checksum import checksum
from emu.wire.frame import HOST, ICMP, TCP, UDP, Frame

MAX_FATES = 4096
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
ECHO_REQUEST, ECHO_REPLY = 8 << 8, 0
STATES = ("new", "established")
LEAVES, DELIVERED, REJECTED, DROPPED, UNDECIDED, ERROR = (
    "leaves", "delivered", "rejected", "dropped", "undecided", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """The packet: addresses and ports as ints, `device` by which it comes in ("": the node's own). For ICMP `sport` is
    the echo id. `uid`, `gid`: whose socket sent it, where it is the node's own."""

    proto: int
    src: int
    dst: int
    sport: int
    dport: int
    device: str = ""
    state: str = "new"
    mark: int = 0
    uid: int = 0
    gid: int = 0


class Sender:
    """The socket of a local packet, as far as rules and neighbours ask."""

    __slots__ = ("confirm_neighbour", "gid", "uid", "waiting")

    def __init__(self, uid: int, gid: int) -> None:
        self.uid, self.gid = uid, gid
        self.confirm_neighbour = False
        self.waiting = 0


@dataclass
class Leg:
    """One packet's way: where it came in ("" from here), what was decided (`trail`), and how it ended.

    `frame` is the packet as it ended, `began` its (src, sport, dst, dport) at first. `counted` is what the rules had
    counted by then, packets of the node's own about this one (a reset, an ICMP error) included.
    """

    entered: str
    began: tuple[int, int, int, int]
    frame: Frame
    word: str = ""
    detail: str = ""
    device: str = ""
    by: Any = None
    trail: list[Any] = field(default_factory=list)
    counted: dict[Any, int] = field(default_factory=dict)

    @property
    def ended(self) -> tuple[int, int, int, int]:
        frame = self.frame
        return frame.src, frame.sport, frame.dst, 0 if frame.proto == ICMP else frame.dport


@dataclass
class Fate:
    """One way that the lots may fall, with its probability; `back` is the answer's way, None where none is sent."""

    probability: float
    there: Leg
    back: Leg | None = None


class _Lots:
    """The script of the source "statistic": it decides each draw, and keeps its probability. Unscripted lots win first."""

    def __init__(self, script: tuple[bool, ...]) -> None:
        self.script = script
        self.taken: list[bool] = []
        self.shares: list[float] = []
        self.probability = 1.0

    def number(self) -> None:
        return None

    def below(self, threshold: int, bits: int) -> bool:
        share = threshold / (1 << bits)
        at = len(self.taken)
        won = self.script[at] if at < len(self.script) else share > 0
        self.taken.append(won)
        self.shares.append(share)
        self.probability *= share if won else 1 - share
        return won


def fates(node: Node, ask: Ask) -> Iterator[Fate]:
    """Every fate of the packet, the lots' winners first. Raises InputError."""
    scripts: list[tuple[bool, ...]] = [()]
    for _ in range(MAX_FATES):
        if not scripts:
            return
        script = scripts.pop()
        lots = _Lots(script)
        fate = _try(node, ask, lots)
        fate.probability = lots.probability
        yield fate
        others = [
            (*lots.taken[:at], not lots.taken[at])
            for at in range(len(script), len(lots.taken))
            if 0 < lots.shares[at] < 1
        ]
        scripts += others


def _try(node: Node, ask: Ask, lots: _Lots) -> Fate:
    net, sent = node.build()
    net.random("statistic").script = lots
    walk = _Walk(net, sent, ask)
    first = walk.there(SYN, 1, 0)
    if ask.state == "new":
        return Fate(0.0, first, walk.back(first, SYN | ACK, 1, 2))
    back = walk.back(first, SYN | ACK, 1, 2)
    if back is None:
        return Fate(0.0, first, back)
    if ask.proto == TCP:
        walk.there(ACK, 2, 2)
    later = walk.there(ACK | PSH, 2, 2)
    return Fate(0.0, later, walk.back(later, ACK, 2, 2))


class _Walk:
    """Packets of one connection through one namespace, and what becomes of each."""

    def __init__(self, net: Netns, sent: Sent, ask: Ask) -> None:
        self.net, self.sent, self.ask = net, sent, ask
        self.dropped: list[tuple[Frame, str]] = []
        self.arrived: list[Frame] = []
        net.drop_tap = lambda frame, reason, place: self.dropped.append((frame, reason))
        for proto in range(256):
            net.ipv4.protocols[proto] = lambda frame, here: self.arrived.append(frame)

    def there(self, flags: int, seq: int, ack: int) -> Leg:
        ask = self.ask
        port = ECHO_REQUEST if ask.proto == ICMP else ask.dport
        data = _packet(ask.proto, ask.src, ask.dst, ask.sport, port, flags, seq, ack)
        return self._send(data, ask.device, Sender(ask.uid, ask.gid), ask.mark)

    def back(self, leg: Leg, flags: int, seq: int, ack: int) -> Leg | None:
        """The answer of whoever got the packet; None if nobody did."""
        if leg.word not in (LEAVES, DELIVERED):
            return None
        got = leg.frame
        port = ECHO_REPLY if got.proto == ICMP else got.sport
        data = _packet(
            got.proto, got.dst, got.src, got.sport if got.proto == ICMP else got.dport, port, flags, seq, ack
        )
        return self._send(data, leg.device if leg.word == LEAVES else "", Sender(0, 0), 0)

    def _send(self, data: bytes, device: str, sock: Sender, mark: int) -> Leg:
        net = self.net
        del self.sent[:], self.dropped[:], self.arrived[:]
        frame = Frame.parse(data, 1, [])
        frame.valid, frame.mark = True, mark
        leg = Leg(device, (frame.src, frame.sport, frame.dst, 0 if frame.proto == ICMP else frame.dport), frame)
        if device:
            port = net.device(device)
            frame.pkt_type = HOST
            port.receive(frame)
        else:
            frame.sock = sock
            route, _source, error = ip_output.route_output(net, frame.dst, frame.src, frame.mark)
            if route is None:
                leg.word, leg.detail = ERROR, error
                return leg
            frame.route = route
            ip_output.local_out(net, frame)
        net.clock.drain()
        self._judge(leg)
        return leg

    def _judge(self, leg: Leg) -> None:
        frame = leg.frame
        leg.trail = list(frame.trail or ())
        leg.counted = {rule: counter[0] for rule, counter in self.net.ipv4.tables.counters.items()}
        out = next((port for port, each in self.sent if each is frame), None)
        reason = next((why for each, why in self.dropped if each is frame), "")
        if out is not None:
            leg.word, leg.device = LEAVES, out.name
        elif frame in self.arrived:
            leg.word = DELIVERED
        elif reason:
            last = leg.trail[-1] if leg.trail else None
            leg.by = getattr(last, "by", None)
            leg.word = UNDECIDED if reason == "UNDECIDED" else DROPPED
            leg.detail = "" if reason == "UNDECIDED" else reason
            answers = [(port, each) for port, each in self.sent if each is not frame]
            answers += [(port, each) for each in self.arrived if each is not frame for port in (net_lo(self.net),)]
            if answers and leg.word == DROPPED:
                leg.word, leg.detail = REJECTED, told_answer(answers[0][1])
        else:
            leg.word, leg.detail = DROPPED, "IP_FRAGMENTED"


def net_lo(net: Netns) -> Device:
    return net.device("lo")


CODES = {0: "net-unreachable", 1: "host-unreachable", 2: "proto-unreachable", 3: "port-unreachable", 4: "frag-needed",
         9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited"}  # fmt: skip


def told_answer(frame: Frame) -> str:
    """The answer that a refusal sends, in a word or two."""
    if frame.proto == TCP:
        return "tcp-reset"
    kind, code = frame.dport >> 8, frame.dport & 255
    if kind == 3:
        return f"icmp {CODES.get(code, f'unreachable, code {code}')}"
    return "icmp ttl-exceeded" if kind == 11 else f"icmp type {kind}"


def _packet(proto: int, src: int, dst: int, sport: int, dport: int, flags: int, seq: int, ack: int) -> bytes:
    """A whole frame with the least that the protocol has; for ICMP `dport` is type and code, `sport` the id."""
    if proto == TCP:
        options = b"\x02\x04\x05\xb4" if flags & SYN else b""
        words = (sport, dport, seq, ack, (20 + len(options)) // 4 << 12 | flags, 64240, 0, 0)
        body, at = struct.pack("!HHIIHHHH", *words) + options, 16
    elif proto == UDP:
        body, at = struct.pack("!HHHH", sport, dport, 8, 0), 6
    elif proto == ICMP:
        body, at = struct.pack("!HHHH", dport, 0, sport, 1), 2
    else:
        raise InputError(f"protocol {proto} is not sent by emu trace", expected="tcp, udp or icmp")
    pseudo = b"" if proto == ICMP else struct.pack("!IIBBH", src, dst, 0, proto, len(body))
    body = body[:at] + checksum(pseudo + body).to_bytes(2, "big") + body[at + 2 :]
    head = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(body), 1, 0x4000, 64, proto, 0, src, dst)
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    return b"\x02\xee\0\0\0\x02" + b"\x02\xee\0\0\0\x01" + b"\x08\x00" + head + body


def usable(node: Node, ask: Ask) -> Ask:
    """The question with what it left open filled in; every guess is said in the node's `assumed`. Raises InputError."""
    net, _sent = node.build()
    device = ask.device
    if not device and not net.ipv4.is_local(ask.src):
        route = net.ipv4.fib.lookup(ask.src)
        if route is None or not isinstance(route.device, Edge):
            raise InputError(f"no route leads to {ip4_text(ask.src)}", expected="--in-iface NAME, or --routes FILE")
        device = route.device.name
        node.assume(f"the packet comes in by {device}: a route leads there to {ip4_text(ask.src)}")
    if device:
        if device not in node.links:
            node.link(device)
            node.assume(f"there is an interface {device}")
            net, _sent = node.build()
        way = net.ipv4.fib.lookup(ask.src)
        if way is None or way.device is not net.device(device):
            if not node.routes_given:
                node.extra.append({"dst": ip4_text(ask.src), "dev": device, "scope": "link"})
                node.assume(f"{ip4_text(ask.src)} is behind {device}: no route says so")
    return Ask(ask.proto, ask.src, ask.dst, ask.sport, ask.dport, device, ask.state, ask.mark, ask.uid, ask.gid)
