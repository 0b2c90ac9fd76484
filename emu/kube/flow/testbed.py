"""The interface that flows run on: a clock, clients' namespaces with their sockets, and perhaps a capture.

A cluster implements it with emulated namespaces, the twin with real ones. Must not know either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from emu.capture.capture import Capture
from emu.kernel.net.netns import Netns, Tally
from emu.kernel.transport.inet import Endpoint, IcmpError
from emu.kernel.transport.ping import EchoReply


class Time(Protocol):
    """A clock as flows use it (`emu.clock.Clock`). `now` in ns."""

    now: int

    def run_until(self, end_ns: int) -> None:
        """Run everything that is due up to `end_ns`."""

    def run(self, limit_ns: int, until: Callable[[], bool]) -> None:
        """Run until `until()` holds or `now` is `limit_ns`."""


class Socket(Protocol):
    """What all sockets of clients share. `errors` lists the ICMP errors received."""

    @property
    def errors(self) -> list[IcmpError]: ...
    def close(self) -> None: ...


class Ported(Socket, Protocol):
    """A TCP or UDP socket, bound to `addr` and `port` (ints; 0: not yet). Calls raise SocketError."""

    @property
    def addr(self) -> int: ...
    @property
    def port(self) -> int: ...
    def bind(self, local: Endpoint) -> None: ...
    def connect(self, remote: Endpoint) -> None: ...
    def send(self, data: bytes) -> int: ...


class Stream(Protocol):
    """A connection's receiving side. `readable` counts bytes; `eof`: the peer has sent FIN and all data is read."""

    @property
    def state(self) -> str: ...
    @property
    def readable(self) -> int: ...
    @property
    def eof(self) -> bool: ...


class TcpClient(Ported, Protocol):
    """As `emu.kernel.transport.tcp_socket.TcpSocket`."""

    flow: int
    blocking: bool

    @property
    def connected(self) -> bool: ...
    @property
    def state(self) -> str: ...
    @property
    def error(self) -> int: ...
    @property
    def endpoint(self) -> Stream | None: ...
    def recv(self) -> bytes: ...
    def abort(self) -> None: ...


class UdpClient(Ported, Protocol):
    """As `emu.kernel.transport.udp.UdpSocket`."""

    @property
    def inbox(self) -> deque[tuple[bytes, int, int, int]]: ...
    def sendto(self, data: bytes, remote: Endpoint) -> int: ...
    def recvfrom(self) -> tuple[bytes, tuple[str, int]]: ...


class PingClient(Socket, Protocol):
    """As `emu.kernel.transport.ping.PingSocket`."""

    ttl: int

    @property
    def replies(self) -> list[EchoReply]: ...
    def send(self, dst: str | int, seq: int = 1, data: bytes = b"") -> None: ...


class Testbed(Protocol):
    """What flows run on. `namespaces` are the emulated ones by display name, without any where there are none; `gone` counts
    the packets of those that were there before."""

    @property
    def clock(self) -> Time: ...
    @property
    def namespaces(self) -> Mapping[str, Netns]: ...
    @property
    def gone(self) -> Tally: ...
    @property
    def capture(self) -> Capture | None: ...
