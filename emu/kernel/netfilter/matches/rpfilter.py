"""`-m rpfilter`: would an answer to the packet be sent out of the device that it came in on (ipt_rpfilter.c).

Looks up the namespace's routes. Must not drop anything: the rule does, mostly with `--invert`.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches
from emu.wire.addr import LIMITED_BROADCAST, is_multicast
from emu.wire.frame import Frame

_FLAGS = ("--loose", "--validmark", "--accept-local", "--invert")


@matches.add("rpfilter")
@dataclass(frozen=True, slots=True)
class Rpfilter(Match):
    options = dict.fromkeys(_FLAGS, 0)
    not_negated = frozenset(_FLAGS)
    loose: bool
    validmark: bool
    accept_local: bool
    invert: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Rpfilter:
        if where.table not in ("raw", "mangle") or where.chain in ("INPUT", "FORWARD", "OUTPUT", "POSTROUTING"):
            raise InputError("-m rpfilter stands elsewhere", expected="PREROUTING of raw or mangle")
        return cls(*(flag in given for flag in _FLAGS))

    def matches(self, frame: Frame, state: HookState) -> bool:
        return self._answered(frame, state) is not self.invert

    def _answered(self, frame: Frame, state: HookState) -> bool:
        device, src, dst = frame.indev, frame.src, frame.dst
        if device.loopback:
            return True
        if not src and (dst == LIMITED_BROADCAST or dst >> 8 == 0xE00000):
            return True
        here = 0 if is_multicast(dst) or dst == LIMITED_BROADCAST or not dst else dst
        route = state.family.route(src, here, frame.mark if self.validmark else 0, "lo")
        if route is None or not (route.kind == "unicast" or (route.kind == "local" and self.accept_local)):
            return False
        return route.device is device or self.loose

    def spec(self) -> str:
        given = (self.loose, self.validmark, self.accept_local, self.invert)
        return " ".join(flag for flag, on in zip(_FLAGS, given, strict=True) if on)
