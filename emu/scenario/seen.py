"""Timed expectations of single frames: at an interface, within a window after a moment, a frame like this, or none.

A failure states the expectation and the nearest frame field by field, and the road of that frame. Must not know steps, files or how frames
travel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from emu.capture.capture import Capture, Captured
from emu.errors import InputError
from emu.scenario.endpoints import check_glob
from emu.scenario.expectations import Checked
from emu.scenario.frame_fields import Compared, compare, fields_of, same_packet, wanted
from emu.scenario.kinds import FrameLike, SeenPart
from emu.scenario.quantity import duration_ns

START, END = "start", "end"
MS_NS = 1_000_000


class Window(NamedTuple):
    """From `begin_ns` to `end_ns` of virtual time, both included; None: no end."""

    begin_ns: int
    end_ns: int | None

    def __contains__(self, time_ns: object) -> bool:
        return isinstance(time_ns, int) and self.begin_ns <= time_ns and (self.end_ns is None or time_ns <= self.end_ns)


class Wanted(NamedTuple):
    """One entry of a list, read: the fields by name, and whether a frame with them must be seen or must not be."""

    part: SeenPart
    fields: Mapping[str, str]
    none: bool

    @classmethod
    def of(cls, part: SeenPart) -> Wanted:
        """Raises InputError, with the path inside the entry: not exactly one likeness, a flag or a glob that cannot be."""
        likes: dict[str, FrameLike] = {}
        if part.frame is not None:
            likes["frame"] = part.frame
        if part.no_frame is not None:
            likes["noFrame"] = part.no_frame
        if len(likes) != 1:
            what = "frame and noFrame in one entry" if likes else "an entry without a frame"
            raise InputError(what, expected="frame: {...} or noFrame: {...}")
        ((key, like),) = likes.items()
        try:
            fields = wanted(like)
        except InputError as error:
            raise InputError(error.what, path=key, expected=error.expected) from None
        return cls(part, fields, key == "noFrame")

    def window(self, moment_ns: int) -> Window:
        begin_ns = moment_ns + duration_ns(self.part.not_before)
        return Window(begin_ns, None if self.part.within is None else moment_ns + duration_ns(self.part.within))

    def passes(self, frame: Captured) -> bool:
        """Did the frame pass the interface in the direction of this entry?"""
        part = self.part
        at = any(fnmatchcase(name, part.at) for name in (frame.place.path, frame.interface))
        return at and part.way in ("any", frame.direction)

    @property
    def where(self) -> str:
        at = "any interface" if self.part.at == "*" else self.part.at
        return at if self.part.way == "any" else f"{at} {self.part.way}"


def check_list(parts: Sequence[SeenPart], moments: Iterable[str]) -> None:
    """What is wrong with a list, before a cluster is there; `moments` are the names of those outside of the list. Raises InputError with the
    path inside the list."""
    known = {*moments}
    for number, part in enumerate(parts):
        try:
            check_glob(part.at)
            Wanted.of(part).window(0)
            window = Wanted.of(part).window(0)
            if window.end_ns is not None and window.end_ns < window.begin_ns:
                raise InputError("the window ends before it begins", path="within", expected="at least notBefore")
            if part.after not in known:
                what = f'"{part.after}" is no moment'
                raise InputError(what, path="after", expected=_listed(known))
            if part.name in known:
                raise InputError(f'a moment is called "{part.name}" already', path="name", expected="another name")
        except InputError as error:
            path = f"[{number}].{error.path}" if error.path else f"[{number}]"
            raise InputError(error.what, path=path, expected=error.expected) from None
        if part.name and part.no_frame is None:
            known.add(part.name)


def _listed(known: Iterable[str]) -> str:
    return "one of " + ", ".join(sorted(known))


@dataclass
class Search:
    """One list held against the frames of a capture. `moments` are times in ns by name; `frames` gives those that count, in the order of
    time; `place` gives an entry's place in the file; `wait` lets time pass up to a time."""

    capture: Capture
    frames: Callable[[], Sequence[Captured]]
    moments: dict[str, int]
    place: Callable[[int], str]
    wait: Callable[[int], None]
    failures: list[str] = field(default_factory=list)

    def run(self, parts: Sequence[SeenPart]) -> Checked:
        """A text for each entry that does not hold. Lets time pass until the windows are over."""
        for number, part in enumerate(parts):
            self._entry(number, Wanted.of(part))
        return Checked(len(parts), tuple(self.failures))

    def _entry(self, number: int, entry: Wanted) -> None:
        part = entry.part
        moment_ns = self.moments.get(part.after)
        if moment_ns is None:
            self._fail(number, f'its moment "{part.after}" did not come', ())
            return
        window = entry.window(moment_ns)
        if window.end_ns is not None:
            self.wait(window.end_ns)
        frames = self.frames()
        judged = [(frame, self._compare(entry, frame)) for frame in frames if entry.passes(frame)]
        hits = [frame for frame, fields in judged if frame.time_ns in window and all(each.equal for each in fields)]
        if hits and not entry.none:
            if part.name:
                self.moments[part.name] = hits[0].time_ns
        elif hits:
            self._found(number, entry, hits[0], moment_ns, frames)
        elif not entry.none:
            self._missed(number, entry, judged, window, moment_ns, frames)

    def _compare(self, entry: Wanted, frame: Captured) -> list[Compared]:
        return compare(entry.fields, fields_of(frame.data, self.capture.first_numbers(frame.flow)))

    def _fail(self, number: int, what: str, lines: Iterable[str]) -> None:
        self.failures.append("\n".join((f"{self.place(number)}: {what}", *lines)))

    def _found(self, number: int, entry: Wanted, hit: Captured, moment_ns: int, frames: Sequence[Captured]) -> None:
        what = f"a frame that must not be there was seen at {entry.where}, {_window_text(entry)}"
        lines = [*_table(entry, self._compare(entry, hit), hit, moment_ns, none=True), *_road(hit, frames)]
        self._fail(number, what, lines)

    def _missed(
        self,
        number: int,
        entry: Wanted,
        judged: Sequence[tuple[Captured, list[Compared]]],
        window: Window,
        moment_ns: int,
        frames: Sequence[Captured],
    ) -> None:
        what = f"no frame like this was seen at {entry.where}, {_window_text(entry)}"
        elsewhere = not judged
        if elsewhere:
            judged = [(frame, self._compare(entry, frame)) for frame in frames]
        if not judged:
            self._fail(number, what, ["    nothing was sent"])
            return
        nearest, fields = max(
            judged,
            key=lambda each: (
                sum(one.equal for one in each[1]),
                each[0].time_ns in window,
                -abs(each[0].time_ns - window.begin_ns),
            ),
        )
        lines = (
            [f"    no frame passed there; the nearest is at {nearest.interface} {nearest.direction}"]
            if elsewhere
            else []
        )
        self._fail(number, what, [*lines, *_table(entry, fields, nearest, moment_ns), *_road(nearest, frames)])


