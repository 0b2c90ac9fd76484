"""LOG: write a line of the kernel log, and continue (xt_LOG.c).

The rule only appears in the packet's trail; there is no kernel log. Must not format anything in the walk.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import quote, unsigned
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.trail import Note
from emu.wire.frame import Frame

LEVELS = ("emerg", "alert", "crit", "error", "warning", "notice", "info", "debug")
_ALIASES = {"panic": 0, "err": 3, "warn": 4}
_EXTRAS = ("--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid", "--log-macdecode")
_WARNING = 4
_PREFIX = 29  # bytes; the rest is cut off


@targets.add("LOG")
class Log(Target):
    """`extras`: the options that would show more headers; kept for iptables-save alone."""

    __slots__ = ("_note", "extras", "level", "prefix")
    options = {"--log-prefix": 1, "--log-level": 1, **dict.fromkeys(_EXTRAS, 0)}

    def __init__(self, prefix: str, level: int, extras: tuple[str, ...]) -> None:
        self.prefix, self.level, self.extras = prefix, level, extras
        self._note = Note(f"LOG {prefix}".rstrip())

    @classmethod
    def build(cls, given: Options, where: Where) -> Log:
        prefix = given["--log-prefix"].words[0] if "--log-prefix" in given else ""
        if "\n" in prefix:
            raise InputError(f"{prefix!r} is not a prefix", expected="text without a line's end")
        prefix = prefix.encode()[:_PREFIX].decode(errors="ignore")
        level = _level(given["--log-level"].words[0]) if "--log-level" in given else _WARNING
        return cls(prefix, level, tuple(word for word in _EXTRAS if word in given))

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if frame.trail is not None:
            frame.trail.append(self._note)
        return CONTINUE

    def spec(self) -> str:
        words = ["-j LOG"]
        if self.prefix:
            words.append(f"--log-prefix {quote(self.prefix)}")
        if self.level != _WARNING:
            words.append(f"--log-level {self.level}")
        return " ".join([*words, *self.extras])


def _level(text: str) -> int:
    number = unsigned(text)
    if number is not None and number < len(LEVELS):
        return number
    if text.lower() in LEVELS:
        return LEVELS.index(text.lower())
    if text.lower() in _ALIASES:
        return _ALIASES[text.lower()]
    raise InputError(f"unknown log level {text!r}", expected="0 to 7, or " + ", ".join(LEVELS))
