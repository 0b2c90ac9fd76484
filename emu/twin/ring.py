"""Every frame at every interface of one namespace; the kernel copies it at the time of capture (PACKET_RX_RING).

A plain `recv()` would return clones that share their bytes with the frame, and show later rewriting. The
interfaces are not promiscuous: that would change a bridge's behaviour. Must not know what a frame means, and must not use emu's own parsers.
"""

from __future__ import annotations

import mmap
import socket
import struct
from typing import NamedTuple

from emu.twin.space import Space, TwinError
from emu.wire.captured import tagged

SOL_PACKET, PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION, TPACKET_V2 = 263, 5, 6, 10, 1
ETH_P_ALL = 3
BLOCK, BLOCKS = 1 << 16, 64
HEADROOM = 128  # at least the size of tpacket2_hdr, sockaddr_ll and the gap before the frame
DIRECTIONS = {0: "in", 1: "in", 2: "in", 3: "in-other", 4: "out"}  # if_packet.h, pkt_type


# linux/if_packet.h: tpacket2_hdr, and the bits of its status
_HEAD = struct.Struct("IIIHHIIHH")
VLAN_VALID, VLAN_TPID_VALID, ETH_P_8021Q, VLAN_HLEN = 1 << 4, 1 << 6, 0x8100, 4


class Seen(NamedTuple):
    """One frame at one interface: time (ns of the host's clock), namespace, device, direction."""

    at_ns: int
    space: str
    device: str
    way: str
    data: bytes
    length: int


class Ring:
    """`snap` is how many bytes of a frame are kept: all, unless the frame is longer than the links allow (on lo, or
    reassembled). Raises TwinError when the ring overflows."""

    def __init__(self, space: Space, largest: int = 1514) -> None:
        self.space = space
        self.slot = 1 << max(11, (largest + HEADROOM - 1).bit_length())
        with space.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
        self.snap = self.slot - HEADROOM
        self.slots, self.next = BLOCK * BLOCKS // self.slot, 0
        request = struct.pack("IIII", BLOCK, BLOCKS, self.slot, self.slots)
        self.socket.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
        self.memory = mmap.mmap(self.socket.fileno(), BLOCK * BLOCKS)
        self.names: dict[int, str] = {}

    def take(self) -> list[Seen]:
        """The frames since the last call, in the kernel's order."""
        found = []
        while True:
            at = self.next * self.slot
            status, length, size, mac, _, seconds, nanoseconds, tci, tpid = _HEAD.unpack_from(self.memory, at)
            if not status & 1:
                break
            ifindex, _, kind = struct.unpack_from("iHB", self.memory, at + 32 + 4)
            name = self.names.get(ifindex) or self._name(ifindex)
            # a frame on lo is captured once, when it is received, as in libpcap
            if not (name == "lo" and kind == 4):
                data = self.memory[at + mac : at + mac + min(size, self.snap)]
                if status & VLAN_VALID:  # the kernel takes a received frame's tag off, and keeps it beside the frame
                    data = tagged(data, tpid if status & VLAN_TPID_VALID else ETH_P_8021Q, tci)[: self.snap]
                    length += VLAN_HLEN
                at_ns = seconds * 1_000_000_000 + nanoseconds
                found.append(Seen(at_ns, self.space.name, name, DIRECTIONS.get(kind, "in"), data, length))
            struct.pack_into("I", self.memory, at, 0)
            self.next = (self.next + 1) % self.slots
        if found:
            _seen, lost, *_ = struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
            if lost:
                raise TwinError(f"{self.space.name}: {lost} frames came faster than they could be captured")
        return found

    def _name(self, ifindex: int) -> str:
        with self.space.inside():
            self.names.update(dict(socket.if_nameindex()))
        return self.names.setdefault(ifindex, f"if{ifindex}")

    def close(self) -> None:
        self.memory.close()
        self.socket.close()
