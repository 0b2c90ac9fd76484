"""IPv4 packets as bytes, right or wrong on purpose, for tests of connection tracking."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from emu.wire import sctp as wire_sctp
from emu.wire.checksum import checksum, ones_sum

CLIENT, SERVER, OUTSIDE = "10.0.1.2", "10.0.2.2", "10.0.2.1"


def ip(src: str, dst: str, proto: int, body: bytes, ttl: int = 64) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, ttl, proto, 0)
    header += socket.inet_aton(src) + socket.inet_aton(dst)
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + body


def _pseudo(src: str, dst: str, proto: int, length: int) -> bytes:
    return socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!HH", proto, length)


def _sum(data: bytes) -> int:
    return 0xFFFF - ones_sum(data) or 0xFFFF


def udp(
    src: str, dst: str, ports: tuple[int, int], data: bytes, length: int | None = None, check: str = "whole"
) -> bytes:
    """`check`: "whole", over all that follows the IP header, "part", over `length` bytes, "none" or "bad"."""
    total = 8 + len(data)
    length = total if length is None else length
    plain = struct.pack("!HHHH", *ports, length, 0) + data
    sums = {
        "whole": _sum(_pseudo(src, dst, 17, total) + plain),
        "part": _sum(_pseudo(src, dst, 17, length) + plain[: max(length, 8)]),
        "none": 0,
        "bad": 77,
    }
    return plain[:6] + sums[check].to_bytes(2, "big") + plain[8:]


def udplite(src: str, dst: str, ports: tuple[int, int], data: bytes, covered: int = 0, proto: int = 17) -> bytes:
    """`covered` bytes have a checksum (0: all) whose pseudo header names `proto`; 0: no checksum."""
    total = 8 + len(data)
    plain = struct.pack("!HHHH", *ports, covered, 0) + data
    check = _sum(_pseudo(src, dst, proto, total) + plain[: covered or total]) if proto else 0
    return plain[:6] + check.to_bytes(2, "big") + plain[8:]


def icmp(kind: int, code: int, rest: bytes, data: bytes = b"") -> bytes:
    plain = struct.pack("!BBH", kind, code, 0) + rest + data
    return plain[:2] + (0xFFFF - ones_sum(plain)).to_bytes(2, "big") + plain[4:]


def gre(version: int, protocol: int, call: int = 0, data: bytes = b"") -> bytes:
    return struct.pack("!BBHHH", 0x30 if version else 0, version, protocol, len(data), call) + data


def chunk(kind: int, flags: int = 0, tag: int = 0) -> bytes:
    """An SCTP chunk; INIT and INIT ACK ask for `tag`."""
    body = struct.pack("!IIHHI", tag, 1000, 1, 1, 5) if kind in (wire_sctp.INIT, wire_sctp.INIT_ACK) else b"abcd"
    return struct.pack("!BBH", kind, flags, 4 + len(body)) + body


def sctp(ports: tuple[int, int], tag: int, chunks: Sequence[bytes], check: bytes = b"") -> bytes:
    """`check`: its four bytes, in place of the right CRC32c."""
    packet = struct.pack("!HHI", *ports, tag) + bytes(4) + b"".join(chunks)
    return packet[:8] + (check or wire_sctp.checksum_of(packet)) + packet[12:]
