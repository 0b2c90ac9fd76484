"""What became of recorded packets: a value for each, and the tally of all. Must not know how packets are sent or shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from emu.kube.flow.replay.recorded import Recorded
from emu.trail import Dropped
from emu.wire.addr import ip4_text
from emu.wire.frame import ICMP, Frame

SAME, REWRITTEN, DROPPED, MISSING, NOT_SENT = "same", "rewritten", "dropped", "missing", "not sent"
VERDICTS = (SAME, REWRITTEN, DROPPED, MISSING, NOT_SENT)
THERE, BACK = "->", "<-"
Half = tuple[int, int]  # address and port


class Change(NamedTuple):
    """A field that the network rewrote."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name} {self.before} -> {self.after}"


@dataclass(slots=True, eq=False)
class Paired:
    """A recorded packet, and what became of it. `at` is where it arrived or was dropped; `why` what decided that; `differences` are
    what the recording does not have (a status of 1), `notes` what is no difference. `flow`: 0 for a packet of none."""

    number: int
    time_ns: int
    words: str
    way: str = THERE
    flow: int = 0
    verdict: str = ""
    at: str = ""
    why: str = ""
    changes: tuple[Change, ...] = ()
    ttl: int = 0
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def not_sent(self, why: str, *, difference: bool = False) -> Paired:
        self.verdict, self.why = NOT_SENT, why
        if difference:
            self.differences.append(f"not sent: {why}")
        return self

    def dropped(self, loss: Dropped, by: str) -> Paired:
        self.verdict, self.at = DROPPED, loss.place
        self.why = f"{loss.reason}, {by}" if by else loss.reason
        self.differences.append(f"dropped at {loss.place} ({loss.reason})")
        return self

    def missing(self, what: str) -> Paired:
        self.verdict, self.why = MISSING, what
        self.differences.append(what)
        return self

    def arrived(self, frame: Frame, at: str, sent: tuple[Half, Half]) -> Paired:
        """It arrived; `sent` are source and destination as they were sent."""
        self.at, self.ttl = at, frame.ttl
        source, target = sent
        port = frame.dport
        if frame.proto == ICMP:  # the id goes with the source
            source, target, port = (source[0], source[1] or target[1]), (target[0], 0), 0
        found = []
        for name, before, after in (("src", source, (frame.src, frame.sport)), ("dst", target, (frame.dst, port))):
            if before != after:
                found.append(Change(name, half_text(before), half_text(after)))
        self.changes = tuple(found)
        self.verdict = REWRITTEN if found else SAME
        return self


def half_text(half: Half) -> str:
    """`10.0.0.1:80`, or without a port the address."""
    return f"{ip4_text(half[0])}:{half[1]}" if half[1] else ip4_text(half[0])


def paired(recorded: Recorded, flow: int = 0, way: str = THERE) -> Paired:
    """A packet of which nothing is known yet."""
    made = Paired(recorded.number, recorded.time_ns, recorded.words, way, flow)
    if recorded.filled:
        made.notes.append(f"{recorded.filled} bytes that the file lacks are zeros")
    if recorded.tags:
        made.notes.append(f"VLAN {', '.join(str(tag & 0xFFF) for tag in recorded.tags)} taken off")
    return made


@dataclass(slots=True)
class FlowResult:
    """A recorded flow when it is over."""

    number: int
    kind: str
    client: str
    server: str
    recorded: str
    outcome: str
    at: str
    nat: str
    counts: Counter[str]
    payload: tuple[int, int]
    differences: list[str]
    undecided: str = ""


class Sink(Protocol):
    """Who wants to know."""

    def packet(self, found: Paired) -> None: ...
    def flow(self, found: FlowResult) -> None: ...
