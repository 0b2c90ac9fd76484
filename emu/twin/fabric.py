"""A VPC between the kernel's cables: its ports are packet sockets, and what comes in is carried as the emulator's VPC does it.

A cloud's network is no kernel's, so there is no other judge of it; what stands at its ports is the kernel's own. Security
groups remember connections for each side apart. Must not know flows.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress

from emu.kube.underlay.vpc.fabric import Fabric, Sent
from emu.kube.underlay.vpc.vpc import Vpc
from emu.twin.loop import Loop
from emu.twin.ring import ETH_P_8021Q, VLAN_TPID_VALID, VLAN_VALID
from emu.twin.space import Space
from emu.wire.captured import tagged
from emu.wire.frame import Frame

SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 8, 23, 3
AUXDATA = struct.Struct("I12xHH")  # tpacket_auxdata: status, tag, and the tag's EtherType
LARGEST = 1 << 16
SIOCGIFMTU, SIOCSIFMTU, IFREQ = 0x8921, 0x8922, "16si20x"


class Port:
    """The VPC's end of one cable."""

    def __init__(self, ports: Ports, space: Space, name: str) -> None:
        self.ports, self.name = ports, name
        with space.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self.socket.setblocking(False)
            self.socket.bind((name, ETH_P_ALL))

    def fileno(self) -> int:
        return self.socket.fileno()

    def ready(self, events: int) -> None:
        self.ports.carry_all()

    def send(self, data: bytes | bytearray) -> None:
        """Send a frame of any length: a VPC has no MTU at this end of the cable, the other end refuses what is too long."""
        try:
            self.socket.send(data)
        except OSError as wrong:
            if wrong.errno != errno.EMSGSIZE:
                raise
            mtu = self._mtu(SIOCGIFMTU)
            self._mtu(SIOCSIFMTU, LARGEST - 1)
            with suppress(OSError):  # ENOBUFS: the other end has dropped it
                self.socket.send(data)
            self._mtu(SIOCSIFMTU, mtu)

    def _mtu(self, request: int, mtu: int = 0) -> int:
        """Read or set the device's MTU (netdevice(7))."""
        answer = fcntl.ioctl(self.socket, request, struct.pack(IFREQ, self.name.encode(), mtu))
        return int(struct.unpack(IFREQ, answer)[1])

    def take(self) -> Iterator[bytes]:
        """The frames that came in."""
        with suppress(OSError):  # nothing more is there, or the cable is gone
            while True:
                data, beside, *_ = self.socket.recvmsg(LARGEST, socket.CMSG_SPACE(AUXDATA.size))
                yield _tagged(data, beside)


def _tagged(data: bytes, beside: Iterable[tuple[int, int, bytes]]) -> bytes:
    """A frame with the VLAN's tag that the kernel took off, and gives beside it."""
    for level, kind, value in beside:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, tci, tpid = AUXDATA.unpack(value)
            if status & VLAN_VALID:
                return tagged(data, tpid if status & VLAN_TPID_VALID else ETH_P_8021Q, tci)
    return data


class Ports:
    """All cables of a VPC on the kernel's side."""

    def __init__(self, vpc: Vpc, loop: Loop) -> None:
        self.net, self._loop = vpc.net, loop
        known = vpc.fabric
        self._fabric = Fabric(vpc.cloud, lambda: loop.now, known.internet, known.gateway)
        self._ports: dict[str, Port] = {}
        loop.carry = self.carry_all

    def follow(self, space: Space, names: Iterable[str]) -> None:
        """Cables have come or gone."""
        wanted = {*names}
        for name in [name for name in self._ports if name not in wanted]:
            self._close(self._ports.pop(name))
        for name in sorted(wanted - self._ports.keys()):
            self._ports[name] = Port(self, space, name)
            self._loop.watch(self._ports[name])

    def carry_all(self) -> None:
        """Carry what has come in, and what comes of it."""
        while sum(self._carry(port) for port in self._ports.values()):
            pass

    def _carry(self, port: Port) -> int:
        """Carry what has come in at a port; how many frames it was."""
        count = 0
        for data in port.take():
            count += 1
            carry = self._fabric.arrive(port.name, Frame.parse(data))
            if isinstance(carry, Sent):
                self._ports[carry.port].send(carry.frame.buf)
        return count

    def _close(self, port: Port) -> None:
        self._loop.forget(port)
        port.socket.close()

    def close(self) -> None:
        for port in self._ports.values():
            self._close(port)
        self._ports.clear()
