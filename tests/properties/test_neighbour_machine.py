"""A namespace and its neighbours: every step between NUD states is legal, queues keep their order, three tries one
second apart, one ICMP error for each packet that waited in vain, and nothing stays REACHABLE for ever."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from emu.clock import MS, SECOND, Clock, wheel_slot
from emu.kernel import boot
from emu.kernel.net import neighbour as nud
from emu.kernel.net.neighbour import Neighbour
from emu.testing.strategies import examples
from emu.wire import arp
from emu.wire.addr import BROADCAST_MAC, ZERO_MAC, ip4, ip4_text
from emu.wire.frame import AF_INET, ETH_P_ARP, Frame
from sinks import bring, sink

OWN_MAC, OWN = b"\2\0\0\0\0\1", ip4("10.0.0.1")
PEERS = [ip4("10.0.0.2"), ip4("10.0.0.3")]
MACS = [b"\2\0\0\0\0\2", b"\2\0\0\0\0\3"]
NONE = "NONE"
# What one event may do (net/core/neighbour.c, RFC 4861 7.3.2). Time may take several steps at once.
SEND = {
    (NONE, nud.INCOMPLETE), (nud.FAILED, nud.INCOMPLETE), (nud.STALE, nud.DELAY),
    *((state, state) for state in (nud.INCOMPLETE, nud.REACHABLE, nud.DELAY, nud.PROBE)),
}  # fmt: skip
ANSWERED = {  # an answer for us: proof; one too late for the lock time changes nothing
    (NONE, NONE), *((state, nud.REACHABLE) for state in (nud.INCOMPLETE, nud.REACHABLE, nud.STALE, nud.DELAY, nud.PROBE, nud.FAILED)),
    *((state, state) for state in (nud.REACHABLE, nud.STALE, nud.DELAY, nud.PROBE)),
}  # fmt: skip
ASKED = {  # a question of theirs: an address without proof
    *((state, nud.STALE) for state in (NONE, nud.INCOMPLETE, nud.REACHABLE, nud.STALE, nud.DELAY, nud.PROBE, nud.FAILED)),
    *((state, state) for state in (nud.REACHABLE, nud.DELAY, nud.PROBE)),
}  # fmt: skip
TIME = {
    nud.INCOMPLETE: {nud.FAILED}, nud.REACHABLE: {nud.STALE, nud.DELAY}, nud.DELAY: {nud.PROBE, nud.REACHABLE},
    nud.PROBE: {nud.FAILED},
}  # fmt: skip


def later(state: str) -> set[str]:
    """Every state that time alone can lead to."""
    found, todo = {state}, [state]
    while todo:
        for each in TIME.get(todo.pop(), set()) - found:
            found.add(each)
            todo.append(each)
    return found


class Neighbours(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(seed=5)
        self.net = boot.namespace(self.clock, "n")
        self.eth0 = sink(self.clock, "eth0", OWN_MAC)
        self.net.attach(self.eth0)
        boot.address(self.net, self.eth0, "10.0.0.1/24")
        self.sockets = {peer: self.net.sockets.udp(1) for peer in PEERS}
        for socket in self.sockets.values():
            socket.bind(("0.0.0.0", 0))
        self.number = 0
        self.waiting: dict[int, list[bytes]] = {peer: [] for peer in PEERS}  # sent, not seen on the wire
        self.broadcasts: dict[int, list[int]] = {peer: [] for peer in PEERS}
        self.failed = 0

    def entry(self, peer: int) -> Neighbour | None:
        found: Neighbour | None = self.eth0.neigh[AF_INET].get(peer)
        return found

    def state(self, peer: int) -> str:
        entry = self.entry(peer)
        return NONE if entry is None else entry.state

    def look(self) -> None:
        """Read what was sent: packets in the order they were given, questions at their times."""
        for at_ns, _, frame in self.eth0.sent:
            if frame.ethertype == ETH_P_ARP:
                asked = arp.parse(frame)
                assert asked is not None
                if asked.op == arp.REQUEST:
                    assert (asked.sha, asked.spa, asked.tha) == (OWN_MAC, OWN, ZERO_MAC)
                    if frame.dmac == BROADCAST_MAC:
                        self.broadcasts[asked.tpa].append(at_ns)
                    else:
                        assert frame.dmac in MACS, "a probe goes to the known address"
            else:
                assert frame.dst in PEERS
                data = bytes(frame.buf[42:])
                assert data == self.waiting[frame.dst].pop(0), "the queue kept its order"
        self.eth0.sent.clear()

    @rule(peer=st.sampled_from(PEERS), count=st.integers(1, 3))
    def send(self, peer: int, count: int) -> None:
        for _ in range(count):
            before = self.state(peer)
            self.number += 1
            data = self.number.to_bytes(4, "big")
            self.waiting[peer].append(data)
            if before in (NONE, nud.FAILED):
                self.look()
                self.broadcasts[peer].clear()
            self.sockets[peer].sendto(data, (peer, 9))
            assert (before, self.state(peer)) in SEND
            self.look()

    def bring(self, op: int, peer: int, mac: bytes, tpa: int, tha: bytes, dmac: bytes) -> None:
        head = b"\0\1\x08\0\6\4" + op.to_bytes(2, "big")
        body = mac + peer.to_bytes(4, "big") + tha + tpa.to_bytes(4, "big")
        bring(self.eth0, dmac + mac + b"\x08\6" + head + body)
        self.look()

    @rule(peer=st.sampled_from(PEERS), mac=st.sampled_from(MACS))
    def answer(self, peer: int, mac: bytes) -> None:
        before = self.state(peer)
        self.bring(arp.REPLY, peer, mac, OWN, OWN_MAC, OWN_MAC)
        assert (before, self.state(peer)) in ANSWERED
        self.learned(peer, before, mac)

    @rule(peer=st.sampled_from(PEERS), mac=st.sampled_from(MACS))
    def question(self, peer: int, mac: bytes) -> None:
        before = self.state(peer)
        self.bring(arp.REQUEST, peer, mac, OWN, ZERO_MAC, BROADCAST_MAC)
        after = self.state(peer)
        # the packets that waited go out at once: the first use of a STALE entry
        assert (before, after) in ASKED or (before, after) == (nud.INCOMPLETE, nud.DELAY)
        self.learned(peer, before, mac)

    @rule(peer=st.sampled_from(PEERS), mac=st.sampled_from(MACS))
    def question_of_another(self, peer: int, mac: bytes) -> None:
        """Makes no entry; may move one that is there."""
        before = self.state(peer)
        self.bring(arp.REQUEST, peer, mac, ip4("10.0.0.77"), ZERO_MAC, BROADCAST_MAC)
        assert (self.entry(peer) is None) is (before == NONE)

    def learned(self, peer: int, before: str, mac: bytes) -> None:
        entry = self.entry(peer)
        if before == nud.INCOMPLETE:
            assert entry is not None
            assert entry.lladdr == mac
            assert not self.waiting[peer], "what waited was sent"

    @rule(ms=st.sampled_from((1, 500, 999, 1000, 1001, 2500, 5001, 31_000, 50_000)))
    def wait(self, ms: int) -> None:
        before = {peer: self.state(peer) for peer in PEERS}
        end_ns = self.clock.now + ms * MS
        self.clock.run_until(end_ns)
        self.look()
        for peer, state in before.items():
            after = self.state(peer)
            assert after in later(state), ip4_text(peer)
            if state == nud.INCOMPLETE and after == nud.FAILED:
                times = self.broadcasts[peer]
                assert [(at - times[0]) // SECOND for at in times] == [0, 1, 2]
                entry = self.entry(peer)
                assert entry is not None
                # each timer fires at the tick of the kernel's wheel where its slot ends
                assert entry.updated_ns == wheel_slot(times[2], times[2] + SECOND)[0]
                self.failed += len(self.waiting[peer])
                self.waiting[peer].clear()
            if state == nud.REACHABLE and ms >= 50_000:
                assert after != nud.REACHABLE, "30 s, times 1.5, at the most"

    @rule(peer=st.sampled_from(PEERS))
    def confirm(self, peer: int) -> None:
        entry = self.entry(peer)
        if entry is not None:
            before = entry.state
            entry.confirm()
            assert entry.state == before

    @invariant()
    def one_error_for_each_that_waited_in_vain(self) -> None:
        errors = [error for socket in self.sockets.values() for error in socket.errors]
        assert [(error.kind, error.code) for error in errors] == [(3, 1)] * self.failed

    @invariant()
    def only_the_unresolved_wait(self) -> None:
        for peer in PEERS:
            entry = self.entry(peer)
            queue = [] if entry is None else [bytes(frame.buf[42:]) for frame in entry.queue]
            assert queue == self.waiting[peer]
            assert not queue or self.state(peer) == nud.INCOMPLETE

    @invariant()
    def the_ready_header_is_only_there_while_connected(self) -> None:
        for peer in PEERS:
            entry = self.entry(peer)
            if entry is not None and entry.header is not None:
                assert entry.state in nud.CONNECTED
                assert entry.header == entry.lladdr + OWN_MAC + b"\x08\0"

    @invariant()
    def every_packet_ends_once(self) -> None:
        net = self.net
        sent = self.number - sum(map(len, self.waiting.values())) - self.failed
        assert sent >= 0
        assert net.drops.total() == net.drops["NEIGH_FAILED"] == self.failed


TestNeighbours = Neighbours.TestCase
TestNeighbours.settings = examples(150, stateful_step_count=40)


def test_frames_that_wait_keep_their_bytes() -> None:
    """The queue holds whole packets, larger than one would guess; each is known by its number."""
    machine = Neighbours()
    machine.send(PEERS[0], 3)
    assert [Frame.parse(frame.buf).dst for frame in machine.eth0.neigh[AF_INET][PEERS[0]].queue] == [PEERS[0]] * 3
    machine.answer(PEERS[0], MACS[0])
    machine.only_the_unresolved_wait()


def test_neighbours_that_fail_at_one_time_do_not_delay_each_other() -> None:
    """Both timers are of one jiffy; the first one's error travels after both."""
    machine = Neighbours()
    for peer in PEERS:
        machine.send(peer, 2)
    machine.wait(5001)
    assert [machine.eth0.neigh[AF_INET][peer].updated_ns for peer in PEERS] == [
        3 * 1024 * MS
    ] * 2  # a second waits in a slot of the wheel that ends 24 ms later
    machine.one_error_for_each_that_waited_in_vain()
    machine.every_packet_ends_once()


def test_neighbours_in_one_slot_of_the_wheel_fail_together() -> None:
    machine = Neighbours()
    machine.send(PEERS[0], 1)
    machine.wait(1)
    machine.send(PEERS[1], 1)
    machine.wait(5001)
    assert [machine.eth0.neigh[AF_INET][peer].updated_ns for peer in PEERS] == [3 * 1024 * MS] * 2
