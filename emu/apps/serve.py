"""The servers that apps are built on: a TCP server with one conversation for each connection, and a UDP server.

Both act later than they are woken, and once for each wake-up. An app passes in its conversation, or its function
for datagrams. Must not know what is served.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from emu.apps import APP_DELAY_NS, Host
from emu.errors import SocketError
from emu.kernel.transport.tcp_socket import TcpSocket
from emu.kernel.transport.udp import UdpSocket


class Conversation(Protocol):
    """How an app serves one connection."""

    def received(self, data: bytes, connection: Connection) -> None:
        """Bytes came."""

    def ended(self, connection: Connection) -> None:
        """The peer has ended its side."""


class Speaking(Conversation, Protocol):
    """A conversation that may send before its peer does."""

    def opened(self, connection: Connection) -> None:
        """The connection was accepted."""


class Connections(Protocol):
    """Who keeps connections: a server, or the one who opened them."""

    connections: dict[Connection, None]


class Wakes:
    """Turns any number of wake-ups into one call, `APP_DELAY_NS` later."""

    __slots__ = ("_net", "_planned", "_work")

    def __init__(self, net: Host, work: Callable[[], None]) -> None:
        self._net, self._work, self._planned = net, work, False

    def __call__(self) -> None:
        if not self._planned:
            self._planned = True
            self._net.clock.call_later(APP_DELAY_NS, self._act)

    def _act(self) -> None:
        self._planned = False
        self._work()


class Connection:
    """A connection with the conversation of its one side. `closed`: nothing is read or sent any more."""

    __slots__ = ("_conversation", "_server", "closed", "socket")

    def __init__(self, server: Connections, socket: TcpSocket, conversation: Conversation) -> None:
        self._server, self.socket, self._conversation = server, socket, conversation
        self.closed = False
        socket.on_readable = Wakes(socket.net, self.work)

    @property
    def peer(self) -> tuple[str, int]:
        """The address and port of the other side."""
        return self.socket.peer

    def work(self) -> None:
        """Read all data and pass it to the conversation."""
        while not self.closed:
            try:
                data = self.socket.recv()
            except SocketError as error:
                if error.errno != errno.EAGAIN:
                    self.close()
                return
            if not data:
                self.socket.on_readable = None
                self._conversation.ended(self)
                return
            self._conversation.received(data, self)

    def send(self, data: bytes) -> None:
        """Send; the connection ends if the peer has closed it."""
        if not self.closed:
            try:
                self.socket.send(data)
            except SocketError:
                self.close()

    def shutdown(self) -> None:
        """End this side, and go on reading."""
        if not self.closed:
            try:
                self.socket.shutdown()
            except SocketError:
                self.close()

    def close(self) -> None:
        if self._leave():
            self.socket.close()

    def reset(self) -> None:
        """End by RST."""
        if self._leave():
            self.socket.abort()

    def _leave(self) -> bool:
        if self.closed:
            return False
        self.closed = True
        self.socket.on_readable = None
        self._server.connections.pop(self, None)
        return True


class TcpServer:
    """Listens and starts a conversation for each connection. Raises SocketError EADDRINUSE."""

    def __init__(self, net: Host, port: int, converse: Callable[[], Conversation]) -> None:
        self._converse = converse
        self.connections: dict[Connection, None] = {}  # in the order in which they were accepted
        self.socket = net.sockets.tcp()
        self.socket.bind(("0.0.0.0", port))
        self.socket.listen()
        self.socket.on_readable = Wakes(net, self._accept)

    def _accept(self) -> None:
        while not self.socket.closed:
            try:
                socket = self.socket.accept()
            except SocketError:
                return
            conversation = self._converse()
            connection = Connection(self, socket, conversation)
            self.connections[connection] = None
            opened = getattr(
                conversation, "opened", None
            )  # of `Speaking`: a question to each connection, so no search for a protocol
            if opened is not None:
                opened(connection)
            connection.work()  # data that came with the handshake caused no wake-up

    def stop(self) -> None:
        self.socket.on_readable = None
        for connection in list(self.connections):
            connection.close()
        self.socket.close()


class UdpServer:
    """Answers datagrams with `answer(data)`, None for silence; an answer belongs to the flow that asked.

    Raises SocketError EADDRINUSE.
    """

    def __init__(
        self, net: Host, port: int, answer: Callable[[bytes], bytes | None], addr: str | int = "0.0.0.0"
    ) -> None:
        self._answer = answer
        self.socket: UdpSocket = net.sockets.udp()
        self.socket.bind((addr, port))
        self.socket.on_readable = Wakes(net, self._work)

    def _work(self) -> None:
        while self.socket.inbox:
            flow = self.socket.inbox[0][3]
            try:
                self.received(*self.socket.recvfrom(), flow)
            except SocketError:
                continue  # a server would log the error and continue

    def received(self, data: bytes, peer: tuple[str, int], flow: int) -> None:
        """A datagram of a flow came. Raises SocketError."""
        answer = self._answer(data)
        if answer is not None:
            self.send(answer, peer, flow)

    def send(self, data: bytes, peer: tuple[str, int], flow: int) -> None:
        """Raises SocketError."""
        self.socket.flow = flow
        self.socket.sendto(data, peer)

    def stop(self) -> None:
        self.socket.on_readable = None
        self.socket.close()
