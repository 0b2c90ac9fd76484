"""SYN cookies: a listener whose queue is full answers a SYN without keeping it (net/ipv4/syncookies.c, RFC 4987 section 3.6).

The SYN-ACK's sequence number holds what the listener must know again: a keyed hash of the connection, the minute, and which
of four segment sizes; the low bits of its timestamp hold the options. Must not know sockets or packets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final, NamedTuple

from emu.clock import SECOND

SIZES: Final = (536, 1300, 1440, 1460)  # msstab
PERIOD_NS: Final = 60 * SECOND
MAX_AGE: Final = 2  # periods in which a cookie is taken, and an overflow remembered
_DATA, _COUNT = 0xFFFFFF, 24
_OPTIONS, _SCALE, _SACK = 0x3F, 0xF, 0x10  # of the timestamp: no scale is 0xf
_MASK = 0xFFFFFFFF

Key = tuple[int, int, int, int]
Hash = Callable[..., int]


class Kept(NamedTuple):
    """The options that a timestamp kept; `wscale` None: no scaling."""

    wscale: int | None
    sack_ok: bool


def sequence(hashed: Hash, key: Key, seq: int, mss: int, now_ns: int) -> tuple[int, int]:
    """cookie_init_sequence: the SYN-ACK's sequence number for a SYN with `seq`, and the segment size that it holds.
    `hashed(*words)` is a keyed hash of 32 bits."""
    index = max(bisect_right(SIZES, mss) - 1, 0)
    count = now_ns // PERIOD_NS
    data = (hashed(*key, count & _MASK, 1) + index) & _DATA
    return (hashed(*key, 0, 0) + seq + (count << _COUNT) + data) & _MASK, SIZES[index]


def segment_size(hashed: Hash, key: Key, seq: int, cookie: int, now_ns: int) -> int:
    """__cookie_v4_check: the segment size that a cookie holds, 0 for what is none or too old."""
    left = (cookie - hashed(*key, 0, 0) - seq) & _MASK
    count = now_ns // PERIOD_NS
    age = (count - (left >> _COUNT)) & 0xFF
    if age >= MAX_AGE:
        return 0
    index = (left - hashed(*key, (count - age) & _MASK, 1)) & _DATA
    return SIZES[index] if index < len(SIZES) else 0


def stamp(now: int, wscale: int | None, sack_ok: bool) -> int:
    """cookie_init_timestamp: the time `now`, or just before, with the options in its low bits."""
    value = (now & ~_OPTIONS) | (_SCALE if wscale is None else wscale) | (_SACK if sack_ok else 0)
    return value - (_OPTIONS + 1) * (value > now)


def options(echoed: int) -> Kept:
    """cookie_timestamp_decode."""
    scale = echoed & _SCALE
    return Kept(None if scale == _SCALE else scale, bool(echoed & _SACK))
