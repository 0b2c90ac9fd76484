"""Bytes of a packet at places counted from its transport header or its IP header, as rules ask for them.

A reader gives None where the packet ends before the place. Must not know protocols: a place is a number of bytes.
"""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN, IP_OFFSET, Frame


def end(frame: Frame) -> int:
    """Where the packet ends in the buffer, by its IP header."""
    return ETH_HLEN + frame.tot_len


def transport_word(frame: Frame, offset: int) -> int | None:
    """Two bytes at `offset` of the transport header; a fragment after the first has none."""
    at = frame.l4 + offset
    if frame.frag & IP_OFFSET or at + 2 > end(frame):
        return None
    return int.from_bytes(frame.buf[at : at + 2], "big")


def packet_bytes(frame: Frame) -> bytes:
    """The whole packet from its IP header on."""
    return bytes(frame.buf[ETH_HLEN : end(frame)])
