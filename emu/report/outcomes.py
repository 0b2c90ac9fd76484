"""What may become of one packet: it is sent once for each way in which the `statistic` matches on its path, and routes with
several next hops, may decide.

Each try sends the packet through a namespace of its own (a `Site` builds it): raw, conntrack, mangle, nat, routes, filter,
and the answer back. Nothing is drawn: at each match both answers are followed, and the probabilities multiplied. The only
engine for that: `emu trace --rules` and the endpoints of `emu trace -f` both use it. Must not know how outcomes are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel.link.edge import Sent
from emu.kernel.net import ip_output, multipath
from emu.kernel.net.netns import Netns
from emu.report.edge import FAR_MAC, NEAR_MAC
from emu.wire import icmp, tcp, templates, udp
from emu.wire.frame import HOST, ICMP, IP_DF, TCP, UDP, Frame
from emu.wire.rewrite import set_ethernet
from emu.wire.tcp import ACK, PSH, SYN

MAX_OUTCOMES = 4096
STATES = ("new", "established")
LEAVES, DELIVERED, REJECTED, DROPPED, UNDECIDED, ERROR = (
    "leaves", "delivered", "rejected", "dropped", "undecided", "error",
)  # fmt: skip
UNANSWERED_NS = 4 * SECOND  # a neighbour that does not answer has failed by then, by the sysctls' defaults
MSS = b"\x02\x04\x05\xb4"
HEADER = NEAR_MAC + FAR_MAC + b"\x08\x00"


class Site(Protocol):
    """A namespace that can be built any number of times, each time as it is before the packet comes."""

    def build(self) -> tuple[Netns, Sent]:
        """The namespace, and the list of what leaves it. Raises InputError."""
        ...


@dataclass(frozen=True)
class Probe:
    """The packet: addresses and ports as ints, `device` where it comes in ("": the node sends it itself). For ICMP
    `sport` is the echo id. `uid`, `gid`: the owner of the socket, where the node sends it."""

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
    """The socket of a local packet, with the fields that rules and neighbours read."""

    __slots__ = ("confirm_neighbour", "gid", "uid", "waiting")

    def __init__(self, uid: int, gid: int) -> None:
        self.uid, self.gid = uid, gid
        self.confirm_neighbour = False
        self.waiting = 0


@dataclass
class Trace:
    """One packet's way: where it came in ("": it is the node's own), what was decided (`trail`), and how it ended.

    `frame` is the packet as it ended, `began` its (src, sport, dst, dport) at first. `counted` is what the rules had
    counted by then, packets that the node itself sent about this one (a reset, an ICMP error) included.
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
class Outcome:
    """One possible outcome with its probability: the packet's trace, and the answer's (None where none is sent, or where
    it takes another way: `past` is why)."""

    probability: float
    there: Trace
    back: Trace | None = None
    past: str = ""


class Branches:
    """The script of a random source (`clock.Script`): the given answers first, then yes wherever that is possible."""

    def __init__(self, given: tuple[bool, ...]) -> None:
        self.given = given
        self.answers: list[bool] = []
        self.shares: list[float] = []
        self.probability = 1.0

    def number(self) -> int | None:
        return None

    def below(self, threshold: int, bits: int) -> bool:
        share, at = threshold / (1 << bits), len(self.answers)
        answer = self.given[at] if at < len(self.given) else share > 0
        self.answers.append(answer)
        self.shares.append(share)
        self.probability *= share if answer else 1 - share
        return answer

    def others(self) -> list[tuple[bool, ...]]:
        """The scripts that part from this one at an answer that was not given."""
        return [
            (*self.answers[:at], not self.answers[at])
            for at in range(len(self.given), len(self.answers))
            if 0 < self.shares[at] < 1
        ]


def outcomes(site: Site, probe: Probe, *, answer: bool = True) -> Iterator[Outcome]:
    """Every outcome of the packet, in the order of the rules; without `answer` the way back is left out. Raises
    InputError."""
    scripts: list[tuple[bool, ...]] = [()]
    for _ in range(MAX_OUTCOMES):
        if not scripts:
            return
        branches = Branches(scripts.pop())
        outcome = _send(site, probe, branches, answer)
        outcome.probability = branches.probability
        yield outcome
        scripts += branches.others()


def _send(site: Site, probe: Probe, branches: Branches, answer: bool) -> Outcome:
    net, sent = site.build()
    net.random("statistic").script = branches
    net.random(multipath.PURPOSE).script = branches
    walk = _Walk(net, sent, probe)
    first = walk.there(SYN, 1, 0)
    if probe.state == "new":
        return Outcome(0.0, first, walk.back(first, SYN | ACK, 1, 2) if answer else None)
    back = walk.back(first, SYN | ACK, 1, 2)
    if back is None:
        return Outcome(0.0, first)
    if probe.proto == TCP:
        walk.there(ACK, 2, 2)
    later = walk.there(ACK | PSH, 2, 2)
    return Outcome(0.0, later, walk.back(later, ACK, 2, 2) if answer else None)


