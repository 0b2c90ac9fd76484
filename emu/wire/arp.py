"""ARP for IPv4 over Ethernet (RFC 826): frames made from a template, and their fields read.

Must not know why a frame is sent.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, NamedTuple

from emu.wire.frame import ETH_HLEN, ETH_P_ARP, Frame

HLEN = 28  # bytes, for IPv4 over Ethernet
REQUEST, REPLY = 1, 2
HARDWARE = (1, 6)  # ARPHRD_ETHER, ARPHRD_IEEE802: a device of either takes both (arp_process)
_ETHER = Struct("!6s6s")
_BODY = Struct("!6sI6sI")
_WHOLE = Struct("!HHBBH6sI6sI")


class Arp(NamedTuple):
    """Sender and target: hardware addresses of 6 bytes, protocol addresses as ints."""

    op: int
    sha: bytes
    spa: int
    tha: bytes
    tpa: int


def build(
    template: bytes, dmac: bytes, smac: bytes, spa: int, tha: bytes, tpa: int, flow: int, trail: list[Any] | None
) -> Frame:
    """A request or reply, as the template is, from `smac`, which is also the sender's hardware address."""
    buf = bytearray(template)
    _ETHER.pack_into(buf, 0, dmac, smac)
    _BODY.pack_into(buf, 22, smac, spa, tha, tpa)
    frame = Frame(buf, flow, trail)
    frame.ethertype = ETH_P_ARP
    frame.dmac, frame.smac = dmac, smac
    frame.valid = True
    return frame


def parse(frame: Frame) -> Arp | None:
    """The fields, or None if it is not ARP for IPv4 over Ethernet or IEEE 802 (hardware types 1 and 6)."""
    if len(frame.buf) < ETH_HLEN + HLEN:
        return None
    htype, ptype, hlen, plen, op, sha, spa, tha, tpa = _WHOLE.unpack_from(frame.buf, ETH_HLEN)
    if htype not in HARDWARE or (ptype, hlen, plen) != (0x0800, 6, 4):
        return None
    return Arp(op, sha, spa, tha, tpa)
