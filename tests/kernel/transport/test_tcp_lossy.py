"""Any wire that loses, overtakes and doubles a bounded number of segments still brings both streams, and both ends close."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from emu.kernel.transport.tcp import TcpConfig, TcpEndpoint
from emu.kernel.transport.tcp_options import Segment, options_bytes, parse_options
from emu.wire.tcp import SYN

MS = 1_000_000


@dataclass
class LossyWire:
    """`fates`: for each segment in turn, what becomes of it (then all pass): "drop", "dup", or the delay in us."""

    fates: list[str | int]
    config: TcpConfig
    streams: tuple[bytes, bytes]
    read_size: int
    mss: int = 1460
    now: int = 0
    order: int = 0
    way: list[tuple[int, int, int, Segment]] = field(default_factory=list)
    ends: list[TcpEndpoint | None] = field(default_factory=lambda: [None, None])
    got: list[bytearray] = field(default_factory=lambda: [bytearray(), bytearray()])
    begun: set[int] = field(default_factory=set)
    written: list[int] = field(default_factory=lambda: [0, 0])

    def send(self, side: int, segments: list[Segment]) -> None:
        for segment in segments:
            assert parse_options(options_bytes(segment)).sack == segment.sack
            assert len(segment.payload) <= self.mss
            fate = self.fates.pop(0) if self.fates else 50
            if fate == "drop":
                continue
            for _ in range(2 if fate == "dup" else 1):
                self.order += 1
                delay = fate if isinstance(fate, int) else 50
                self.way.append((self.now + delay * 1000, self.order, 1 - side, segment))

    def run(self) -> None:
        self.ends[0], out = TcpEndpoint.connect(self.config, self.mss, 0xFFFFFF00, self.now)
        self.send(0, out)
        for _ in range(20_000):
            self.way.sort(key=lambda item: item[:2])
            timers = [(e.deadline, i) for i, e in enumerate(self.ends) if e is not None and e.deadline is not None]
            timer = min(timers) if timers else None
            if self.way and (timer is None or self.way[0][0] <= timer[0]):
                due, _, side, segment = self.way.pop(0)
                self.now = max(self.now, due)
                self.arrive(side, segment)
            elif timer is not None:
                self.now = max(self.now, timer[0])
                end = self.ends[timer[1]]
                assert end is not None
                self.send(timer[1], end.on_deadline(self.now))
                self.application(timer[1])
            else:
                return
        raise AssertionError("no end")

    def arrive(self, side: int, segment: Segment) -> None:
        end = self.ends[side]
        if end is None:
            if segment.flags & SYN:
                self.ends[side], out = TcpEndpoint.accept(self.config, self.mss, 7, segment, self.now)
                self.send(side, out)
            return
        self.send(side, end.on_segment(segment, self.now))
        self.application(side)

    def application(self, side: int) -> None:
        """Write all at once when connected, read in pieces, close after the peer's end (the client: after writing)."""
        end = self.ends[side]
        assert end is not None
        if end.state in ("ESTABLISHED", "CLOSE_WAIT") and side not in self.begun:
            self.begun.add(side)
            self.write(side)
        elif side in self.begun and not end.no_space and self.written[side] < len(self.streams[side]):
            self.write(side)
        while end.readable:
            assert end.readable == sum(len(skb.data) for skb in end.receive_queue) - end.receive_offset
            data, out = end.read(self.read_size, self.now)
            self.got[side] += data
            self.send(side, out)
        assert not end.receive_queue
        if end.eof and end.state != "CLOSE":
            self.send(side, end.close(self.now))

    def write(self, side: int) -> None:
        """As much as the send buffer takes; the client's FIN after all of it."""
        end = self.ends[side]
        assert end is not None
        out = end.write(self.streams[side][self.written[side] :], self.now)
        self.written[side] += end.taken
        self.send(side, out)
        if side == 0 and self.written[side] == len(self.streams[side]):
            self.send(side, end.shutdown(self.now))


fates = st.lists(st.one_of(st.just("drop"), st.just("dup"), st.integers(1, 5000), st.just(50)), max_size=60).filter(
    lambda fs: all(fs[i : i + 6] != ["drop"] * 6 for i in range(len(fs)))
)


@settings(max_examples=120, deadline=None)
@given(
    fates,
    st.integers(0, 60_000),
    st.integers(0, 3000),
    st.sampled_from([100, 2000, 1 << 20]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_streams_arrive_whole(
    plan: list[str | int], up: int, down: int, read_size: int, timestamps: bool, sack: bool, scaling: bool
) -> None:
    config = TcpConfig(timestamps=timestamps, sack=sack, window_scaling=scaling)
    streams = bytes(i * 7 & 0xFF for i in range(up)), bytes(i * 5 & 0xFF for i in range(down))
    wire = LossyWire(plan, config, streams, read_size)
    wire.run()
    assert bytes(wire.got[1]) == streams[0]
    assert bytes(wire.got[0]) == streams[1]
    for end in wire.ends:
        assert end is not None
        assert end.state == "CLOSE"
        assert end.error is None