def _window_text(entry: Wanted) -> str:
    part = entry.part
    begin, end = duration_ns(part.not_before), part.within
    if end is None:
        return f"from {_ms(begin)} after {part.after} on" if begin else f"after {part.after}"
    return f"from {_ms(begin)} to {_ms(duration_ns(end))} after {part.after}"


def _ms(ns: int) -> str:
    """Milliseconds with as many digits as the time has."""
    return f"{ns / MS_NS:.6f}".rstrip("0").rstrip(".") + " ms"


def _table(
    entry: Wanted, fields: Sequence[Compared], frame: Captured, moment_ns: int, *, none: bool = False
) -> Iterable[str]:
    """Expected and actual beside each other; `>` marks a row that differs."""
    window = entry.window(moment_ns)
    rows = [(" " if each.equal else ">", each.field, each.expected or '""', each.actual or '""') for each in fields]
    end = "" if window.end_ns is None else _ms(window.end_ns - moment_ns)
    wanted_time = (
        f"{_ms(window.begin_ns - moment_ns)} to {end}" if end else f"{_ms(window.begin_ns - moment_ns)} or later"
    )
    rows.append((" " if frame.time_ns in window else ">", "time", wanted_time, _ms(frame.time_ns - moment_ns)))
    rows.insert(0, (" ", "field", "not expected" if none else "expected", "actual"))
    wide = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["    " + " ".join(text.ljust(wide[at]) for at, text in enumerate(row)).rstrip() for row in rows]


def _road(frame: Captured, frames: Sequence[Captured]) -> Iterable[str]:
    """Where the packet of `frame` passed, hop by hop."""
    key = same_packet(frame.data)
    hops = [each for each in frames if same_packet(each.data) == key]
    yield f"    its road ({frame.flow}/{frame.hop} is the frame above):"
    for each in hops:
        text = f"      {each.flow}/{each.hop} {each.line()}"
        yield text
        if each.direction == "drop":
            yield f"        {each.comment().splitlines()[0]}"
