"""DSCP, TOS and TTL: change one byte of the IP header, and continue (xt_DSCP.c, xt_HL.c).

A TTL that runs out drops the packet. Must not route: the mangle table's OUTPUT does, when the TOS changed.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import number
from emu.kernel.netfilter.matches.dscp import dscp_class, tos_value
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.wire.frame import Frame
from emu.wire.rewrite import set_tos, set_ttl


@targets.add("DSCP")
class Dscp(Target):
    __slots__ = ("value",)
    options = {"--set-dscp": 1, "--set-dscp-class": 1}
    tables = ("mangle",)

    def __init__(self, value: int) -> None:
        self.value = value

    @classmethod
    def build(cls, given: Options, where: Where) -> Dscp:
        if len(given) != 1:
            raise InputError("DSCP needs one value", expected="--set-dscp VALUE or --set-dscp-class CLASS")
        option = next(iter(given.values()))
        text = option.words[0]
        return cls(dscp_class(text) if option.name.endswith("class") else number(text, "DSCP", 0, 63))

    def act(self, frame: Frame, state: HookState) -> Outcome:
        tos = frame.tos & 3 | self.value << 2
        if tos != frame.tos:
            set_tos(frame, tos)
        return CONTINUE

    def spec(self) -> str:
        return f"-j DSCP --set-dscp 0x{self.value:02x}"


@targets.add("TOS")
class Tos(Target):
    __slots__ = ("mask", "value")
    options = {"--set-tos": 1, "--and-tos": 1, "--or-tos": 1, "--xor-tos": 1}
    tables = ("mangle",)

    def __init__(self, value: int, mask: int) -> None:
        self.value, self.mask = value, mask

    @classmethod
    def build(cls, given: Options, where: Where) -> Tos:
        if len(given) != 1:
            raise InputError("TOS needs one action", expected="--set-tos VALUE[/MASK]")
        option = next(iter(given.values()))
        text = option.words[0]
        if option.name == "--set-tos":
            return cls(*tos_value(text))
        bits = number(text, "TOS", 0, 255)
        if option.name == "--and-tos":
            return cls(0, ~bits & 0xFF)
        return cls(bits, bits if option.name == "--or-tos" else 0)

    def act(self, frame: Frame, state: HookState) -> Outcome:
        tos = frame.tos & ~self.mask & 0xFF ^ self.value
        if tos != frame.tos:
            set_tos(frame, tos)
        return CONTINUE

    def spec(self) -> str:
        return f"-j TOS --set-tos 0x{self.value:02x}/0x{self.mask:02x}"


@targets.add("TTL")
class Ttl(Target):
    """`how` is set, dec or inc."""

    __slots__ = ("how", "value")
    options = {"--ttl-set": 1, "--ttl-dec": 1, "--ttl-inc": 1}
    tables = ("mangle",)

    def __init__(self, how: str, value: int) -> None:
        self.how, self.value = how, value

    @classmethod
    def build(cls, given: Options, where: Where) -> Ttl:
        if len(given) != 1:
            raise InputError("TTL needs one action", expected="--ttl-set, --ttl-dec or --ttl-inc")
        option = next(iter(given.values()))
        how = option.name[-3:]
        return cls(how, number(option.words[0], "TTL", 0 if how == "set" else 1, 255))

    def act(self, frame: Frame, state: HookState) -> Outcome:
        old = frame.ttl
        new = {"set": self.value, "dec": max(old - self.value, 0), "inc": min(old + self.value, 255)}[self.how]
        if new != old:
            set_ttl(frame, new)
        return CONTINUE

    def spec(self) -> str:
        return f"-j TTL --ttl-{self.how} {self.value}"
