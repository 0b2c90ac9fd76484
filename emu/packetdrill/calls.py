"""The calls of a script made on the sockets of an emulated host. Must not know a script's times or packets.

A call gives its result, the negative errno that it failed with, or a `Waiting` that has the result later. What is outside of the subset
is an InputError.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from emu.errors import InputError, SocketError
from emu.kernel.net.netns import Netns
from emu.kernel.transport.tcp_socket import TcpSocket
from emu.kernel.transport.udp import UdpSocket
from emu.packetdrill.call import GIVEN, Call, Names

Endpoint = tuple[str, int]
Value = object
_FLAGS = frozenset(("MSG_DONTWAIT", "MSG_NOSIGNAL", "MSG_MORE"))
_WITHOUT_EFFECT = frozenset(("SO_REUSEADDR", "SO_REUSEPORT"))
_HOWS = {"SHUT_RD": 0, "SHUT_WR": 1, "SHUT_RDWR": 2}


@dataclass
class Waiting:
    """A call that has not ended: `result()` gives None until it has."""

    result: Callable[[], int | None]


@dataclass
class File:
    """An open socket of the script, and how it was opened."""

    socket: TcpSocket | UdpSocket
    nonblocking: bool = False
    read_ended: bool = False


@dataclass
class Calls:
    """The program of a script. `local` and `remote` are the ends that `...` stands for in bind and connect."""

    net: Netns
    local: Endpoint
    remote: Endpoint
    files: dict[int, File] = field(default_factory=dict)
    last: TcpSocket | None = None  # the connection under test

    def make(self, call: Call, blocking: bool) -> int | Waiting:
        """Make a call. Raises InputError for what is outside of the subset."""
        method = _CALLS.get(call.name)
        if method is None:
            raise InputError(
                f"the call {call.name}() is outside of the subset", expected=f"one of {', '.join(sorted(_CALLS))}"
            )
        try:
            return method(self, call.arguments, call, blocking)
        except SocketError as failure:
            return -(failure.errno or 0)

    def _file(self, arguments: Sequence[Value], call: Call) -> File:
        number = arguments[0] if arguments else None
        if not isinstance(number, int):
            raise InputError(f"{call.name}() has no file descriptor", expected="a number")
        if number not in self.files:
            raise SocketError(errno.EBADF)
        file = self.files[number]
        if isinstance(file.socket, TcpSocket) and file.socket.endpoint is not None:
            self.last = file.socket
        return file

    def _tcp(self, arguments: Sequence[Value], call: Call) -> tuple[File, TcpSocket]:
        file = self._file(arguments, call)
        if not isinstance(file.socket, TcpSocket):
            raise SocketError(errno.EOPNOTSUPP)
        return file, file.socket

    # -- opening --------------------------------------------------------------------------------

    def socket(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int:
        kind = _names(arguments, 1)
        if kind[:1] not in (("SOCK_STREAM",), ("SOCK_DGRAM",)):
            raise _outside(f"socket() of type {'|'.join(kind)}", "SOCK_STREAM or SOCK_DGRAM")
        if _names(arguments, 2)[:1] not in (("IPPROTO_TCP",), ("IPPROTO_UDP",), ("0",)):
            raise _outside(f"socket() of protocol {'|'.join(_names(arguments, 2))}", "IPPROTO_TCP or IPPROTO_UDP")
        if _names(arguments, 2)[0] == ("IPPROTO_UDP" if kind[0] == "SOCK_STREAM" else "IPPROTO_TCP"):
            return -errno.EPROTONOSUPPORT
        made = self.net.sockets.tcp() if kind[0] == "SOCK_STREAM" else self.net.sockets.udp()
        return self._opened(call, File(made, "SOCK_NONBLOCK" in kind))

    def _opened(self, call: Call, file: File) -> int:
        number = call.result if call.result is not None and call.result >= 0 else max(self.files, default=2) + 1
        self.files[number] = file
        return number

    def bind(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int:
        _ends(arguments, call, 1)
        self._file(arguments, call).socket.bind(self.local)
        return 0

    def listen(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int:
        _file, socket = self._tcp(arguments, call)
        socket.listen(_number(arguments, 1, call))
        return 0

    def accept(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int | Waiting:
        file, listener = self._tcp(arguments, call)

        def accepted() -> int | None:
            if not listener.accepted:
                return None
            child = listener.accept()
            self.last = child
            return self._opened(call, File(child))

        return self._until(accepted, file)

    def connect(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int | Waiting:
        _ends(arguments, call, 1)
        file = self._file(arguments, call)
        socket = file.socket
        if isinstance(socket, UdpSocket):
            socket.connect(self.remote)
            return 0
        if socket.endpoint is not None:
            return self._connected(socket) or -(errno.EALREADY if socket.state == "SYN_SENT" else errno.EISCONN)
        socket.blocking = not file.nonblocking
        socket.connect(self.remote)
        self.last = socket
        if file.nonblocking:
            return -errno.EINPROGRESS
        return self._until(lambda: self._connected(socket), file)

    @staticmethod
    def _connected(socket: TcpSocket) -> int | None:
        if socket.pending:
            number, socket.pending = socket.pending, 0
            return -number
        return 0 if socket.connected else None

    @staticmethod
    def _until(result: Callable[[], int | None], file: File) -> int | Waiting:
        """The result, if it is there; else EAGAIN, or wait for it."""
        found = result()
        if found is not None:
            return found
        return -errno.EAGAIN if file.nonblocking else Waiting(result)

    # -- talking --------------------------------------------------------------------------------

    def write(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int | Waiting:
        _buffer(arguments, call)
        return self._send(self._file(arguments, call), _number(arguments, 2, call), ())

    def send(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int | Waiting:
        _buffer(arguments, call)
        flags = tuple(name for name in _names(arguments, 3) if name != "0")
        wrong = next((name for name in flags if name not in _FLAGS), None)
        if wrong is not None:
            raise _outside(f"{call.name}() with {wrong}", ", ".join(sorted(_FLAGS)))
        return self._send(self._file(arguments, call), _number(arguments, 2, call), flags)

    def _send(self, file: File, size: int, flags: Sequence[str]) -> int | Waiting:
        socket, data = file.socket, bytes(size)
        if isinstance(socket, UdpSocket):
            return socket.send(data) if socket.remote else socket.sendto(data, self.remote)
        endpoint = socket.endpoint
        if endpoint is None or not endpoint.may_write:
            return socket.send(data)  # gives its error
        if socket.pending:
            number, socket.pending = socket.pending, 0
            return -number
        taken = 0

        def more() -> int | None:
            nonlocal taken
            if socket.state == "CLOSE":
                return taken or -(socket.error or errno.EPIPE)
            while taken < size and not endpoint.no_space:
                segments = endpoint.write(data[taken:], self.net.clock.now, more="MSG_MORE" in flags)
                taken += endpoint.taken
                socket.output(segments)
            return taken if taken == size else None

        found = more()
        if found is not None:
            return found
        if file.nonblocking or "MSG_DONTWAIT" in flags:
            return taken or -errno.EAGAIN
        return Waiting(more)

    def sendto(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int | Waiting:
        return self.send(arguments, call, blocking)

    def read(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int | Waiting:
        _buffer(arguments, call)
        file, most = self._file(arguments, call), _number(arguments, 2, call)
        flags = [name for name in _names(arguments, 3) if name not in ("0", "MSG_DONTWAIT")]
        if flags:
            raise _outside(f"{call.name}() with {'|'.join(flags)}", "MSG_DONTWAIT or 0")

        def received() -> int | None:
            try:
                if isinstance(file.socket, UdpSocket):
                    return min(len(file.socket.recvfrom()[0]), most)
                if file.read_ended and not (file.socket.endpoint and file.socket.endpoint.readable):
                    return 0
                return len(file.socket.recv(most))
            except SocketError as failure:
                return None if failure.errno == errno.EAGAIN else -(failure.errno or 0)

        found = received()
        if found is None and "MSG_DONTWAIT" in _names(arguments, 3):
            return -errno.EAGAIN
        return found if found is not None else self._until(received, file)

    # -- ending ---------------------------------------------------------------------------------

    def close(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int:
        file = self._file(arguments, call)
        del self.files[_number(arguments, 0, call)]
        file.socket.close()
        return 0

    def shutdown(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int:
        file, socket = self._tcp(arguments, call)
        how = _HOWS.get("|".join(_names(arguments, 1)))
        if how is None:
            raise _outside(f"shutdown() by {'|'.join(_names(arguments, 1))}", ", ".join(_HOWS))
        if not socket.connected:
            return -errno.ENOTCONN
        if how != 1:
            file.read_ended = True
            assert socket.endpoint is not None
            socket.endpoint.shutdown_read()
        if how:
            socket.shutdown()
        return 0

    # -- options --------------------------------------------------------------------------------

    def setsockopt(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int:
        file = self._file(arguments, call)
        socket, name = file.socket, "|".join(_names(arguments, 2))
        if name in _WITHOUT_EFFECT:
            return 0
        value = arguments[3] if len(arguments) > 3 else None
        number = value[0] if isinstance(value, list) and value and isinstance(value[0], int) else None
        if isinstance(socket, TcpSocket) and number is not None:
            if name == "TCP_NODELAY":
                socket.nodelay = bool(number)
                return 0
            if name == "SO_SNDBUF" and socket.endpoint is not None:
                socket.endpoint.set_sndbuf(min(number, self.net.sysctl.number("net.core.wmem_max")))
                return 0
        raise _outside(f"setsockopt() of {name}", "TCP_NODELAY, SO_SNDBUF of a connection, SO_REUSEADDR")

    def getsockopt(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int:
        socket = self._file(arguments, call).socket
        name = "|".join(_names(arguments, 2))
        wanted = arguments[3] if len(arguments) > 3 else None
        if not isinstance(wanted, list) or len(wanted) != 1:
            raise _outside(f"getsockopt() of {name} with {wanted!r}", "[VALUE]")
        found = self._option(socket, name)
        expected = _errno_value(wanted[0])
        if found != expected:
            raise Differs(f"the value of {name}", str(expected), str(found))
        return 0

    def _option(self, socket: TcpSocket | UdpSocket, name: str) -> int:
        if name == "SO_ERROR":
            number, socket.pending = socket.pending, 0
            return number
        if isinstance(socket, TcpSocket) and socket.endpoint is not None:
            if name == "TCP_MAXSEG":
                return socket.endpoint.mss
            if name == "SO_SNDBUF":
                return socket.endpoint.sndbuf
            if name == "TCP_NODELAY":
                return int(socket.nodelay)
        raise _outside(f"getsockopt() of {name}", "SO_ERROR, TCP_MAXSEG, TCP_NODELAY or SO_SNDBUF of a connection")

    def fcntl(self, arguments: Sequence[Value], call: Call, blocking: bool) -> int:
        file, what = self._file(arguments, call), "|".join(_names(arguments, 1))
        if what == "F_GETFL":
            return 2 | (0o4000 if file.nonblocking else 0)
        if what == "F_SETFL":
            file.nonblocking = "O_NONBLOCK" in _names(arguments, 2)
            return 0
        raise _outside(f"fcntl() by {what}", "F_GETFL or F_SETFL")


class Differs(Exception):
    """A value that a call gave is not the script's."""

    def __init__(self, what: str, expected: str, actual: str) -> None:
        super().__init__(what)
        self.what, self.expected, self.actual = what, expected, actual


