"""From a recorded frame to its packet: Ethernet, Linux cooked v1 and v2, loopback (NULL, LOOP), raw IP, and VLAN tags.

Link types by number: https://www.tcpdump.org/linktypes.html. Odd bytes give a reason, never an error. Must not know IP.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.wire.checksum import checksum
from emu.wire.frame import ETH_HLEN, ETH_P_IP, ETH_P_IPV6, IP_HLEN

NULL, ETHERNET, RAW, LOOP, COOKED, IPV4, IPV6, COOKED2 = 0, 1, 101, 108, 113, 228, 229, 276
NAMES = {
    6: "IEEE 802.5", 9: "PPP", 50: "PPP in HDLC", 104: "Cisco HDLC", 105: "IEEE 802.11", 107: "Frame Relay", 127: "radiotap",
    117: "pflog", 147: "a user's own", 192: "PPI", 195: "IEEE 802.15.4", 230: "IEEE 802.15.4", 249: "USB", 278: "USB",
}  # fmt: skip
RAWS = (RAW, 12, 14, IPV4, IPV6)  # 12 and 14 are what some systems call raw IP in files
TAGS = frozenset((0x8100, 0x88A8, 0x9100))
_BSD_IPV6 = frozenset((10, 24, 28, 30))
_SNAP = b"\xaa\xaa\x03\x00\x00\x00"


class Packet(NamedTuple):
    """What is behind a frame's link header. `data` is the packet, with padding if the frame has any; `missing` counts bytes of
    the frame that the file lacks; `tags` are VLAN control words, the outermost first. `why`: there is no packet, and why."""

    ethertype: int
    data: bytes
    missing: int = 0
    tags: tuple[int, ...] = ()
    link: bytes = b""
    why: str = ""


def packet(linktype: int, data: bytes, length: int) -> Packet:
    """The packet of a frame that was `length` bytes long."""
    missing = max(length - len(data), 0)
    if linktype == ETHERNET:
        if len(data) < ETH_HLEN:
            return Packet(0, b"", missing, why="it is shorter than an Ethernet header")
        return _tagged(data[12] << 8 | data[13], data, ETH_HLEN, missing)
    if linktype in RAWS:
        version = data[0] >> 4 if data else 0
        if version not in (4, 6):
            return Packet(0, b"", missing, why="it begins with no IP header")
        return Packet(ETH_P_IP if version == 4 else ETH_P_IPV6, data, missing)
    if linktype in (COOKED, COOKED2):
        at, size = (14, 16) if linktype == COOKED else (0, 20)
        if len(data) < size:
            return Packet(0, b"", missing, why="it is shorter than a Linux cooked header")
        return _tagged(data[at] << 8 | data[at + 1], data, size, missing)
    if linktype in (NULL, LOOP):
        if len(data) < 4:
            return Packet(0, b"", missing, why="it is shorter than a loopback header")
        family = max(data[0], data[3])  # NULL has the byte order of the host that wrote it
        ethertype = ETH_P_IP if family == 2 else ETH_P_IPV6 if family in _BSD_IPV6 else 0
        why = "" if ethertype else f"its address family is {family}"
        return Packet(ethertype, data[4:], missing, link=data[:4], why=why)
    what = NAMES.get(linktype, "one that emu does not read")
    return Packet(0, b"", missing, why=f"its link type is {linktype}, {what}")


def _tagged(ethertype: int, data: bytes, at: int, missing: int) -> Packet:
    """Behind the tags and a SNAP header, if there are any."""
    link, tags = data[:at], []
    while ethertype in TAGS and len(data) >= at + 4:
        tags.append(data[at] << 8 | data[at + 1])
        ethertype = data[at + 2] << 8 | data[at + 3]
        at += 4
    if ethertype < 0x600 and data[at : at + 6] == _SNAP and len(data) >= at + 8:
        ethertype, at = data[at + 6] << 8 | data[at + 7], at + 8
    return Packet(ethertype, data[at:], missing, tuple(tags), link)


def bare(data: bytes) -> bool:
    """Do these bytes begin with a whole IPv4 header whose checksum is right?"""
    length = (data[0] & 15) * 4 if data else 0
    return len(data) >= length >= IP_HLEN and data[0] >> 4 == 4 and checksum(data[:length]) == 0
