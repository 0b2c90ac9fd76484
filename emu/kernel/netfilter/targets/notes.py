"""CHECKSUM, TRACE and CLASSIFY: they change nothing that a frame on a wire shows, and continue.

Checksums are always full here; there is no kernel log and no queueing discipline. Must not change a packet.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.trail import Note
from emu.wire.frame import Frame

_TRACE = Note("TRACE: the kernel would log every further rule")


class _Harmless(Target):
    __slots__ = ()

    def act(self, frame: Frame, state: HookState) -> Outcome:
        return CONTINUE


@targets.add("CHECKSUM")
class Checksum(_Harmless):
    """Fills in what an offload left out (xt_CHECKSUM.c)."""

    __slots__ = ()
    options = {"--checksum-fill": 0}
    tables = ("mangle",)

    @classmethod
    def build(cls, given: Options, where: Where) -> Checksum:
        if "--checksum-fill" not in given:
            raise InputError("CHECKSUM has nothing to do", expected="--checksum-fill")
        return cls()

    def spec(self) -> str:
        return "-j CHECKSUM --checksum-fill"


@targets.add("TRACE")
class Trace(_Harmless):
    __slots__ = ()
    tables = ("raw",)

    @classmethod
    def build(cls, given: Options, where: Where) -> Trace:
        return cls()

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if frame.trail is not None:
            frame.trail.append(_TRACE)
        return CONTINUE

    def spec(self) -> str:
        return "-j TRACE"


@targets.add("CLASSIFY")
class Classify(_Harmless):
    """The class of a queueing discipline, MAJOR:MINOR in hexadecimal (xt_CLASSIFY.c)."""

    __slots__ = ("major", "minor")
    options = {"--set-class": 1}
    tables = ("mangle",)

    def __init__(self, major: int, minor: int) -> None:
        self.major, self.minor = major, minor

    @classmethod
    def build(cls, given: Options, where: Where) -> Classify:
        text = given["--set-class"].words[0] if "--set-class" in given else ""
        try:
            major, minor = (int(each, 16) for each in text.split(":"))
        except ValueError:
            raise InputError(f"{text!r} is not a class", expected="MAJOR:MINOR") from None
        return cls(major, minor)

    def spec(self) -> str:
        return f"-j CLASSIFY --set-class {self.major:04x}:{self.minor:04x}"
