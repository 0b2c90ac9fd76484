"""script: answers with given bytes. A talk is written down as turns: so much must have come, then so much is sent.

The same half of a talk plays a server in a pod, and either side of a recorded connection (`kube/flow/replay`). It counts what
comes, bytes of TCP or datagrams of UDP, and does not read it. Must not know who its peers are, or where turns come from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from emu.apps import APP_DELAY_NS, Host, Running, apps, refuse_protocol
from emu.apps.serve import Connection, TcpServer, UdpServer
from emu.clock import Clock

FIN, RST = "FIN", "RST"
CLIENT, SERVER = "client", "server"


class Turn(NamedTuple):
    """Once `needs` of the peer's has come (bytes, or datagrams), and with `eof` its end, too: `after_ns` later send `data`, or
    end: `ends` is FIN, RST or ""."""

    needs: int
    data: bytes | None = None
    after_ns: int = 0
    ends: str = ""
    eof: bool = False


class Line(NamedTuple):
    """A line of a talk that has both halves: who sends it, the bytes, and how long that takes, ns."""

    who: str
    data: bytes
    after_ns: int = 0


class End(Protocol):
    """Where a half sends: a connection, or a datagram's peer."""

    closed: bool

    def send(self, data: bytes) -> None: ...
    def shutdown(self) -> None: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...


class Half:
    """One half of a talk: a conversation (`serve.Conversation`) that follows its turns. `got` counts what came, `done` the turns
    that were taken. `endless`: further turns may be added, so that the peer's end alone is no reason to close."""

    def __init__(
        self, clock: Clock, turns: Iterable[Turn] = (), *, endless: bool = False, datagrams: bool = False
    ) -> None:
        self._clock, self._endless, self._datagrams = clock, endless, datagrams
        self.turns = deque(turns)
        self.end: End | None = None
        self.got = self.done = 0
        self.eof = self._thinking = self._going = False
        self._finished = False

    def add(self, turn: Turn) -> None:
        self.turns.append(turn)
        self.go()

    def opened(self, end: End) -> None:
        self.end = end
        self.go()

    def received(self, data: bytes, end: End) -> None:
        self.end = end
        self.got += 1 if self._datagrams else len(data)
        self.go()

    def ended(self, end: End) -> None:
        self.end, self.eof = end, True
        self.go()
        if not end.closed and (self._finished or (not self._endless and not self._thinking)):
            end.close()

    def go(self) -> None:
        """Take every turn whose time has come."""
        if self._going or self._thinking:
            return
        self._going = True
        while self.turns and self.end is not None and not self.end.closed:
            turn = self.turns[0]
            if turn.needs > self.got or (turn.eof and not self.eof):
                break
            if turn.after_ns:
                self.turns[0] = turn._replace(after_ns=0)
                self._thinking = True
                self._clock.call_later(turn.after_ns, self._thought)
                break
            self.turns.popleft()
            self.done += 1
            self._take(turn, self.end)
        self._going = False

    def _thought(self) -> None:
        self._thinking = False
        self.go()
        if self.eof and not self.turns and not self._endless and self.end is not None:
            self.end.close()

    def _take(self, turn: Turn, end: End) -> None:
        if turn.data is not None:
            end.send(turn.data)
        if turn.ends == RST:
            end.reset()
        elif turn.ends == FIN:
            self._finished = True
            if self.eof:
                end.close()
            else:
                end.shutdown()


def turns_of(talk: Sequence[Line], who: str, *, datagrams: bool = False) -> list[Turn]:
    """One half of a talk as turns: each line waits for all lines of the other side before it."""
    turns, came = [], 0
    for line in talk:
        if line.who == who:
            turns.append(Turn(came, line.data, line.after_ns))
        else:
            came += 1 if datagrams else len(line.data)
    return turns


class Chooses:
    """A conversation whose half is chosen when its connection opens. `choose(flow)` may give none: then it reads only."""

    def __init__(self, choose: Callable[[int], Half | None]) -> None:
        self._choose = choose
        self._half: Half | None = None

    def opened(self, connection: Connection) -> None:
        self._half = self._choose(connection.socket.flow)
        if self._half is not None:
            connection.socket.nodelay = True
            self._half.opened(connection)

    def received(self, data: bytes, connection: Connection) -> None:
        if self._half is not None:
            self._half.received(data, connection)

    def ended(self, connection: Connection) -> None:
        if self._half is not None:
            self._half.ended(connection)
        else:
            connection.close()


class Peer:
    """One peer of a UDP server, as the end of a half."""

    def __init__(self, server: ScriptUdp, addr: tuple[str, int], flow: int) -> None:
        self._server, self.addr, self.flow = server, addr, flow
        self.closed = False

    def send(self, data: bytes) -> None:
        if not self._server.socket.closed:
            self._server.send(data, self.addr, self.flow)

    def shutdown(self) -> None:
        """Datagrams have no end."""

    reset = close = shutdown


class ScriptUdp(UdpServer):
    """Datagrams for halves: `choose(flow)` gives the half of a peer's first one, None for silence. A host of many addresses answers
    from `addr`."""

    def __init__(self, net: Host, port: int, choose: Callable[[int], Half | None], addr: str | int = "0.0.0.0") -> None:
        super().__init__(net, port, lambda data: None, addr)
        self._choose = choose
        self._peers: dict[tuple[tuple[str, int], int], tuple[Half | None, Peer]] = {}

    def received(self, data: bytes, peer: tuple[str, int], flow: int) -> None:
        known = self._peers.get((peer, flow))
        if known is None:
            known = self._peers[peer, flow] = self._choose(flow), Peer(self, peer, flow)
        half, end = known
        if half is not None:
            half.received(data, end)

    def forget(self, flow: int) -> None:
        """The flow's talk is over."""
        for key in [each for each in self._peers if each[1] == flow]:
            del self._peers[key]


@runtime_checkable
class Scripted(Protocol):
    """An app that gets its lines."""

    def play(self, talk: Sequence[Line]) -> None:
        """Follow this talk, as its server, with each peer."""


class ScriptApp:
    """The app in a pod: every connection, and every peer of UDP, gets the same talk. Without one it reads only."""

    def __init__(self, net: Host, port: int, protocol: str) -> None:
        self._clock: Clock = net.clock
        self._datagrams = protocol == "UDP"
        self.talk: Sequence[Line] = ()
        self._server: TcpServer | ScriptUdp
        if self._datagrams:
            self._server = ScriptUdp(net, port, self._half)
        else:
            self._server = TcpServer(net, port, lambda: Chooses(self._half))

    def play(self, talk: Sequence[Line]) -> None:
        self.talk = tuple(talk)

    def _half(self, flow: int) -> Half:
        return Half(self._clock, turns_of(self.talk, SERVER, datagrams=self._datagrams), datagrams=self._datagrams)

    def stop(self) -> None:
        self._server.stop()


@apps.add("script")
def script(net: Host, port: int, protocol: str, name: str) -> Running:
    """TCP and UDP."""
    if protocol not in ("TCP", "UDP"):
        raise refuse_protocol("script", protocol, "TCP", "UDP")
    return ScriptApp(net, port, protocol)


__all__ = ["APP_DELAY_NS", "CLIENT", "FIN", "RST", "SERVER", "Chooses", "Half", "Line", "ScriptUdp", "Turn", "turns_of"]
