"""NFLOG: send the packet to a listener in user space, and continue (xt_NFLOG.c).

No program listens: the rule only appears in the packet's trail. Must not format anything in the walk.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import number, quote
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.trail import Note
from emu.wire.frame import Frame

_NUMBERS = ("--nflog-group", "--nflog-range", "--nflog-size", "--nflog-threshold")


@targets.add("NFLOG")
class Nflog(Target):
    """`numbers` are the numeric options, 0 where one was not given (its default)."""

    __slots__ = ("_note", "numbers", "prefix")
    options = {"--nflog-prefix": 1, **dict.fromkeys(_NUMBERS, 1)}

    def __init__(self, prefix: str, numbers: tuple[int, ...]) -> None:
        self.prefix, self.numbers = prefix, numbers
        self._note = Note(f"NFLOG {prefix}".rstrip())

    @classmethod
    def build(cls, given: Options, where: Where) -> Nflog:
        prefix = given["--nflog-prefix"].words[0] if "--nflog-prefix" in given else ""
        if len(prefix.encode()) > 63:
            raise InputError(f"the prefix {prefix!r} is too long", expected="at most 63 bytes")
        return cls(prefix, tuple(number(given[o].words[0], o) if o in given else 0 for o in _NUMBERS))

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if frame.trail is not None:
            frame.trail.append(self._note)
        return CONTINUE

    def spec(self) -> str:
        words = ["-j NFLOG"]
        if self.prefix:
            words.append(f"--nflog-prefix {quote(self.prefix)}")
        words += [f"{option} {value}" for option, value in zip(_NUMBERS, self.numbers, strict=True) if value]
        return " ".join(words)
