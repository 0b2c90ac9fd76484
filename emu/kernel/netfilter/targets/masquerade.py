"""MASQUERADE: SNAT to whatever address the outgoing device shows the next hop (nf_nat_masquerade.c).

The address is NAT's to find (`nat.masquerade`); this only carries ports and flags.
Must not know addresses.
"""

from __future__ import annotations

from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.nat import masquerade
from emu.kernel.netfilter.nat_ports import PROTO_RANDOM, PROTO_RANDOM_FULLY, PROTO_SPECIFIED, NatRange
from emu.kernel.netfilter.targets import Options, Outcome, Target, Where, targets
from emu.kernel.netfilter.targets.nat import spell_ports, unshifted
from emu.wire.frame import Frame


@targets.add("MASQUERADE")
class Masquerade(Target):
    """`range` has ports at most: the address is found when a packet comes."""

    __slots__ = ("range",)
    options = {"--to-ports": 1, "--random": 0, "--random-fully": 0}
    tables = ("nat",)
    chains = ("POSTROUTING",)

    def __init__(self, range: NatRange) -> None:
        self.range = range

    @classmethod
    def build(cls, given: Options, where: Where) -> Masquerade:
        bits = (PROTO_RANDOM if "--random" in given else 0) | (PROTO_RANDOM_FULLY if "--random-fully" in given else 0)
        if "--to-ports" not in given:
            return cls(NatRange(0, 0, 0, 0, bits))
        low, high = unshifted(given["--to-ports"].words[0], where)
        return cls(NatRange(0, 0, low, high, bits | PROTO_SPECIFIED))

    def act(self, frame: Frame, state: HookState) -> Outcome:
        return masquerade(frame, state, self.range)

    def spec(self) -> str:
        ports = f" --to-ports {spell_ports(self.range)}" if self.range.flags & PROTO_SPECIFIED else ""
        random = " --random" if self.range.flags & PROTO_RANDOM else ""
        fully = " --random-fully" if self.range.flags & PROTO_RANDOM_FULLY else ""
        return f"-j MASQUERADE{ports}{random}{fully}"
