"""REDIRECT: DNAT to this host (nf_nat_redirect.c).

Loopback for local packets, else the incoming device's first address; a device without any drops. Must not rewrite.
"""

from __future__ import annotations

from emu.kernel.netfilter.hooks import LOCAL_OUT, Drop, HookState
from emu.kernel.netfilter.nat import setup
from emu.kernel.netfilter.nat_ports import MANIP_DST, MAP_IPS, PROTO_RANDOM, PROTO_SPECIFIED, NatRange
from emu.kernel.netfilter.targets import Options, Outcome, Target, Where, targets
from emu.kernel.netfilter.targets.nat import spell_ports, unshifted
from emu.wire.frame import Frame

LOOPBACK = 0x7F000001


@targets.add("REDIRECT")
class Redirect(Target):
    __slots__ = ("range",)
    options = {"--to-ports": 1, "--random": 0}
    tables = ("nat",)
    chains = ("PREROUTING", "OUTPUT")

    def __init__(self, range: NatRange) -> None:
        self.range = range

    @classmethod
    def build(cls, given: Options, where: Where) -> Redirect:
        bits = PROTO_RANDOM if "--random" in given else 0
        if "--to-ports" not in given:
            return cls(NatRange(0, 0, 0, 0, bits))
        low, high = unshifted(given["--to-ports"].words[0], where)
        return cls(NatRange(0, 0, low, high, bits | PROTO_SPECIFIED))

    def act(self, frame: Frame, state: HookState) -> Outcome:
        addr = LOOPBACK if state.hook == LOCAL_OUT else state.family.select_addr(frame.indev, 0)
        if not addr:
            return Drop("NETFILTER_DROP")
        mine = self.range
        chosen = NatRange(addr, addr, mine.min_port, mine.max_port, mine.flags | MAP_IPS)
        return setup(frame, state, MANIP_DST, chosen)

    def spec(self) -> str:
        ports = f" --to-ports {spell_ports(self.range)}" if self.range.flags & PROTO_SPECIFIED else ""
        return f"-j REDIRECT{ports}{' --random' if self.range.flags & PROTO_RANDOM else ''}"
