"""Rates of `-m hashlimit` as its options write them: packets or bytes in a time (libxt_hashlimit.c).

No match by itself. A rate of packets is kept as what one packet takes, in 1/SCALE s; a rate of bytes as the cost of 16 of
them. Must not know groups or credits.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from emu.errors import InputError
from emu.kernel.netfilter.matches import number

SCALE = 1_000_000
UNITS_S = {"day": 86400, "hour": 3600, "min": 60, "sec": 1}
BYTE_EXPIRE_MS, BYTE_EXPIRE_BURST_MS = 15_000, 60_000
MAX_BURST = 1_000_000
_SPELLINGS = {"day": "day", "hour": "hour", "minute": "min", "second": "sec"}
_SIZES = {"m": 1 << 20, "k": 1 << 10, "": 1}
_BYTES = re.compile(r"([0-9]+)([mk]?)b(?:/s.*)?")
_ALL = 0xFFFFFFFF


class Rate(NamedTuple):
    """`avg` as above; `period_s` is the time that the rate was given for."""

    avg: int
    by_bytes: bool
    period_s: int


def parse_rate(text: str) -> Rate:
    """`N`, `N/second`, `N/minute` ..., or `Nb/s`, `Nkb/s`, `Nmb/s`. Raises InputError."""
    size = _BYTES.fullmatch(text)
    if size is not None and "/" in text:
        return Rate(_ALL // ((int(size[1]) * _SIZES[size[2]] >> 4) + 1), True, 1)
    digits, slash, unit = text.partition("/")
    amount = re.match(r"[0-9]+", digits)
    units = [name for word, name in _SPELLINGS.items() if unit and word.startswith(unit.lower())]
    count = int(amount[0]) if amount is not None else 0
    if not count or (slash and (not units or amount is None or amount[0] != digits)):
        raise InputError(f"{text!r} is not a rate", expected="N/sec, N/min, N/hour, N/day, or Nb/s, Nkb/s, Nmb/s")
    period_s = UNITS_S[units[0]] if slash else 1
    if count > SCALE * period_s:
        raise InputError(f"the rate {text!r} is too fast", expected=f"at most {SCALE}/sec")
    return Rate(SCALE * period_s // count, False, period_s)


def parse_burst(text: str) -> int:
    """Packets, or bytes with `b`, `kb` or `mb` behind. Raises InputError."""
    size = _BYTES.fullmatch(text)
    if size is not None:
        return int(size[1]) * _SIZES[size[2]]
    return number(text, "burst", 1, MAX_BURST)


def bytes_of(avg: int) -> int:
    """The bytes a second of a cost (cost_to_bytes)."""
    return ((_ALL // avg if avg else _ALL) - 1) << 4


def spell_rate(avg: int) -> tuple[str, str]:
    """A rate of packets as iptables-save prints it, and its unit: the longest time that loses nothing."""
    best = "day"
    for name, seconds in list(UNITS_S.items())[1:]:
        span = SCALE * seconds
        if avg > span or span // avg < span % avg:
            break
        best = name
    return f"{SCALE * UNITS_S[best] // avg}/{best}", best


def spell_bytes(avg: int, burst: int = 0) -> str:
    """A rate of bytes, or the bytes of a burst of so many seconds."""
    size = bytes_of(avg)
    if burst:
        size *= burst
        unit = next(name for name, factor in _SIZES.items() if size >= factor or factor == 1)
        return f"{size // _SIZES[unit]}{unit}b"
    for name, factor in _SIZES.items():
        # the tool looks at 32 bits of it
        if factor == 1 or (size >= factor and _ALL // (((size & ~(factor - 1) & _ALL) >> 4) + 1) == avg):
            return f"{size // factor}{name}b/s"
    raise AssertionError(size)
