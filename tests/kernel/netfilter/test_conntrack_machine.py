"""A connection table under random packets, drops, NAT, time and deletions: what must hold at all times."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from emu.clock import SECOND, Clock
from emu.kernel.netfilter.conn import CONFIRMED, DYING, Conn
from emu.kernel.netfilter.conntrack import Conntrack
from emu.kernel.netfilter.hooks import POST_ROUTING, PRE_ROUTING, HookFn, HookState, Verdict
from emu.kernel.netfilter.nat import Nat, setup
from emu.kernel.netfilter.nat_ports import MANIP_DST, MANIP_SRC, NatRange
from emu.kernel.sysctl import Sysctls
from emu.wire.frame import ICMP, UDP, Frame
from rules import FakeNetns, ct_state

HOSTS, SERVICE, POD, NODE = (0x0A000001, 0x0A000002), 0x0A600001, 0x0A000064, 0xC0A80001
PORTS = (100, 101)


def frame_of(proto: int, src: int, dst: int, sport: int, dport: int) -> Frame:
    buf = bytearray(14 + 20 + 8)
    buf[12:14] = b"\x08\x00"
    buf[14], buf[17], buf[22], buf[23] = 0x45, 28, 64, proto
    buf[26:34] = src.to_bytes(4, "big") + dst.to_bytes(4, "big")
    if proto == ICMP:
        buf[34:36], buf[38:40] = dport.to_bytes(2, "big"), sport.to_bytes(2, "big")
    else:
        buf[34:38] = sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
        buf[39] = 8
    frame = Frame.parse(buf)
    frame.valid = True
    return frame


class Machine(RuleBasedStateMachine):
    """Clients talk to a Service that is one pod, all behind one address: every clash that NAT knows can happen."""

    under_way: Bundle[Frame] = Bundle("under_way")

    def __init__(self) -> None:
        super().__init__()
        self.name = "n"
        self.clock = Clock(seed=3)
        self.hooks = FakeNetns(self.clock, "n").hooks
        self.conntrack = Conntrack("n", self.clock, Sysctls(), self.hooks)
        self.conntrack.enable()
        Nat(self.hooks, self).enable()
        self.seen: dict[Conn, int] = {}  # deadlines as last set by a packet

    def nat_chain(self, hook: int) -> HookFn | None:
        return {PRE_ROUTING: self.dnat, POST_ROUTING: self.snat}.get(hook)

    @staticmethod
    def dnat(frame: Frame, state: HookState) -> Verdict:
        if frame.dst != SERVICE:
            return None
        return setup(frame, state, MANIP_DST, NatRange.of(POD, min_port=100 if frame.proto == UDP else 0))

    @staticmethod
    def snat(frame: Frame, state: HookState) -> Verdict:
        return setup(frame, state, MANIP_SRC, NatRange.of(NODE)) if frame.sport == PORTS[0] else None

    @rule(
        target=under_way,
        proto=st.sampled_from([UDP, ICMP]),
        src=st.sampled_from(HOSTS),
        dst=st.sampled_from([SERVICE, POD]),
        sport=st.sampled_from(PORTS),
    )
    def enter(self, proto: int, src: int, dst: int, sport: int) -> Frame:
        frame = frame_of(proto, src, dst, sport, 100 if proto == UDP else 8 << 8)
        assert self.hooks.run(PRE_ROUTING, frame) is None
        assert ct_state(frame) in {"NEW", "ESTABLISHED"} and frame.ctdir == 0
        assert frame.dst == POD
        return frame

    @rule(frame=consumes(under_way))
    def leave(self, frame: Frame) -> None:
        if self.hooks.run(POST_ROUTING, frame) is None:
            conn = frame.ct
            assert conn.status & (CONFIRMED | DYING)
            assert frame.src in {*HOSTS, NODE}

    @rule(frame=consumes(under_way))
    def die(self, frame: Frame) -> None:
        assert frame.ct.status & (CONFIRMED | DYING) or self.conntrack.find(frame.ct.orig) is not frame.ct

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        conns = list(self.conntrack)
        if conns:
            conn = data.draw(st.sampled_from(conns))
            frame = frame_of(*conn.reply)
            for hook in (PRE_ROUTING, POST_ROUTING):
                assert self.hooks.run(hook, frame) is None
            assert frame.ct is conn and ct_state(frame) == "ESTABLISHED" and frame.ctdir == 1
            proto, src, dst, sport, dport = conn.orig
            assert (frame.src, frame.dst) == (dst, src)
            assert frame.sport == (sport if proto == ICMP else dport)
            assert proto == ICMP or frame.dport == sport

    @rule(seconds=st.sampled_from([1, 3, 29, 31]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds * SECOND

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        conns = list(self.conntrack)
        if conns:
            doomed = data.draw(st.sampled_from(conns))
            assert self.conntrack.delete(lambda conn: conn is doomed) == 1
            assert self.conntrack.find(doomed.orig) is None is self.conntrack.find(doomed.reply)

    @rule()
    def sweep(self) -> None:
        before = list(self.conntrack)
        self.conntrack.sweep()
        assert list(self.conntrack) == before

    @invariant()
    def each_live_tuple_has_one_owner(self) -> None:
        tuples = [t for conn in self.conntrack for t in (conn.orig, conn.reply)]
        assert len(tuples) == len(set(tuples))
        for conn in self.conntrack:
            assert self.conntrack.find(conn.orig) is conn is self.conntrack.find(conn.reply)
            assert conn.expires_ns > self.clock.now

    @invariant()
    def no_source_is_remembered_for_the_dead(self) -> None:
        for conns in self.conntrack.by_source.values():
            assert conns and all(not conn.status & DYING for conn in conns)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
