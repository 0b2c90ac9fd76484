"""Ports where a reader without regard to IP options or fragments takes them: behind 20 bytes of IPv4 header. Must not know who reads so."""

from __future__ import annotations

from emu.wire.frame import ETH_HLEN, IP_HLEN, SCTP, TCP, UDP, Frame

HEADERS = {TCP: 20, UDP: 8, SCTP: 12}  # bytes of the shortest header
_AT = ETH_HLEN + IP_HLEN


def fixed_ports(frame: Frame) -> tuple[int, int] | None:
    """(source, destination), both 0 for a protocol without ports; None: the frame is too short for its protocol's header."""
    needed = HEADERS.get(frame.proto)
    if needed is None:
        return 0, 0
    buf = frame.buf
    if len(buf) < _AT + needed:
        return None
    return buf[_AT] << 8 | buf[_AT + 1], buf[_AT + 2] << 8 | buf[_AT + 3]