def _outside(what: str, expected: str) -> InputError:
    return InputError(f"{what} is outside of the subset", expected=expected)


def _names(arguments: Sequence[Value], at: int) -> tuple[str, ...]:
    value = arguments[at] if at < len(arguments) else None
    return value.names if isinstance(value, Names) else (str(value),) if isinstance(value, int) else ()


def _number(arguments: Sequence[Value], at: int, call: Call) -> int:
    value = arguments[at] if at < len(arguments) else None
    if not isinstance(value, int) or value < 0:
        raise InputError(f"{call.name}() has no number in place {at + 1}", expected="a number")
    return value


def _buffer(arguments: Sequence[Value], call: Call) -> None:
    if len(arguments) < 3 or arguments[1] is not GIVEN:
        raise _outside(f"{call.name}() with a buffer", "... for the buffer")


def _ends(arguments: Sequence[Value], call: Call, first: int) -> None:
    if any(value is not GIVEN for value in arguments[first:]):
        raise _outside(f"{call.name}() with an address", "... for the address")


def _errno_value(value: object) -> object:
    """A number, or the number of an errno's name."""
    if isinstance(value, Names) and len(value.names) == 1:
        return getattr(errno, value.names[0], value)
    return value


_CALLS = {
    "socket": Calls.socket, "bind": Calls.bind, "listen": Calls.listen, "accept": Calls.accept, "connect": Calls.connect,
    "write": Calls.write, "send": Calls.send, "sendto": Calls.sendto, "read": Calls.read, "recv": Calls.read,
    "recvfrom": Calls.read, "close": Calls.close, "shutdown": Calls.shutdown, "setsockopt": Calls.setsockopt,
    "getsockopt": Calls.getsockopt, "fcntl": Calls.fcntl,
}  # fmt: skip
