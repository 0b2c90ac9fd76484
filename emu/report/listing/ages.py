"""Ages as kubectl prints them, from two times as Kubernetes writes them.

Must not know the wall clock, nor objects.
"""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "<unknown>"


def age(born: str, now: str) -> str:
    """HumanDuration of apimachinery, with the units that it has for such a time."""
    try:
        seconds = int((_time(now) - _time(born)).total_seconds())
    except ValueError:
        return UNKNOWN
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y{rest}d" if years < 8 and rest else f"{years}y"


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
