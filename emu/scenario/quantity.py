"""Durations and shares as people write them: `5s`, `200ms`, `10%`.

Must not know what they are for.
"""

from __future__ import annotations

import re
from math import inf

from emu.errors import InputError

MAX_HOURS = 168  # a week: longer than every timeout of the kernel (an established connection: five days)
_UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")


def duration_ns(value: str | float) -> int:
    """`5s`, `200ms`, `1m30s`, or a number of seconds, in ns, at most a week. Raises InputError."""
    if isinstance(value, int | float):
        if not 0 <= value < inf:
            raise InputError(f"{value} is not a duration", expected="seconds from 0")
        return _bounded(float(value) * 1_000_000_000, str(value))
    parts = _DURATION.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise InputError(
            f'"{value}" is not a duration', expected="a number with ns, us, ms, s, m or h, such as 5s or 200ms"
        )
    return _bounded(sum(float(number) * _UNITS_NS[unit] for number, unit in parts), value)


def _bounded(ns: float, text: str) -> int:
    if ns > MAX_HOURS * _UNITS_NS["h"]:
        raise InputError(f'"{text}" is too long', expected=f"at most {MAX_HOURS}h")
    return round(ns)


def share(value: str | float) -> float:
    """`10%` or 0.1, as 0.0 to 1.0. Raises InputError."""
    if isinstance(value, str):
        found = _SHARE.fullmatch(value)
        number = float(found[1]) / 100 if found else -1.0
    else:
        number = float(value)
    if not 0 <= number <= 1:
        shown = f'"{value}"' if isinstance(value, str) else str(value)
        raise InputError(f"{shown} is not a share", expected="0% to 100%, or a number from 0 to 1")
    return number
