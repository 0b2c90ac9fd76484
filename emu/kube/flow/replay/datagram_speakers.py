"""Recorded datagrams and echo requests, sent by real sockets at the recorded times.

A UDP server's answer waits for as many datagrams as the recording's client had sent before it; the client waits for nothing. Echo
replies are the kernel's own. Must not know captures or hosts.
"""

from __future__ import annotations

import errno

from emu.apps.script import Half, Turn
from emu.apps.serve import Wakes
from emu.clock import Clock
from emu.errors import SocketError
from emu.kernel.transport.ping import PingSocket
from emu.kernel.transport.udp import UdpSocket
from emu.kube.flow.outcome import DELIVERED, failed, rejected, silence
from emu.kube.flow.replay.paired import Paired
from emu.kube.flow.replay.recorded import Recorded
from emu.kube.flow.replay.speaker import MOST_WAITING, Entry, Waiting
from emu.kube.flow.replay.talk import Talk
from emu.trail import Dropped
from emu.wire.frame import ICMP, UDP, Frame
from emu.wire.icmp import ECHO, ECHO_REPLY, sequence
from emu.wire.udp import payload as payload_of


class _Sends:
    """The client's socket, as the end of a half."""

    def __init__(self, speaker: UdpSpeaker, socket: UdpSocket) -> None:
        self._speaker, self._socket = speaker, socket
        self.closed = False

    def send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except SocketError as wrong:
            self._speaker.failed_to_send(wrong)

    def shutdown(self) -> None:
        """Datagrams have no end."""

    reset = close = shutdown


class UdpSpeaker(Waiting):
    """One UDP flow. `halves` are the client's and the server's."""

    def __init__(self, talk: Talk, clock: Clock) -> None:
        super().__init__(talk)
        self.halves = (
            Half(clock, endless=True, datagrams=True), Half(clock, endless=True, datagrams=True),
        )  # fmt: skip
        self.turns, self._fed = [0, 0], [0, 0]
        self.socket: UdpSocket | None = None

    def feed(self, recorded: Recorded, paired: Paired) -> None:
        way = self.direction(paired)
        if self.socket is None and not self.broken:
            self._open()
        entry = Entry(paired, recorded.payload, turn=self.turns[way])
        pending = self.pending[way]
        pending.append(entry)
        if len(pending) > MOST_WAITING:
            self.talk.done(pending.popleft().paired.missing(f"{MOST_WAITING:,} packets of the flow wait already"))
        needs = self._fed[0] if way == 1 else 0
        self._fed[way] += 1
        if self.broken:
            return
        self.turns[way] += 1
        self.halves[way].add(Turn(needs, recorded.payload))

    def _open(self) -> None:
        talk = self.talk
        client, server = talk.stands
        net = client.net
        assert net is not None
        sock = self.socket = net.sockets.udp(talk.number)
        try:
            try:
                sock.bind((client.addr, talk.client[1]))
            except SocketError as wrong:
                if wrong.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                    raise
                sock.bind((client.addr, 0))
            talk.sent = (client.addr, sock.port), (server.target.addr, server.target.port)
            sock.connect((server.target.addr, server.target.port))
        except SocketError as wrong:
            talk.flow.outcome = failed(wrong)
            self.broken = f"the client cannot send: {wrong.name}"
            return
        sock.on_readable = Wakes(net, self._work)
        self.halves[0].opened(_Sends(self, sock))

    def _work(self) -> None:
        sock = self.socket
        if sock is None:
            return
        while sock.inbox:
            try:
                data = sock.recv()
            except SocketError:
                continue
            end = self.halves[0].end
            if end is not None:
                self.halves[0].received(data, end)

    def failed_to_send(self, wrong: SocketError) -> None:
        """The client's last turn failed: its packet was not sent."""
        turn = self.halves[0].done - 1
        for entry in [each for each in self.pending[0] if each.turn == turn]:
            self.pending[0].remove(entry)
            if entry.losses:
                entry.paired.dropped(entry.losses[-1], "")
            else:
                entry.paired.not_sent(f"the client's send fails: {wrong.name}", difference=True)
            self.talk.done(entry.paired)

    def arrived(self, frame: Frame, at: str) -> None:
        if frame.proto == ICMP:
            self.talk.differ(f"an ICMP error reaches {at}, and the recording has none")
            return
        if frame.proto != UDP:
            return
        way = self.way_of(frame)
        if way == 0:
            self.see(frame, at)
        entry = self._entry(way, payload_of(frame))
        if entry is not None:
            entry.came = bytearray(payload_of(frame))
            self.arrive(entry, way, frame, at)
            if way == 1:
                self.talk.flow.outcome = DELIVERED

    def _entry(self, way: int, data: bytes) -> Entry | None:
        sent = [each for each in self.pending[way] if each.turn < self.halves[way].done]
        same = next((each for each in sent if each.payload == data), None)
        return same or next(iter(sent), None)

    def lost(self, frame: Frame, loss: Dropped) -> None:
        if frame.proto != UDP:
            return
        source, seen = (frame.src, frame.sport), self.talk.seen
        way = 1 if source == self.talk.sent[1] or (seen is not None and source == seen[1]) else 0
        size = frame.l4 + 8
        entry = self._entry(way, payload_of(frame) if len(frame.buf) >= size else b"")
        if entry is not None:
            entry.losses.append(loss)

    def finish(self, *, quiet: bool) -> None:
        flow, sock = self.talk.flow, self.socket
        if flow.outcome.word == "timeout":
            error = rejected(sock.errors, flow.losses) if sock is not None else None
            reached = bool(self.talk.seen) and not self.pending[1] and not error
            flow.outcome = DELIVERED if reached else error or silence(flow.losses)
        came = self.halves[1].got
        waits = f"the server waits for {self._fed[0]} datagrams of the client, and {came} have come"
        self.forget((self.halves[0].done, self.halves[1].done), (self.broken or "it was not sent", waits))
        self.talk.over = True
        if sock is not None:
            sock.close()


