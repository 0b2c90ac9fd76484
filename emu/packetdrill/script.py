"""The text of a packetdrill script as events, each with its line and its time. Must not know what events do.

The language as packetdrill's own grammar reads it; the bodies of packets and calls are read by `packet.py` and `call.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from emu.errors import InputError
from emu.packetdrill.call import Call, parse_call
from emu.packetdrill.code import asserted
from emu.packetdrill.packet import Packet, parse_packet

US_NS, SECOND_NS = 1_000, 1_000_000_000
_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_TIME = re.compile(
    rf"(?:(?P<any>\*)|(?P<plus>\+)?(?P<first>{_NUMBER})(?:(?P<range>~)(?P<plus2>\+)?(?P<last>{_NUMBER})|"
    rf"(?P<block>\.\.\.)\s*(?P<end>{_NUMBER}))?)(?=[\s<>`%])"
)
_OPTION = re.compile(r"--([a-z_0-9]+)(?:=(\S*))?")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|#[^\n]*", re.S)


@dataclass(frozen=True)
class When:
    """The time of an event. `relative` to the event before, `any_time`, or from `begin_ns` to `end_ns`. A blocking call begins at
    `begin_ns` and ends at `end_ns`."""

    begin_ns: int = 0
    end_ns: int | None = None
    relative: bool = False
    any_time: bool = False
    blocking: bool = False

    @property
    def anchored(self) -> bool:
        """Does a relative time after this one count from the script's time, not from what happened?"""
        return not self.any_time and (self.end_ns is None or self.blocking)


@dataclass(frozen=True)
class Shell:
    """Commands between backticks. Those after the last event (`cleanup`) undo what others did."""

    text: str
    cleanup: bool = False


@dataclass(frozen=True)
class Code:
    """Python between %{ and }%, about TCP_INFO of the socket."""

    text: str


Body = Packet | Call | Shell | Code


@dataclass(frozen=True)
class Event:
    """One event, as written (`text`) on a line (from 1) of a file."""

    line: int
    when: When
    body: Body
    text: str


@dataclass(frozen=True)
class Script:
    """A script: `options` are those in it, each with its line."""

    file: str
    options: dict[str, tuple[str, int]]
    events: tuple[Event, ...]


def parse(text: str, file: str) -> Script:
    """Read a script. Raises InputError with file and line: cannot be read, or a construct that is outside of the subset."""
    return _Reader(text, file).script()


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self.text, self.file, self.at = text, file, 0
        self.options: dict[str, tuple[str, int]] = {}
        self.events: list[Event] = []

    def script(self) -> Script:
        self._blank()
        while self.at < len(self.text):
            start = self.at
            try:
                self._entry()
            except InputError as error:
                raise error.at(file=self.file, line=error.line or self._line(start)) from None
            self._blank()
        return Script(self.file, self.options, tuple(self.events))

    def _line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1

    def _blank(self) -> None:
        while self.at < len(self.text):
            if self.text[self.at].isspace():
                self.at += 1
                continue
            comment = _COMMENT.match(self.text, self.at)
            if comment is None:
                return
            self.at = comment.end()

    def _entry(self) -> None:
        option = _OPTION.match(self.text, self.at)
        if option is not None:
            self.options[option[1]] = (option[2] or "", self._line(self.at))
            self.at = option.end()
            return
        start = self.at
        found = _TIME.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
            self._blank()
        elif self.text[self.at] != "`":
            word = self.text[self.at :].split("\n", 1)[0][:60]
            raise InputError(f"cannot read {word!r}", expected="a time, such as 0.1, +.1, +.1~+.2 or *, and an event")
        begin = self.at
        body, raw = self._body(found is None)
        when = _when(found) if found is not None else When(relative=True)
        if when.end_ns is not None and not when.blocking and not (isinstance(body, Packet) and body.outbound):
            raise InputError("a range of times stands before what the script does itself", expected="one time")
        if when.blocking and not isinstance(body, Call):
            raise InputError("a time with ... stands before what is no call", expected="a call")
        self.events.append(Event(self._line(start if found is None else begin), when, body, " ".join(raw.split())))

    def _body(self, untimed: bool) -> tuple[Body, str]:
        start, letter = self.at, self.text[self.at : self.at + 1]
        if letter == "`":
            raw = self._until("`", 1)
            return Shell(
                raw, untimed and bool(self.events) and not all(isinstance(e.body, Shell) for e in self.events)
            ), raw
        if self.text.startswith("%{", self.at):
            raw = self._until("}%", 2)
            asserted(raw)
            return Code(raw), raw
        if letter in ("<", ">"):
            end = self.text.find("\n", self.at)
            end = len(self.text) if end < 0 else end
            raw = self.text[start:end]
            self.at = end
            raw = _COMMENT.sub("", raw).strip()
            return parse_packet(raw), raw
        raw = self._call()
        return parse_call(raw), raw

    def _until(self, closing: str, opening: int) -> str:
        start = self.at + opening
        end = self.text.find(closing, start)
        if end < 0:
            raise InputError(f"there is no {closing} to end what begins here", expected=closing)
        self.at = end + len(closing)
        return self.text[start:end]

    def _call(self) -> str:
        """A call with its result: to the end of the line on which its brackets are closed."""
        start, depth, parts, at = self.at, 0, list[str](), self.at
        closed = False  # the brackets of the arguments
        while at < len(self.text):
            comment = _COMMENT.match(self.text, at)
            if comment is not None:
                at = comment.end()
                continue
            letter = self.text[at]
            if letter == "\n" and depth == 0 and ("(" not in parts or (closed and "=" in parts)):
                break
            depth += (letter in "([{") - (letter in ")]}")
            closed = closed or (letter == ")" and depth == 0)
            parts.append(letter)
            at += 1
        self.at = at
        if at == start:
            raise InputError("there is no event after the time", expected="a packet, a call, `...` or %{ ... }%")
        return "".join(parts).strip()


def _when(found: re.Match[str]) -> When:
    if found["any"]:
        return When(any_time=True)
    begin = _ns(found["first"])
    relative = bool(found["plus"])
    if found["block"]:
        return When(begin, _ns(found["end"]), relative, blocking=True)
    if found["range"]:
        if bool(found["plus2"]) != relative:
            raise InputError("one end of the range is relative", expected="+FROM~+TO or FROM~TO")
        return When(begin, _ns(found["last"]), relative)
    return When(begin, None, relative)


def _ns(text: str) -> int:
    """Seconds as text, in ns. Packetdrill counts microseconds."""
    return round(float(text) * 1_000_000) * US_NS
