"""`-m time`: the date and the time of day at which the packet comes, in UTC (xt_time.c).

The date is that of the virtual clock, which starts on 2020-01-01 (a Wednesday), 00:00:00; the captures show the same. What
is read from a node's dumps has no date: there the packet is undecided. Must not read this machine's clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from emu.clock import EPOCH_NS, SECOND
from emu.errors import InputError, Undecided
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, Match, Options, Where, from_dumps, matches, number
from emu.wire.frame import Frame

DAY_S = 86400
_LAST_S = 0x7FFFFFFF  # 2038-01-19T03:14:07, what iptables-save shows where no end was given
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_EVERY_DAY = frozenset(range(1, 8))
_EVERY_MONTHDAY = frozenset(range(1, 32))
_DATE = re.compile(r"\d{4}(-|$)")
_DATES = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d", "%Y-%m", "%Y")


@matches.add("time")
@dataclass(frozen=True, slots=True)
class Time(Match):
    """Dates in seconds since 1970, times in seconds of the day; weekdays from 1 (Monday) to 7. `kerneltz`: the kernel's
    time zone, which is UTC here."""

    options = {
        "--datestart": 1, "--datestop": 1, "--timestart": 1, "--timestop": 1, "--monthdays": 1, "--weekdays": 1,
        "--contiguous": 0, "--kerneltz": 0, "--utc": 0,
    }  # fmt: skip
    not_negated = frozenset(options) - {"--monthdays", "--weekdays"}
    pure = False
    undecided = "the date of the node is not known"
    from_s: int
    until_s: int
    day_from_s: int
    day_until_s: int
    monthdays: frozenset[int]
    weekdays: frozenset[int]
    contiguous: bool
    kerneltz: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Time:
        day_from_s = _time(given["--timestart"]) if "--timestart" in given else 0
        day_until_s = _time(given["--timestop"]) if "--timestop" in given else DAY_S - 1
        contiguous = "--contiguous" in given
        if contiguous and day_from_s < day_until_s:
            raise InputError("--contiguous needs times that go over midnight", expected="--timestart after --timestop")
        return cls(
            _date(given["--datestart"]) if "--datestart" in given else 0,
            _date(given["--datestop"]) if "--datestop" in given else _LAST_S,
            day_from_s,
            day_until_s,
            _some(given.get("--monthdays"), _EVERY_MONTHDAY, ()),
            _some(given.get("--weekdays"), _EVERY_DAY, _DAYS),
            contiguous,
            "--kerneltz" in given,
        )

    def matches(self, frame: Frame, state: HookState) -> bool:
        if from_dumps(state):
            raise Undecided(f"-m time: {self.undecided}")
        now_s = (EPOCH_NS + state.net.clock.now) // SECOND
        if not self.from_s <= now_s <= self.until_s:
            return False
        second = now_s % DAY_S
        if self.day_from_s < self.day_until_s:
            if not self.day_from_s <= second <= self.day_until_s:
                return False
        else:
            if self.day_until_s < second < self.day_from_s:
                return False
            if self.contiguous and second <= self.day_until_s:
                now_s -= DAY_S  # the day on which the span began
        day = datetime.fromtimestamp(now_s, UTC)
        return day.isoweekday() in self.weekdays and day.day in self.monthdays

    def spec(self) -> str:
        words = []
        if (self.day_from_s, self.day_until_s) != (0, DAY_S - 1):
            words.append(f"--timestart {_spell_time(self.day_from_s)} --timestop {_spell_time(self.day_until_s)}")
        if self.monthdays != _EVERY_MONTHDAY:
            words.append("--monthdays " + ",".join(map(str, sorted(self.monthdays))))
        if self.weekdays != _EVERY_DAY:
            words.append("--weekdays " + ",".join(_DAYS[day - 1] for day in sorted(self.weekdays)))
        if self.from_s:
            words.append(f"--datestart {_spell_date(self.from_s)}")
        words.append(f"--datestop {_spell_date(self.until_s)}")
        words += ["--kerneltz"] if self.kerneltz else []
        return " ".join([*words, "--contiguous"] if self.contiguous else words)


def _date(given: Given) -> int:
    """A date, its last parts left out at will, in UTC. Raises InputError."""
    text = given.words[0]
    for form in _DATES if _DATE.match(text) else ():
        try:
            seconds = int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
        if 0 <= seconds <= _LAST_S:
            return seconds
    raise InputError(f"{text!r} is not a date", expected="YYYY-MM-DDTHH:MM:SS, from 1970 to 2038-01-19T03:14:07")


def _spell_date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _time(given: Given) -> int:
    """`H:M[:S]` in seconds. Raises InputError."""
    text = given.words[0]
    parts = [part.lstrip("0") or "0" for part in text.split(":")] if text.replace(":", "").isdigit() else []
    if not 2 <= len(parts) <= 3:
        raise InputError(f"{text!r} is not a time of day", expected="HH:MM or HH:MM:SS")
    hours = number(parts[0], "hour", 0, 23)
    minutes = number(parts[1], "minute", 0, 59)
    return hours * 3600 + minutes * 60 + (number(parts[2], "second", 0, 59) if len(parts) == 3 else 0)


def _spell_time(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _some(given: Given | None, every: frozenset[int], names: tuple[str, ...]) -> frozenset[int]:
    """Days by number or by the first two letters of their name; all but those, if negated. Raises InputError."""
    if given is None:
        return every
    days = set()
    for word in given.words[0].split(","):
        named = [day for day, name in enumerate(names, 1) if len(word) > 1 and word[:2].lower() == name[:2].lower()]
        days.add(named[0] if named else number(word, "day", 1, max(every)))
    return every - days if given.negated else frozenset(days)
