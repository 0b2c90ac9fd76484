"""Sequence numbers: 32 bits on the wire, plain growing integers inside (RFC 9293 section 3.4).

Inside an endpoint numbers never wrap, so `<` means "earlier". Only here are the two worlds joined.
Must not know segments or sockets.
"""

from __future__ import annotations

MASK = 0xFFFFFFFF
HALF = 0x80000000


def expand(wire: int, near: int) -> int:
    """The number nearest to `near` whose low 32 bits are `wire` (at most 2^31 away)."""
    return near + ((wire - near + HALF) & MASK) - HALF


def distance(start: int, end: int) -> int:
    """How far `end` is after `start`, both as on the wire; negative when it is before."""
    return ((end - start + HALF) & MASK) - HALF
