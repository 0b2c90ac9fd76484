"""IP in IP (RFC 2003): a packet as the payload of another one, and the way back. Must not know devices or routes."""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN, IP_HLEN, Frame

IPIP = 4  # IPPROTO_IPIP
_NO_LINK = bytes(12) + b"\x08\x00"  # the header of a frame of a device without a link layer


def wrapped(frame: Frame) -> bytearray:
    """Room for Ethernet and the outer header, and the frame's packet behind it, as `ipv4.stamp` takes them."""
    return bytearray(ETH_HLEN + IP_HLEN) + frame.buf[ETH_HLEN:]


def length(frame: Frame) -> int:
    """The length of the frame's packet, bytes."""
    return len(frame.buf) - ETH_HLEN


def inner(frame: Frame) -> bytearray:
    """The frame of the packet that an outer packet carries, with a header that names IPv4 and no address."""
    return bytearray(_NO_LINK) + frame.buf[frame.l4 : ETH_HLEN + frame.tot_len]
