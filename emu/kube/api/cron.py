"""Cron's schedules as CronJobs have them: five fields, or a macro (robfig/cron's standard parser).

Pure: a schedule gives the next minute after a time. Must not know what is scheduled.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from emu.errors import InputError

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_Field = tuple[str, int, int, list[str]]
_FIELDS: tuple[_Field, ...] = (("minute", 0, 59, []), ("hour", 0, 23, []), ("day of the month", 1, 31, []), ("month", 1, 12, _MONTHS),
           ("day of the week", 0, 6, _DAYS))  # fmt: skip
_YEARS = 5  # a schedule that never comes, such as the 30th of February, is given up


class Schedule(NamedTuple):
    """The values of each field; a day counts if either of its fields takes it, where both are limited."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def _on(self, day: datetime) -> bool:
        by_day, by_weekday = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        return (by_day and by_weekday) if self.any_day or self.any_weekday else (by_day or by_weekday)

    def after(self, at_s: int, zone: tzinfo = UTC) -> int | None:
        """The first time after `at_s` (seconds since 1970) that the schedule has; None: none in five years."""
        start = at_s // 60 * 60 + 60
        local = datetime.fromtimestamp(start, zone)
        last = local.year + _YEARS
        while local.year <= last:
            if local.month not in self.months or not self._on(local):
                local = (local.replace(hour=0, minute=0) + timedelta(days=1)).replace(hour=0, minute=0)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in self.minutes:
                local += timedelta(minutes=1)
            else:
                return int(local.timestamp())
        return None


def parse(text: str) -> Schedule:
    """Raises InputError."""
    words = MACROS.get(text.strip(), text).split()
    if len(words) != 5:
        raise InputError(f'"{text}" is no schedule')
    fields = [_values(word, *field) for word, field in zip(words, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = fields
    return Schedule(minutes, hours, days, months, weekdays, words[2][0] in "*?", words[4][0] in "*?")


def _values(text: str, what: str, low: int, high: int, names: list[str]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        if slash and (not step.isdecimal() or not int(step)):
            raise InputError(f'"{part}" is no {what}')
        first, dash, last = span.partition("-")
        if span in ("*", "?"):
            begin, end = low, high
        else:
            begin = _number(first, part, what, low, names)
            end = _number(last, part, what, low, names) if dash else (high if slash else begin)
        if not low <= begin <= end <= high:
            raise InputError(f'"{part}" is no {what}')
        found.update(range(begin, end + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(text: str, part: str, what: str, low: int, names: list[str]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    if not text.isdecimal() or not text.isascii():
        raise InputError(f'"{part}" is no {what}')
    return int(text)


def schedule_problem(text: str) -> str:
    """What is wrong with a schedule; "" for nothing."""
    try:
        parse(text)
    except InputError as error:
        return error.what
    return ""


def zone_of(name: str | None) -> tzinfo:
    """The time zone of a name; without one UTC. Raises OSError or ValueError where there is none."""
    if not name:
        return UTC
    from zoneinfo import ZoneInfo  # only here: most schedules have none

    return ZoneInfo(name)


def zone_problem(name: str) -> bool:
    """Whether there is no time zone of that name."""
    try:
        zone_of(name)
    except (OSError, ValueError):
        return True
    return False
