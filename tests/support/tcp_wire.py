"""Two TCP endpoints joined by a tiny wire in memory, and the text of what passed, in the ladders' words."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from emu.kernel.transport.tcp import TcpConfig, TcpEndpoint
from emu.kernel.transport.tcp_options import Segment, options_bytes, reset_for
from emu.wire.tcp import ACK, FIN, PSH, RST, SYN

MS = 1_000_000
# as the namespaces of the ladders had it when they were recorded: Linux's maximum before 6.16
RECORDED_RMEM = (4096, 131072, 6291456)
DET = TcpConfig(timestamps=False, rmem=RECORDED_RMEM)
CLIENT_ISS, SERVER_ISS = 0xFFFFFFFD, 0x12345678  # one of them wraps soon


def flag_letters(segment: Segment) -> str:
    """As the ladders write them: "S", "SA", "A", "PA", "FA", "RA", "R"."""
    letters = ((FIN, "F"), (SYN, "S"), (RST, "R"), (PSH, "P"), (ACK, "A"))
    return "".join(letter for bit, letter in letters if segment.flags & bit)


@dataclass
class Wire:
    """Two endpoints and the text of what passed between them; a segment takes 10 us. `server` is born of the SYN."""

    config: TcpConfig = DET
    mss: int = 1460
    now: int = 0
    log: list[str] = field(default_factory=list)
    times: list[tuple[int, str]] = field(default_factory=list)
    listening: bool = True
    lose: Callable[[str, Segment], bool] = lambda side, segment: False
    server_mss: int | None = None
    client: TcpEndpoint = field(init=False)
    server: TcpEndpoint | None = None

    def connect(self) -> None:
        self.client, out = TcpEndpoint.connect(self.config, self.mss, CLIENT_ISS, self.now)
        self.send("c", out)

    def describe(self, side: str, segment: Segment) -> str:
        own, other = (CLIENT_ISS, SERVER_ISS) if side == "c" else (SERVER_ISS, CLIENT_ISS)
        seq = (segment.seq - own) & 0xFFFFFFFF if not (segment.flags & RST and segment.seq == 0) else 0
        ack = (segment.ack - other) & 0xFFFFFFFF if segment.ack else 0
        text = f"{side} [{flag_letters(segment)}] seq={seq} ack={ack} win={segment.window} len={len(segment.payload)}"
        options = options_bytes(replace(segment, sack=()))
        for left, right in segment.sack:
            text += f" {{{(left - other) & 0xFFFFFFFF}:{(right - other) & 0xFFFFFFFF}}}"
        return f"{text} {options.hex()}" if options else text

    def send(self, side: str, segments: list[Segment]) -> None:
        """Everything that follows from `segments`, in the order of a wire."""
        way = deque((side, segment) for segment in segments)
        while way:
            side, segment = way.popleft()
            self.log.append(self.describe(side, segment))
            self.times.append((self.now, self.log[-1]))
            self.now += 10_000
            if not self.lose(side, segment):
                way.extend(self.deliver(side, segment))

    def deliver(self, side: str, segment: Segment) -> list[tuple[str, Segment]]:
        if side == "s":
            return [("c", s) for s in self.client.on_segment(segment, self.now)]
        if self.server is not None:
            return [("s", s) for s in self.server.on_segment(segment, self.now)]
        if segment.flags & SYN and self.listening:
            self.server, out = TcpEndpoint.accept(
                self.config, self.server_mss or self.mss, SERVER_ISS, segment, self.now
            )
            return [("s", s) for s in out]
        answer = reset_for(segment)
        return [("s", answer)] if answer else []

    def wait(self, ms: float) -> None:
        """Let time pass; deadlines fire exactly."""
        end = self.now + int(ms * MS)
        while True:
            due = [
                (e.deadline, side, e)
                for side, e in (("c", self.client), ("s", self.server))
                if e is not None and e.deadline is not None and e.deadline <= end
            ]
            if not due:
                break
            at, side, endpoint = min(due, key=lambda item: item[:2])
            self.now = max(self.now, at)
            self.send(side, endpoint.on_deadline(self.now))
        self.now = max(self.now, end)

    def sent(self, start: int = 0) -> list[tuple[int, str]]:
        """What left after `start` lines: (ms since the first of them, line)."""
        begin = self.times[start][0]
        return [((at - begin) // MS, line) for at, line in self.times[start:]]
