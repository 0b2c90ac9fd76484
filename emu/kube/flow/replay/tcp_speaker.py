"""A recorded TCP connection, spoken by two real sockets: the recorded bytes in the recorded sizes and at the recorded times.

Handshake, sequence numbers, acknowledgements, windows and retransmissions are those of emu's TCP. Bytes that the recording sends
again are played once; bytes that it lacks, though they were acknowledged, are zeros. Packets are paired by their place in the
stream. Must not know captures or hosts.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from emu.apps.script import FIN as ENDS_BY_FIN
from emu.apps.script import RST as ENDS_BY_RST
from emu.apps.script import Half, Turn
from emu.apps.serve import Connection, Wakes
from emu.clock import Clock
from emu.errors import SocketError
from emu.kernel.transport.tcp_socket import TcpSocket
from emu.kube.flow.outcome import DELIVERED, failed
from emu.kube.flow.replay.paired import Paired
from emu.kube.flow.replay.recorded import Recorded
from emu.kube.flow.replay.speaker import MOST_WAITING, Entry, Waiting
from emu.kube.flow.replay.talk import Talk
from emu.kube.flow.tcp import closed_by
from emu.trail import Dropped
from emu.wire.frame import TCP, Frame
from emu.wire.tcp import ACK, FIN, RST, SYN, numbers

MASK, HALF_SPACE = 0xFFFFFFFF, 1 << 31
MOST_LACKING = 1 << 18  # bytes that a recording may lack in one place
MOST_AHEAD = 256
ACKNOWLEDGES = "an acknowledgement: emu's TCP acknowledges by itself"
AGAIN = "the recording sends these bytes again: emu's TCP sends again what is lost"


class _Ahead(NamedTuple):
    """A recorded segment behind a hole."""

    rel: int
    recorded: Recorded
    paired: Paired


class TcpSpeaker(Waiting):
    """One connection. `server` is its half at whichever host accepts it; `isn` and `own` are the initial sequence numbers of the
    recording and of emu, `next` the place in each stream up to which the recording was played (SYN is 0)."""

    def __init__(self, talk: Talk, clock: Clock) -> None:
        super().__init__(talk)
        self._clock = clock
        self.halves = (Half(clock, endless=True), Half(clock, endless=True))
        self.connections: dict[Connection, None] = {}
        self.isn: list[int | None] = [None, None]
        self.own: list[int | None] = [None, None]
        self.next, self.fed, self.turns = [1, 1], [0, 0], [0, 0]
        self.fins, self._ahead = [False, False], (list[_Ahead](), list[_Ahead]())
        self.socket: TcpSocket | None = None
        self._connection: Connection | None = None
        self._opened = False

    @property
    def waiting(self) -> int:
        return super().waiting + len(self._ahead[0]) + len(self._ahead[1])

    @property
    def ended(self) -> bool:
        """Both sides of the recording have ended, or one was reset."""
        return all(self.fins)

    # -- the recording ----------------------------------------------------------------------------

    def starts_anew(self, recorded: Recorded) -> bool:
        """Is it the SYN of another connection between the same ends?"""
        seen = recorded.seen
        first = self.isn[0]
        if not seen.flags & SYN or seen.flags & (ACK | RST) or first is None:
            return False
        return self.ended or self._lead(seen.seq, first) > 0

    def feed(self, recorded: Recorded, paired: Paired) -> None:
        way, seen = self.direction(paired), recorded.seen
        syn = bool(seen.flags & SYN) and not seen.flags & RST
        if self.socket is None and not self.broken:
            if not syn:
                paired.notes.append("the recording begins within the connection: emu opens it first")
            self._open(paired if syn and way == 0 else None)
        if seen.flags & ACK:
            self._acknowledged(1 - way, seen.ack)
        if seen.flags & RST:
            self._reset(way, paired, seen.ack if seen.flags & ACK else None)
        elif syn:
            self._syn(way, seen.seq, paired)
        else:
            self._segment(way, recorded, paired)

    def _open(self, syn: Paired | None) -> None:
        """Connect from the client's host; its SYN is paired with `syn`, the recorded one."""
        talk = self.talk
        client, server = talk.stands
        net = client.net
        assert net is not None
        sock = self.socket = net.sockets.tcp(talk.number)
        sock.nodelay = True
        try:
            self._bind(sock, client.addr, talk.client[1])
            talk.sent = (client.addr, sock.port), (server.target.addr, server.target.port)
            self._connection = Connection(self, sock, self.halves[0])
            self.connections[self._connection] = None
            sock.on_readable = Wakes(net, self._work)
            if syn is not None:
                self._expect(0, Entry(syn, lo=0, hi=1))
                self.isn[0] = -1  # the SYN is on its way: `_syn` sets it
            sock.connect((server.target.addr, server.target.port))
        except SocketError as wrong:
            talk.flow.outcome = failed(wrong)
            self.broken = f"the client cannot connect: {wrong.name}"
            return
        self._work()

    @staticmethod
    def _bind(sock: TcpSocket, addr: int, port: int) -> None:
        try:
            sock.bind((addr, port))
        except SocketError as wrong:
            if wrong.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL) or not port:
                raise
            sock.bind((addr, 0))

    def _work(self) -> None:
        """The client's socket was woken."""
        sock, connection = self.socket, self._connection
        if sock is None or connection is None or self.talk.over:
            return
        if sock.connected and not self._opened:
            self._opened = True
            self.talk.flow.outcome = DELIVERED
            self.halves[0].opened(connection)
        connection.work()
        if sock.state == "CLOSE" and sock.error:
            outcome = closed_by(self.talk.flow, sock)
            if not self._opened or outcome.word != "refused":
                self.talk.flow.outcome = outcome
            self.broken = self.broken or f"the connection has failed: {outcome}"

    def _syn(self, way: int, seq: int, paired: Paired) -> None:
        before = self.isn[way]
        if before not in (None, -1):
            self.talk.done(paired.not_sent(AGAIN if before == seq else "a second SYN within the connection"))
            return
        self.isn[way] = seq
        if before is None:
            self._expect(way, Entry(paired, lo=0, hi=1))
            if way == 1:
                self._came_before(self.pending[1][-1])

    def _came_before(self, entry: Entry) -> None:
        """emu's SYN and ACK may have come before the recording's."""
        early = self._early
        if early is not None and entry in self.pending[1]:
            self._early = None
            frame, at = early
            self.arrive(entry, 1, frame, at)

    _early: tuple[Frame, str] | None = None

    def _segment(self, way: int, recorded: Recorded, paired: Paired) -> None:
        seen, size = recorded.seen, len(recorded.payload)
        if self.isn[way] in (None, -1):
            self.isn[way] = seen.seq - 1 & MASK
        rel = self._lead(seen.seq, self.isn[way] or 0)
        end = rel + size + bool(seen.flags & FIN)
        if end == rel:
            self.talk.done(paired.not_sent(ACKNOWLEDGES))
        elif end <= self.next[way] or self.fins[way]:
            self.talk.done(paired.not_sent(AGAIN))
        elif rel > self.next[way]:
            ahead = self._ahead[way]
            if len(ahead) >= MOST_AHEAD or rel - self.next[way] > 1 << 24:
                self.talk.done(paired.not_sent("it is far ahead of what the recording has"))
                return
            ahead.append(_Ahead(rel, recorded, paired))
            ahead.sort(key=lambda each: each.rel)
        else:
            self._play(way, rel, recorded, paired)
            self._catch_up(way)

    def _catch_up(self, way: int) -> None:
        """Play what waited for bytes that have come."""
        ahead = self._ahead[way]
        while ahead and ahead[0].rel <= self.next[way]:
            rel, recorded, paired = ahead.pop(0)
            if rel + len(recorded.payload) + bool(recorded.seen.flags & FIN) <= self.next[way]:
                self.talk.done(paired.not_sent(AGAIN))
            else:
                self._play(way, rel, recorded, paired)

    def _play(self, way: int, rel: int, recorded: Recorded, paired: Paired) -> None:
        """A segment's new bytes, or its FIN, are the next turn of their side."""
        payload = recorded.payload[self.next[way] - rel :]
        if len(payload) < len(recorded.payload):
            paired.notes.append(f"its first {len(recorded.payload) - len(payload)} bytes were there before")
        fin = bool(recorded.seen.flags & FIN)
        entry = Entry(paired, payload, self.next[way], self.next[way] + len(payload) + fin, self.turns[way])
        self.next[way], self.fed[way] = entry.hi, self.fed[way] + len(payload)
        self._expect(way, entry)
        needs, eof = self._needs(way, recorded)
        self.fins[way] = self.fins[way] or fin
        self._turn(way, Turn(needs, payload or None, ends=ENDS_BY_FIN if fin else "", eof=eof))

    def _needs(self, way: int, recorded: Recorded) -> tuple[int, bool]:
        """What the sender of a segment had of its peer by then: the bytes that it acknowledges."""
        peer = self.isn[1 - way]
        if not recorded.seen.flags & ACK or peer in (None, -1):
            return 0, False
        acked = self._lead(recorded.seen.ack, peer or 0) - 1
        fed = self.fed[1 - way]
        return max(0, min(acked, fed)), self.fins[1 - way] and acked > fed

    def _reset(self, way: int, paired: Paired, ack: int | None) -> None:
        if self.ended:
            self.talk.done(paired.not_sent("the connection has ended: emu's TCP has nothing to reset"))
            return
        self.fins = [True, True]
        if self.own[1] is None and way == 1:
            self._expect(way, Entry(paired))  # the server refuses
            return
        self._expect(way, Entry(paired, turn=self.turns[way]))
        peer = self.isn[1 - way]
        acked = self._lead(ack, peer or 0) - 1 if ack is not None and peer not in (None, -1) else 0
        self._turn(way, Turn(max(0, min(acked, self.fed[1 - way])), ends=ENDS_BY_RST))

    def _turn(self, way: int, turn: Turn) -> None:
        self.turns[way] += 1
        self.halves[way].add(turn)

    def _acknowledged(self, way: int, ack: int) -> None:
        """The recording's peer has everything up to `ack`: what the recording lacks of it is zeros."""
        first = self.isn[way]
        if first in (None, -1):
            if first is None:
                self.isn[way] = ack - 1 & MASK
            return
        upto = self._lead(ack, first or 0)
        ahead = self._ahead[way]
        lacking = (min(upto, ahead[0].rel) if ahead else upto) - self.next[way]
        if not 0 < lacking <= MOST_LACKING or self.fins[way] or (lacking == 1 and not ahead):
            return  # one more than all bytes is the FIN, which the recording lacks
        self.talk.counts["lacking"] += lacking
        self.next[way] += lacking
        self.fed[way] += lacking
        self._turn(way, Turn(0, bytes(lacking)))
        self._catch_up(way)

    def _expect(self, way: int, entry: Entry) -> None:
        entry.missing = [(entry.lo, entry.hi)]
        entry.came = bytearray(len(entry.payload))
        pending = self.pending[way]
        pending.append(entry)
        if len(pending) > MOST_WAITING:
            self.broken = self.broken or f"{MOST_WAITING:,} packets of the flow wait already"
            self.talk.done(pending.popleft().paired.missing(self.broken))

    # -- the network ------------------------------------------------------------------------------

    def arrived(self, frame: Frame, at: str) -> None:
        if frame.proto != TCP:
            return
        way = self.way_of(frame)
        seq, flags, payload = numbers(frame)
        if way == 0:
            self.see(frame, at)
        if flags & RST:
            self._was_reset(way, frame, at)
            return
        if flags & SYN:
            if self.own[way] is None:
                self.own[way] = seq
            if way == 1 and self.isn[1] is None and self._early is None:
                self._early = frame.clone(), at
        own = self.own[way]
        if own is None:
            return
        lo = self._lead(seq, own)
        hi = lo + len(payload) + bool(flags & SYN) + bool(flags & FIN)
        for entry in [each for each in self.pending[way] if each.lo < hi and each.hi > lo and each.missing]:
            first, last = max(lo, entry.lo), min(hi, entry.hi)
            part = payload[first - lo : last - lo]
            at_byte = first - entry.lo
            if entry.payload:
                entry.came[at_byte : at_byte + len(part)] = part
            entry.missing = _without(entry.missing, first, last)
            if not entry.missing:
                self.arrive(entry, way, frame, at)

    def _was_reset(self, way: int, frame: Frame, at: str) -> None:
        resets = [each for each in self.pending[way] if each.hi == 0]
        if resets:
            self.arrive(resets[0], way, frame, at)
        elif not self.ended:
            self.talk.differ(f"a reset reaches {at}, and the recording has none")

    def lost(self, frame: Frame, loss: Dropped) -> None:
        if frame.proto != TCP or len(frame.buf) < frame.l4 + 20:
            return
        target = self.talk.sent[1]
        seen = self.talk.seen
        source = frame.src, frame.sport
        way = 1 if source == target or (seen is not None and source == seen[1]) else 0
        seq, flags, payload = numbers(frame)
        own = self.own[way]
        if flags & SYN and own is None:
            own = seq
        if own is None:
            return
        lo = self._lead(seq, own)
        hi = lo + len(payload) + bool(flags & SYN) + bool(flags & FIN)
        for entry in self.pending[way]:
            if entry.lo < hi and entry.hi > lo and entry.missing:
                entry.losses.append(loss)

    def finish(self, *, quiet: bool) -> None:
        for way in (0, 1):
            for each in self._ahead[way]:
                self.talk.done(each.paired.not_sent("the recording lacks what comes before it"))
            self._ahead[way].clear()
        sock = self.socket
        if not self._opened and sock is not None and not self.broken:
            self.talk.flow.outcome = closed_by(self.talk.flow, sock)
            self.broken = f"the connection was not opened: {self.talk.flow.outcome}"
        done = self.halves[0].done, self.halves[1].done
        self.forget(done, (self._stall(0), self._stall(1)))
        self.talk.over = True
        if sock is not None and (quiet or not self._opened) and not sock.closed:
            sock.abort()
        if quiet:
            end = self.halves[1].end
            if end is not None and not end.closed:
                end.reset()

    def _stall(self, way: int) -> str:
        """Why a side takes no more turns."""
        half, name = self.halves[way], ("client", "server")[way]
        if half.end is None:
            return f"no connection reached the {name}" if way else "the connection was not opened"
        if half.end.closed:
            return f"the {name}'s connection has ended"
        need = half.turns[0].needs if half.turns else 0
        return f"the {name} waits for {need} bytes of its peer, and {half.got} have come"

    @staticmethod
    def _lead(seq: int, first: int) -> int:
        """How far a sequence number is from another one; below 0: it lies before."""
        distance = seq - first & MASK
        return distance if distance < HALF_SPACE else distance - (MASK + 1)


def _without(ranges: list[tuple[int, int]], lo: int, hi: int) -> list[tuple[int, int]]:
    left = []
    for first, last in ranges:
        if first < lo:
            left.append((first, min(last, lo)))
        if last > hi:
            left.append((max(first, hi), last))
    return left
