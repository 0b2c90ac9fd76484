"""NFLOG: send the packet to a listener in user space, and continue (xt_NFLOG.c).

No program listens: the rule only appears in the packet's trail. `--nflog-range` has never had an effect: iptables takes it
and does not save it. Must not format anything in the walk.
"""

from __future__ import annotations

from collections.abc import Mapping

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import number, quote
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.trail import Note
from emu.wire.frame import Frame

_NUMBERS = {"--nflog-group": 0xFFFF, "--nflog-size": 0xFFFFFFFF, "--nflog-threshold": 0xFFFF}  # the highest of each
_RANGE, _SIZE = "--nflog-range", "--nflog-size"
_PREFIX = 127  # bytes (NF_LOG_PREFIXLEN); the rest is cut off


@targets.add("NFLOG")
class Nflog(Target):
    """`numbers` are the numeric options that iptables-save shows, by name: a size of 0 is one."""

    __slots__ = ("_note", "numbers", "prefix")
    options = {"--nflog-prefix": 1, _RANGE: 1, **dict.fromkeys(_NUMBERS, 1)}

    def __init__(self, prefix: str, numbers: Mapping[str, int]) -> None:
        self.prefix, self.numbers = prefix, numbers
        self._note = Note(f"NFLOG {prefix}".rstrip())

    @classmethod
    def build(cls, given: Options, where: Where) -> Nflog:
        prefix = ""
        if "--nflog-prefix" in given:
            prefix = given["--nflog-prefix"].words[0].encode()[:_PREFIX].decode(errors="ignore")
            if not prefix or "\n" in prefix:
                raise InputError(f"{prefix!r} is not a prefix", expected="one character or more, without a line's end")
        if _RANGE in given:
            number(given[_RANGE].words[0], _RANGE)
            if _SIZE in given:
                raise InputError(f"{_RANGE} and {_SIZE} exclude each other", expected=_SIZE)
        numbers = {o: number(given[o].words[0], o, 0, most) for o, most in _NUMBERS.items() if o in given}
        return cls(prefix, {option: value for option, value in numbers.items() if value or option == _SIZE})

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if frame.trail is not None:
            frame.trail.append(self._note)
        return CONTINUE

    def spec(self) -> str:
        words = ["-j NFLOG"]
        if self.prefix:
            words.append(f"--nflog-prefix {quote(self.prefix)}")
        words += [f"{option} {value}" for option, value in self.numbers.items()]
        return " ".join(words)
