"""A lab's namespaces once more in this machine's kernel: frames are sent there by raw sockets, and seen on each interface.

The namespaces are gone afterwards. Must not know which lab it is.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from emu.kernel.net.neighbour import lookup
from emu.kernel.net.netns import Netns
from emu.lab import Lab
from emu.twin.mirror import Mirror
from emu.twin.ring import Ring, Seen
from emu.twin.space import Space
from emu.wire.addr import ip4
from twins import needs_twin

F = TypeVar("F", bound=Callable[..., object])
PAUSE_S = 0.001


def kernel_judges(test: F) -> F:
    """A mark for tests that ask the kernel: they are skipped, loudly, where none can be asked."""
    for mark in needs_twin:
        test = mark(test)
    return test


def know(net: Netns, device: str, entries: Mapping[str, bytes]) -> None:
    """Permanent neighbour entries, so that no host sends ARP."""
    for addr, lladdr in entries.items():
        entry = lookup(net.ipv4, net.device(device), ip4(addr))
        assert entry is not None
        entry.update(lladdr, "PERMANENT")


class KernelLab:
    """`largest` is the size of the largest frame, bytes. An answer ends when no interface saw anything for `quiet_s`."""

    def __init__(self, lab: Lab, quiet_s: float, largest: int) -> None:
        self._quiet_s, self._mirror = quiet_s, Mirror()
        self._raws: dict[tuple[str, str], socket.socket] = {}
        self._rings: list[Ring] = []
        try:
            self._mirror.sync(lab.namespaces)
            self.spaces: dict[str, Space] = {net.name: space for net, space in self._mirror.spaces.items()}
            self._rings += [Ring(space, largest) for space in self.spaces.values()]
        except BaseException:
            self.close()
            raise
        self.take()

    def send(self, net: str, device: str, data: bytes) -> None:
        """A frame, as a program with a packet socket sends it."""
        if (net, device) not in self._raws:
            with self.spaces[net].inside():
                raw = self._raws[net, device] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            raw.bind((device, 0))
        self._raws[net, device].send(data)

    def take(self, wait_s: float = 0) -> list[Seen]:
        """What was seen until the answer ended, after `wait_s` at the earliest."""
        found: list[Seen] = []
        silent_at = time.monotonic() + wait_s + self._quiet_s
        while time.monotonic() < silent_at:
            time.sleep(PAUSE_S)
            new = [seen for ring in self._rings for seen in ring.take()]
            if new:
                silent_at = max(silent_at, time.monotonic() + self._quiet_s)
            found += new
        return found

    def close(self) -> None:
        for ring in self._rings:
            ring.close()
        for raw in self._raws.values():
            raw.close()
        self._mirror.close()


@contextmanager
def kernel_lab(lab: Lab, quiet_s: float, largest: int = 1514) -> Iterator[KernelLab]:
    made = KernelLab(lab, quiet_s, largest)
    try:
        yield made
    finally:
        made.close()
