"""MARK: change the packet's mark, and continue (xt_mark.c: mark = (mark & ~mask) ^ value).

Must not route again: the mangle table's OUTPUT does, when the mark changed.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import number, value_mask
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.wire.frame import Frame

ALL_ONES = 0xFFFFFFFF
MARK_OPTIONS = {"--set-xmark": 1, "--set-mark": 1, "--and-mark": 1, "--or-mark": 1, "--xor-mark": 1}


def xmark(option: str, text: str) -> tuple[int, int]:
    """Any of the five spellings as (value, mask). Raises InputError."""
    if option == "--set-xmark":
        return value_mask(text, "mark")
    if option == "--set-mark":
        value, mask = value_mask(text, "mark")
        return value, mask | value
    bits = number(text, "mark")
    if option == "--and-mark":
        return 0, ~bits & ALL_ONES
    return (bits, bits) if option == "--or-mark" else (bits, 0)


@targets.add("MARK")
class Mark(Target):
    __slots__ = ("_keep", "mask", "value")
    options = MARK_OPTIONS

    def __init__(self, value: int, mask: int) -> None:
        self.value, self.mask = value, mask
        self._keep = ~mask & ALL_ONES

    @classmethod
    def build(cls, given: Options, where: Where) -> Mark:
        if len(given) != 1:
            raise InputError("MARK needs one action", expected=" or ".join(MARK_OPTIONS))
        option = next(iter(given.values()))
        return cls(*xmark(option.name, option.words[0]))

    def act(self, frame: Frame, state: HookState) -> Outcome:
        frame.mark = frame.mark & self._keep ^ self.value
        return CONTINUE

    def spec(self) -> str:
        return f"-j MARK --set-xmark 0x{self.value:x}/0x{self.mask:x}"