class _Walk:
    """The packets of one connection through one namespace, and what becomes of each."""

    def __init__(self, net: Netns, sent: Sent, probe: Probe) -> None:
        self.net, self.sent, self.probe = net, sent, probe
        self.dropped: list[tuple[Frame, str]] = []
        self.arrived: list[Frame] = []
        net.drop_listeners.append(lambda frame, fact: self.dropped.append((frame, fact.reason)))
        for proto in range(256):
            net.ipv4.protocols[proto] = lambda frame, here: self.arrived.append(frame)

    def there(self, flags: int, seq: int, ack: int) -> Trace:
        probe = self.probe
        frame = packet(probe.proto, (probe.src, probe.sport), (probe.dst, probe.dport), flags, seq, ack)
        return self._send(frame, probe.device, Sender(probe.uid, probe.gid), probe.mark)

    def back(self, trace: Trace, flags: int, seq: int, ack: int) -> Trace | None:
        """The answer to a packet that arrived; None if it did not."""
        if trace.word not in (LEAVES, DELIVERED):
            return None
        got = trace.frame
        ports = (got.sport, got.sport) if got.proto == ICMP else (got.dport, got.sport)
        frame = packet(got.proto, (got.dst, ports[0]), (got.src, ports[1]), flags, seq, ack, reply=True)
        return self._send(frame, trace.device if trace.word == LEAVES else "", Sender(0, 0), 0)

    def _send(self, frame: Frame, device: str, sock: Sender, mark: int) -> Trace:
        net = self.net
        del self.sent[:], self.dropped[:], self.arrived[:]
        frame.mark = mark
        trace = Trace(device, (frame.src, frame.sport, frame.dst, 0 if frame.proto == ICMP else frame.dport), frame)
        if device:
            frame.pkt_type = HOST
            net.device(device).receive(frame)
        else:
            frame.sock = sock
            ports = (0, 0) if frame.proto == ICMP else (frame.sport, frame.dport)
            flow = ip_output.flow(net, frame.proto, *ports, frame.tos, sock.uid)
            route, _source, error = ip_output.route_output(net, frame.dst, frame.src, frame.mark, flow=flow)
            if route is None:
                trace.word, trace.detail = (UNDECIDED, "") if error == "UNDECIDED" else (ERROR, error)
                trace.by = net.ipv4.lookup_output(frame.dst, frame.src, frame.mark, None, flow)
                return trace
            frame.route = route
            ip_output.local_out(net, frame)
        net.clock.drain()
        if not (self.sent or self.dropped or self.arrived):  # it waits for a neighbour
            net.clock.run_until(net.clock.now + UNANSWERED_NS)
        self._judge(trace)
        return trace

    def _judge(self, trace: Trace) -> None:
        frame = trace.frame
        trace.trail = list(frame.trail or ())
        trace.counted = {rule: counter[0] for rule, counter in self.net.ipv4.tables.counters.items()}
        out = next((port for _, port, each in self.sent if each is frame), None)
        reason = next((why for each, why in self.dropped if each is frame), "")
        if out is not None:
            trace.word, trace.device = LEAVES, out.name
        elif frame in self.arrived:
            trace.word = DELIVERED
        elif reason:
            last = trace.trail[-1] if trace.trail else None
            trace.by = getattr(last, "by", None)
            trace.word = UNDECIDED if reason == "UNDECIDED" else DROPPED
            trace.detail = "" if reason == "UNDECIDED" else reason
            answers = [each for each in (*(each for _, _, each in self.sent), *self.arrived) if each is not frame]
            if answers and trace.word == DROPPED:
                trace.word, trace.detail = REJECTED, rejection(answers[0])
        else:
            trace.word, trace.detail = DROPPED, "IP_FRAGMENTED"


def rejection(frame: Frame) -> str:
    """The answer that a rejected packet gets: `tcp-reset`, or the ICMP error's name."""
    if frame.proto == TCP:
        return "tcp-reset"
    kind, code = frame.dport >> 8, frame.dport & 255
    return f"icmp {icmp.ERROR_NAMES.get((kind, code)) or f'type {kind}, code {code}'}"


def packet(
    proto: int, source: tuple[int, int], target: tuple[int, int], flags: int, seq: int, ack: int, *, reply: bool = False
) -> Frame:
    """A whole frame, from (address, port) to (address, port), without contents. For ICMP an echo request, or its
    `reply`, with the source's port for its id. Raises InputError for another protocol."""
    (src, sport), (dst, dport) = source, target
    trail: list[Any] = []
    if proto == TCP:
        built = tcp.build(
            templates.TCP, src, dst, sport, dport, seq=seq, ack=ack, flags=flags, window=64240,
            options=MSS if flags & SYN else b"", payload=b"", ident=1, ttl=64, tos=0, flow=1, trail=trail,
        )  # fmt: skip
    elif proto == UDP:
        built = udp.build(
            templates.UDP, src, dst, sport, dport, b"", ident=1, frag=IP_DF, ttl=64, tos=0, flow=1, trail=trail
        )
    elif proto == ICMP:
        kind = icmp.ECHO_REPLY if reply else icmp.ECHO
        built = icmp.build(
            templates.ECHO_REQUEST, src, dst, kind, 0, sport << 16 | 1, b"",
            ident=1, frag=IP_DF, ttl=64, tos=0, flow=1, trail=trail,
        )  # fmt: skip
    else:
        raise InputError(f"protocol {proto} is not sent by emu trace", expected="tcp, udp or icmp")
    set_ethernet(built, HEADER, NEAR_MAC, FAR_MAC)
    return built
