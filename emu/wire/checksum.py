"""The Internet checksum: whole (RFC 1071) and incremental (RFC 1624, equation 3).

A ones-complement sum of 16-bit words is the big integer modulo 65535, which CPython computes in C.
Must not know frames.
"""

from __future__ import annotations

_number = int.from_bytes


def ones_sum(data: bytes | bytearray | memoryview) -> int:
    """The folded ones-complement sum of `data` (odd length: padded with a zero), 0 to 65534 (65535 is given as 0)."""
    total = _number(data, "big")
    return (total << 8 if len(data) & 1 else total) % 0xFFFF


def checksum(data: bytes | bytearray | memoryview, start: int = 0) -> int:
    """RFC 1071 checksum of data that is not all zero; `start` is a sum to add, such as that of a pseudo header."""
    total = (ones_sum(data) + start) % 0xFFFF
    return 0xFFFF - total if total else 0


def pseudo_sum(src: int, dst: int, proto: int, length: int) -> int:
    """The sum of the IPv4 pseudo header (RFC 9293 section 3.1, RFC 768)."""
    return (src >> 16) + (src & 0xFFFF) + (dst >> 16) + (dst & 0xFFFF) + proto + length


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for index in range(256):
        value = index
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC32C = _crc32c_table()


def crc32c(data: bytes) -> int:
    """The Castagnoli CRC of SCTP (RFC 9260 appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC32C[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def adjust(check: int, old: int, new: int) -> int:
    """The checksum after a 16- or 32-bit field (aligned to 16 bits) went from `old` to `new`."""
    total = (0xFFFF - check) + new + 0xFFFFFFFF - old
    total = (total & 0xFFFF) + (total >> 16 & 0xFFFF) + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
