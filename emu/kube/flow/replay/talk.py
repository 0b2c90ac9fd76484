"""A recorded flow while it is replayed: its two ends, its `Flow`, and what is known of it. Must not know how packets are sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import DELIVERED, Outcome, decided_by
from emu.kube.flow.replay.hosts import Stand
from emu.kube.flow.replay.paired import BACK, DROPPED, THERE, FlowResult, Half, Paired, half_text
from emu.wire.addr import ip4_text
from emu.wire.frame import ICMP, SCTP, TCP, UDP
from emu.wire.proto import PROTOCOL_NAMES

KINDS = {TCP: "tcp", UDP: "udp", ICMP: "ping", SCTP: "sctp"}
MOST_DIFFERENCES = 20  # of a flow, in words


def kind_of(proto: int) -> str:
    return KINDS.get(proto) or PROTOCOL_NAMES.get(proto, f"protocol {proto}")


@dataclass(slots=True, eq=False)
class Talk:
    """`client` and `server` are the recorded ends, (address, port); `sent` is what the client sends from and to, `seen` the same two
    as the server sees them (None: nothing has come). `refused`: the recorded server refused the connection, or never answered.
    """

    flow: Flow
    proto: int
    client: Half
    server: Half
    stands: tuple[Stand, Stand]
    report: Callable[[Paired], None]
    sent: tuple[Half, Half] = ((0, 0), (0, 0))
    seen: tuple[Half, Half] | None = None
    seen_at: str = ""
    last_ns: int = 0
    refused: bool = False
    over: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    equal: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def number(self) -> int:
        return self.flow.number

    def way_of(self, source: Half) -> str:
        """The direction of a recorded packet by its source."""
        return THERE if source == self.client else BACK

    def done(self, paired: Paired) -> None:
        """A packet's end is known."""
        self.counts[paired.verdict] += 1
        for what in paired.differences:
            self.differ(f"packet {paired.number}: {what}")
        self.report(paired)

    def payload(self, paired: Paired, recorded: bytes, arrived: bytes) -> None:
        """Compare what arrived with what was recorded."""
        self.compared += len(recorded)
        if recorded == arrived:
            self.equal += len(recorded)
            return
        same = sum(a == b for a, b in zip(recorded, arrived, strict=False))
        self.equal += same
        paired.differences.append(
            f"the payload differs: {len(recorded)} bytes recorded, {len(arrived)} arrived, {same} of them equal"
        )

    def differ(self, what: str) -> None:
        self.counts["differences"] += 1
        if len(self.differences) < MOST_DIFFERENCES:
            self.differences.append(what)

    def loss(self) -> tuple[str, str]:
        """The last drop of the flow: the place and reason, and what decided. ("", "") without one."""
        if not self.flow.losses:
            return "", ""
        last = self.flow.losses[-1]
        return f"{last.place} ({last.reason})", decided_by(last)

    def result(self, judge: Callable[[Flow], None], now_ns: int) -> FlowResult:
        """The flow is over."""
        flow = self.flow
        flow.ended_ns = now_ns
        if flow.outcome.word == "timeout" and flow.arrivals and not self.counts[DROPPED]:
            flow.outcome = DELIVERED
        judge(flow)
        outcome: Outcome = flow.outcome
        recorded = (
            f"{half_text(self.client)} > {half_text(self.server)}"
            if self.proto != ICMP
            else f"{ip4_text(self.client[0])} > {ip4_text(self.server[0])} id {self.client[1]}"
        )
        return FlowResult(
            flow.number, kind_of(self.proto), self.stands[0].name, self.stands[1].target.name, recorded, str(outcome),
            flow.at, flow.nat, self.counts, (self.equal, self.compared), self.differences,
            outcome.detail or "not modelled" if outcome.word == "undecided" else "",
        )  # fmt: skip
