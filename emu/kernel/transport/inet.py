"""What sockets of all protocols share: the address that they take, the TTL of what they send to groups, and the ICMP errors that they keep.

Must not know a protocol.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.errors import InputError

MULTICAST_TTL = 1  # IP_MULTICAST_TTL as a socket is made
Endpoint = tuple[str | int, int]  # address (text or int) and port


TEXT: type[object] = str


def text_given(data: object) -> InputError:
    """A program's bytes that are text."""
    return InputError("the data to send is text", expected=f"bytes, such as {str(data)[:40].encode()!r}")


def port_number(port: int) -> int:
    """The port of an endpoint. Raises InputError."""
    if not 0 <= port <= 65535:
        raise InputError(f"port is {port}", expected="0 to 65535")
    return port


class IcmpError(NamedTuple):
    """An ICMP error about a packet that a socket sent to (`dst`, `dport`); `info` is the message's second word."""

    kind: int
    code: int
    info: int
    dst: int
    dport: int
