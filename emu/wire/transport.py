"""Bytes of a packet at places counted from its transport header or its IP header, as rules ask for them.

A reader gives None where the packet ends before the place. Must not know protocols: a place is a number of bytes.
"""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN, Frame


def end(frame: Frame) -> int:
    """Where the packet ends in the buffer, by its IP header."""
    return ETH_HLEN + frame.tot_len


def transport_word(frame: Frame, offset: int) -> int | None:
    """Two bytes at `offset` behind the IP header, of a later fragment too."""
    at = frame.l4 + offset
    if at + 2 > end(frame):
        return None
    return int.from_bytes(frame.buf[at : at + 2], "big")


def transport_bytes(frame: Frame) -> bytes:
    """The packet from its transport header on."""
    return bytes(frame.buf[frame.l4 : end(frame)])


def packet_bytes(frame: Frame) -> bytes:
    """The whole packet from its IP header on."""
    return bytes(frame.buf[ETH_HLEN : end(frame)])
