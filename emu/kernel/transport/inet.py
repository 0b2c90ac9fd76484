"""What sockets of all protocols share: the address that they take, the TTL of what they send to groups, and the ICMP errors that they keep.

Must not know a protocol.
"""

from __future__ import annotations

from typing import NamedTuple

MULTICAST_TTL = 1  # IP_MULTICAST_TTL as a socket is made
Endpoint = tuple[str | int, int]  # address (text or int) and port


class IcmpError(NamedTuple):
    """An ICMP error about a packet that a socket sent to (`dst`, `dport`); `info` is the message's second word."""

    kind: int
    code: int
    info: int
    dst: int
    dport: int
