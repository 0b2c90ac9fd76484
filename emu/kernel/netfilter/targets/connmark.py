"""CONNMARK: change the connection's mark, or copy it to or from the packet's, and continue (xt_connmark.c).

Does nothing to a packet without a connection. Must not decide a packet's fate.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import number
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.kernel.netfilter.targets.mark import ALL_ONES, MARK_OPTIONS, xmark
from emu.wire.frame import Frame


@targets.add("CONNMARK")
class Connmark(Target):
    """`what`: set (`first`: value, `second`: mask), save or restore (`first`: nfmask, `second`: ctmask)."""

    __slots__ = ("first", "second", "what")
    options = {**MARK_OPTIONS, "--save-mark": 0, "--restore-mark": 0, "--nfmask": 1, "--ctmask": 1, "--mask": 1}

    def __init__(self, what: str, first: int, second: int) -> None:
        self.what, self.first, self.second = what, first, second

    @classmethod
    def build(cls, given: Options, where: Where) -> Connmark:
        asked = [name for name in given if not name.endswith("mask")]
        if len(asked) != 1:
            raise InputError("CONNMARK needs one action", expected="--save-mark, --restore-mark or --set-mark ..")
        option = given[asked[0]]
        if option.name not in ("--save-mark", "--restore-mark"):
            return cls("set", *xmark(option.name, option.words[0]))
        mask = number(given["--mask"].words[0], "mask") if "--mask" in given else ALL_ONES
        nfmask = number(given["--nfmask"].words[0], "mask") if "--nfmask" in given else mask
        ctmask = number(given["--ctmask"].words[0], "mask") if "--ctmask" in given else mask
        return cls(option.name[2:-5], nfmask, ctmask)

    def act(self, frame: Frame, state: HookState) -> Outcome:
        conn = frame.ct
        if conn is None:
            return CONTINUE
        if self.what == "set":
            conn.mark = conn.mark & ~self.second & ALL_ONES ^ self.first
        elif self.what == "save":
            conn.mark = conn.mark & ~self.second & ALL_ONES ^ frame.mark & self.first
        else:
            frame.mark = frame.mark & ~self.first & ALL_ONES ^ conn.mark & self.second
            return CONTINUE
        conn.table.changed(conn)
        return CONTINUE

    def spec(self) -> str:
        if self.what == "set":
            return f"-j CONNMARK --set-xmark 0x{self.first:x}/0x{self.second:x}"
        return f"-j CONNMARK --{self.what}-mark --nfmask 0x{self.first:x} --ctmask 0x{self.second:x}"