class PingSpeaker(Waiting):
    """Echo requests of one identifier, and the replies."""

    def __init__(self, talk: Talk, clock: Clock) -> None:
        super().__init__(talk)
        self.halves = (Half(clock), Half(clock))
        self.socket: PingSocket | None = None
        self._early: dict[int, tuple[Frame, str]] = {}

    def feed(self, recorded: Recorded, paired: Paired) -> None:
        seen, way = recorded.seen, self.direction(paired)
        entry = Entry(paired, recorded.payload, lo=seen.seq, hi=seen.seq)
        if way == 1:
            self._expect(1, entry)
            early = self._early.pop(seen.seq, None)
            if early is not None:
                self._take(entry, 1, *early)
            return
        talk = self.talk
        client, server = talk.stands
        try:
            if self.socket is None:
                assert client.net is not None
                self.socket = self._open(client.net.sockets, seen.ident)
                self.socket.addr = client.addr
                talk.sent = (client.addr, self.socket.ident), (server.target.addr, 0)
            self._expect(0, entry)
            self.socket.send(server.target.addr, seen.seq, recorded.payload)
        except SocketError as wrong:
            if entry in self.pending[0]:
                self.pending[0].remove(entry)
            if talk.flow.outcome.word != "delivered":
                talk.flow.outcome = failed(wrong)
            if entry.losses:
                entry.paired.dropped(entry.losses[-1], "")
            else:
                entry.paired.not_sent(f"the client cannot send: {wrong.name}", difference=True)
            talk.done(entry.paired)

    def _open(self, sockets: object, ident: int) -> PingSocket:
        opened: PingSocket
        try:
            opened = sockets.ping(self.talk.number, ident)  # type: ignore[attr-defined]
        except SocketError:
            opened = sockets.ping(self.talk.number)  # type: ignore[attr-defined]
        return opened

    def _expect(self, way: int, entry: Entry) -> None:
        pending = self.pending[way]
        pending.append(entry)
        if len(pending) > MOST_WAITING:
            self.talk.done(pending.popleft().paired.missing(f"{MOST_WAITING:,} packets of the flow wait already"))

    def arrived(self, frame: Frame, at: str) -> None:
        if frame.proto != ICMP:
            return
        kind, seq = frame.dport >> 8, sequence(frame)
        if kind not in (ECHO, ECHO_REPLY):
            self.talk.differ(f"an ICMP error reaches {at}, and the recording has none")
            return
        way = 0 if kind == ECHO else 1
        if way == 0 and self.talk.seen is None:
            self.talk.seen, self.talk.seen_at = ((frame.src, frame.sport), (frame.dst, 0)), at
        entry = next((each for each in self.pending[way] if each.lo == seq), None)
        if entry is not None:
            self._take(entry, way, frame, at)
        elif way == 1 and len(self._early) < MOST_WAITING:
            self._early[seq] = frame.clone(), at

    def _take(self, entry: Entry, way: int, frame: Frame, at: str) -> None:
        entry.came = bytearray(frame.payload[8:])
        self.arrive(entry, way, frame, at)
        if way == 1:
            self.talk.flow.outcome = DELIVERED

    def lost(self, frame: Frame, loss: Dropped) -> None:
        if frame.proto != ICMP or len(frame.buf) < frame.l4 + 8:
            return
        way = 0 if frame.dport >> 8 == ECHO else 1
        seq = sequence(frame)
        for entry in self.pending[way]:
            if entry.lo == seq:
                entry.losses.append(loss)

    def finish(self, *, quiet: bool) -> None:
        flow, sock = self.talk.flow, self.socket
        if flow.outcome.word == "timeout":
            error = rejected(sock.errors, flow.losses) if sock is not None else None
            flow.outcome = error or silence(flow.losses)
        if sock is None:
            self.broken = "the recording lacks the request"
        self.forget((1 << 30, 1 << 30), ("", ""))
        self.talk.over = True
        if sock is not None:
            sock.close()
