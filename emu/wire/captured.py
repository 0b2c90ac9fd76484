"""Places in captured bytes: a whole Ethernet frame that no namespace holds any more.

For those who look at many frames and want one thing of each; `summary` has all fields of one. Must not know captures.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Any

from emu.wire import vxlan
from emu.wire.frame import AF_INET, IP_HLEN, IP_MF, IP_OFFSET, TCP, UDP

_IP_TYPE, _ARP_TYPE, _PLAIN_IP = b"\x08\x00", b"\x08\x06", b"\x08\x00\x45"
# Of an IPv4 header without options: destination MAC; length; fragment word, TTL and protocol; addresses; ports.
_HEADER = Struct("!HI10xH2xI2xQI").unpack_from
_TCP_ENDS, _UDP_ENDS = Struct("!6s10xH2xI2x12s8x2s").unpack_from, Struct("!6s10xH2xI2x12s0s").unpack_from
_ARP = Struct("!20xH6xI6xI").unpack_from  # operation, sender's and target's address
_FRAGMENT_AND_PROTOCOL = (IP_MF | IP_OFFSET) << 16 | 0xFF  # of the words with TTL and protocol
_TUNNELS = tuple([port.to_bytes(2, "big") for port in vxlan.PORTS])


def macs(data: bytes) -> tuple[bytes, bytes]:
    """Destination and source, 6 bytes each."""
    return data[:6], data[6:12]


def packet(data: bytes) -> bytes:
    """What follows the Ethernet header."""
    return data[14:]


def is_ipv4(data: bytes) -> bool:
    return data[12:14] == _IP_TYPE


def family(data: bytes) -> int:
    """The address family of the addresses in a frame: AF_INET of IPv4 and of ARP; 0: it has none."""
    return AF_INET if data[12:14] in (_IP_TYPE, _ARP_TYPE) else 0


def is_tcp(data: bytes) -> bool:
    """Is it IPv4 and TCP, and long enough for a segment's header?"""
    return len(data) >= 54 and data[12:14] == _IP_TYPE and data[23] == TCP


def alike(data: bytes) -> Any:
    """A key of what words depend on: frames with the same key differ in identification, checksums and numbers that no
    word states."""
    if data[12:15] == _PLAIN_IP and len(data) >= 42:
        proto = data[23]
        if proto == UDP:
            # words name what a tunnel's packet has inside, too
            tunnel = int.from_bytes(data[36:38], "big") in vxlan.PORTS
            return (_HEADER(data), data[42:50], alike(data[50:])) if tunnel else _HEADER(data)
        if proto == TCP and len(data) >= 54:
            return _HEADER(data), data[46], data[47]
    return data


Ends = tuple[bytes, int, int, bytes, bytes]


def ends(data: bytes) -> Ends | None:
    """Of a TCP segment or UDP datagram that is no fragment, has no IP options and no tunnel's frame in it: destination MAC, length,
    fragment word with TTL and protocol, the 12 bytes of addresses and ports, and the 2 of TCP's header length and flags (of UDP, which
    has none, nothing). None: the frame is another one."""
    size = len(data)
    if size < 42 or data[12:15] != _PLAIN_IP:
        return None
    found: Ends
    if data[23] == TCP and size >= 54:
        found = _TCP_ENDS(data)
        return found if found[2] & _FRAGMENT_AND_PROTOCOL == TCP else None
    if data[23] == UDP:
        found = _UDP_ENDS(data)
        return found if found[2] & _FRAGMENT_AND_PROTOCOL == UDP and found[3][10:] not in _TUNNELS else None
    return None


def arp(data: bytes) -> tuple[int, int, int] | None:
    """Of an ARP frame its operation, the sender's address and the target's. None: the frame is another one."""
    if data[12:14] != _ARP_TYPE or len(data) < 42:
        return None
    found: tuple[int, int, int] = _ARP(data)
    return found


def addresses(frames: Iterable[bytes]) -> set[tuple[int, int]]:
    """The addresses in these frames (IPv4's ends, ARP's sender and target) as (family, address)."""
    pairs = set()
    for data in frames:
        if data[12:14] == _IP_TYPE:
            pairs.add(data[26:34])
        elif data[12:14] == _ARP_TYPE:
            pairs.add(data[28:32] + data[38:42])
    return {(AF_INET, int.from_bytes(pair[at : at + 4], "big")) for pair in pairs for at in (0, 4)}


def carried(data: bytes) -> bytes:
    """What of an IPv4 packet no hop rewrites: id, protocol, and what follows addresses, ports and checksums (an id of 0
    alone does not distinguish packets)."""
    return data[18:20] + data[23:24] + data[38:50] + data[54:]


def tagged(data: bytes, tpid: int, tci: int) -> bytes:
    """A frame with a VLAN tag behind its addresses (IEEE 802.1Q): its protocol and its control information."""
    return data[:12] + tpid.to_bytes(2, "big") + tci.to_bytes(2, "big") + data[12:]


def within(packet: bytes) -> bytes:
    """An IPv4 packet without what lies behind its end, by its own length."""
    return packet[: max(IP_HLEN, int.from_bytes(packet[2:4], "big"))]
