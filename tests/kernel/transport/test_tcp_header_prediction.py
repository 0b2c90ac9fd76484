"""The short ways of an expected segment and of a small write leave the connection as the whole ways do, in every variable."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from attributes import attributes
from emu.kernel.transport.tcp import TcpConfig, TcpEndpoint
from emu.kernel.transport.tcp_established import rcv_established
from emu.kernel.transport.tcp_input import receive
from emu.kernel.transport.tcp_options import Segment, of_plain, plain_part
from emu.kernel.transport.tcp_output import queue_data, queue_fin
from emu.kernel.transport.tcp_push_one import push_one
from emu.kernel.transport.tcp_rmem import RxSkb
from emu.kernel.transport.tcp_sock import Early, Skb, TcpSock
from emu.wire.tcp import PSH

MSS = 1460
US = 1_000


def plain(value: object) -> object:
    """A variable's value, such that equal ones compare equal whatever holds them."""
    if isinstance(value, Skb | RxSkb | Early):
        return [plain(getattr(value, name)) for name in attributes(type(value))]
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, deque | list):
        return [plain(each) for each in value]
    return value


@dataclass
class Wire:
    """Both ends of a connection that stands. `short`: by the short ways, where they are taken."""

    short: bool
    config: TcpConfig
    now: int = 0
    ways: tuple[deque[Segment], deque[Segment]] = field(default_factory=lambda: (deque(), deque()))
    sent: list[Segment] = field(default_factory=list)

    def __post_init__(self) -> None:
        client, (syn,) = TcpEndpoint.connect(self.config, MSS, 0xFFFFFFF0, self.now)
        self.now += 20 * US
        server, (answer,) = TcpEndpoint.accept(self.config, MSS, 7, syn, self.now)
        self.now += 20 * US
        (third,) = client.on_segment(answer, self.now)
        self.now += 20 * US
        assert not server.on_segment(third, self.now)
        self.ends = client, server

    def send(self, side: int, segments: list[Segment]) -> None:
        self.sent += segments
        self.ways[1 - side].extend(segments)

    def step(self, what: str, side: int, amount: int) -> None:
        end, way = self.ends[side], self.ways[side]
        if what == "write":
            self.send(side, self.write(end, bytes(amount)))
        elif what == "read":
            self.send(side, end.read(amount, self.now)[1])
        elif what == "wait":
            self.now += amount * US
            due = end.deadline
            if due is not None and due <= self.now:
                self.send(side, end.on_deadline(self.now))
        elif what == "shutdown":
            self.send(side, self.shutdown(end))
        elif way:
            segment = way.popleft()
            if what == "arrive":
                self.now += 20 * US
                self.send(side, self.arrive(end, segment))
            elif what == "waited":
                self.now += 20 * US
                end.wait(segment)
                self.send(side, self.arrive(end, segment, waited=True))
                self.send(side, end.release(self.now))
            elif what == "overtaken":
                way.append(segment)

    def write(self, end: TcpEndpoint, data: bytes) -> list[Segment]:
        if self.short:
            return end.write(data, self.now)
        if end.may_write and data:
            end.taken = queue_data(end, data, self.now)
        return released(end)

    def shutdown(self, end: TcpEndpoint) -> list[Segment]:
        if self.short or end.send_shutdown:
            return end.shutdown(self.now)
        end.go("close")
        end.send_shutdown = True
        queue_fin(end, self.now)
        return released(end)

    def arrive(self, end: TcpEndpoint, segment: Segment, *, waited: bool = False) -> list[Segment]:
        if self.short:
            return end.on_segment(segment, self.now, waited)
        end.from_backlog = waited
        receive(end, segment, self.now)
        end.from_backlog = False
        return released(end)

    def variables(self) -> list[object]:
        return [[name, plain(getattr(end, name))] for end in self.ends for name in attributes(TcpSock)]


def released(end: TcpEndpoint) -> list[Segment]:
    out, end.out = end.out, []
    return out


def pushed(end: TcpEndpoint, data: bytes, now_ns: int) -> Segment:
    plain = push_one(end, data, PSH, now_ns)
    assert plain is not None
    return of_plain(plain)


steps = st.tuples(
    st.sampled_from(("write", "arrive", "arrive", "waited", "read", "read", "wait", "lost", "overtaken", "shutdown")),
    st.integers(0, 1),
    st.sampled_from((1, 4, 100, 535, 600, 1448, 1460, 5000, 60_000, 300_000)),
)
configs = st.builds(
    TcpConfig,
    timestamps=st.booleans(),
    sack=st.booleans(),
    window_scaling=st.booleans(),
    early_retrans=st.booleans(),
    rmem=st.sampled_from(((4096, 131072, 33554432), (4096, 4096, 4096))),
)


@settings(max_examples=300)
@given(configs, st.lists(steps, max_size=60))
def test_the_short_ways_change_what_the_whole_ways_change(config: TcpConfig, plan: list[tuple[str, int, int]]) -> None:
    short, whole = Wire(True, config), Wire(False, config)
    for what, side, amount in plan:
        for wire in (short, whole):
            if wire.ends[side].state in ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "FIN_WAIT2"):
                wire.step(what, side, amount)
        assert short.sent == whole.sent
        assert short.variables() == whole.variables()


def test_an_echo_takes_the_short_ways_alone() -> None:
    wire = Wire(True, TcpConfig())
    client, server = wire.ends
    for _ in range(20):
        wire.send(0, [pushed(client, b"ping", wire.now)])
        wire.now += 20 * US
        assert rcv_established(server, plain_part(wire.ways[1].popleft()), False, 0, wire.now)
        data, out = server.read(100, wire.now)
        wire.send(1, out)
        assert data == b"ping"
        wire.send(1, [pushed(server, data, wire.now)])
        wire.now += 20 * US
        while wire.ways[0]:
            assert rcv_established(client, plain_part(wire.ways[0].popleft()), False, 0, wire.now)
        assert client.read(100, wire.now)[0] == b"ping"
