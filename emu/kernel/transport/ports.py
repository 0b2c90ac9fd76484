"""The ports that sockets are bound to: one table a protocol, with the kernel's conflicts (net/ipv4/inet_connection_sock.c, udp.c).

Must not know what travels.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from emu.errors import SocketError
from emu.kernel.transport.inet import port_number
from emu.trail import SOCKETS

if TYPE_CHECKING:
    from emu.kernel.net.family import Family
    from emu.kernel.net.netns import Netns


@lru_cache(maxsize=64)
def _ranges(text: str) -> tuple[tuple[int, int], ...]:
    """`8080,9000-9010` of ip_local_reserved_ports as (first, last)."""
    ranges = [word.partition("-") for word in text.split(",") if word]
    return tuple((int(first), int(last or first)) for first, _, last in ranges)


class Ports:
    """Bound sockets of one protocol and address family in one namespace: `bound[port]` lists (address or 0, socket)."""

    __slots__ = ("_protocol", "bound", "family", "net")

    def __init__(self, net: Netns, family: Family, protocol: str) -> None:
        self.net, self.family = net, family
        self.bound: dict[int, list[tuple[int, Any]]] = {}
        self._protocol = protocol

    def free(self, addr: int, port: int, *, sharing: Any = None) -> bool:
        """May (addr, port) be bound? An address and the wildcard exclude each other; `sharing(socket)` may allow it."""
        return all(
            (addr and other and addr != other) or (sharing is not None and sharing(socket))
            for other, socket in self.bound.get(port, ())
        )

    def bind(self, addr: int, port: int, socket: Any, *, sharing: Any = None, parity: int | None = None) -> int:
        """Bind; port 0 takes an ephemeral one of `parity`. Gives the port. Raises SocketError EADDRNOTAVAIL or EADDRINUSE."""
        port_number(port)
        if addr and self.family.addr_type(addr) not in ("LOCAL", "BROADCAST", "MULTICAST"):
            raise SocketError(errno.EADDRNOTAVAIL)
        if not port:
            port = self.ephemeral(addr, parity=parity)
        elif not self.free(addr, port, sharing=sharing):
            raise SocketError(errno.EADDRINUSE)
        self.bound.setdefault(port, []).append((addr, socket))
        return port

    def ephemeral(self, addr: int, usable: Callable[[int], bool] | None = None, *, parity: int | None = None) -> int:
        """A free port of ip_local_port_range, from a random start. `parity`: first those at an even (0) or odd (1) distance
        from the range's first, and the others when all of them are taken. Raises SocketError EADDRNOTAVAIL when all are."""
        low, high = self.net.sysctl.numbers("net.ipv4.ip_local_port_range")
        reserved = _ranges(str(self.net.sysctl["net.ipv4.ip_local_reserved_ports"]))
        count = high - low + 1
        if parity is not None and count > 1:
            count &= ~1  # the last port of a range with an odd count is never taken (__inet_hash_connect)
        start = self.net.clock.random(f"ports/{self.net.name}/{self._protocol}").randrange(count)
        passes = (
            ((start, 1),) if parity is None or count == 1 else ((start & ~1 | parity, 2), (start & ~1 | 1 - parity, 2))
        )
        for first, step in passes:
            for distance in range(0, count, step):
                port = low + (first + distance) % count
                if reserved and any(bottom <= port <= top for bottom, top in reserved):
                    continue
                if usable(port) if usable is not None else self.free(addr, port):
                    return port
        raise SocketError(errno.EADDRNOTAVAIL)

    def rebind(self, old: int, new: int, port: int, socket: Any) -> None:
        """The socket's address became known (connect chose a source)."""
        entries = self.bound[port]
        entries[entries.index((old, socket))] = (new, socket)

    def changed(self) -> None:
        """A socket listens now, or no more: call the namespace's recorder, if there is one."""
        if self.net.recorder is not None:
            self.net.recorder.reread(SOCKETS)

    def release(self, port: int, socket: Any) -> None:
        entries = self.bound.get(port)
        if entries is not None:
            entries[:] = [entry for entry in entries if entry[1] is not socket]
            if not entries:
                del self.bound[port]
            self.changed()

    def lookup(self, addr: int, port: int) -> Any:
        """The socket that a packet to (addr, port) reaches: the exact address before the wildcard; None if none is bound."""
        found = None
        for other, socket in self.bound.get(port, ()):
            if other == addr:
                return socket
            if not other:
                found = socket
        return found
