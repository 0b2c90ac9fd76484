"""TEE: send a copy of the packet to a gateway, and continue (xt_TEE.c, nf_dup_ipv4.c).

The copy leaves before the packet goes on. In a node that was read from its dumps no copy is followed: there the packet is
undecided. Must not route.
"""

from __future__ import annotations

from emu.errors import InputError, Undecided
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import from_dumps
from emu.kernel.netfilter.matches.ip import inet_aton
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.wire.addr import ip4_text
from emu.wire.frame import Frame


@targets.add("TEE")
class Tee(Target):
    """`gateway` on the way to which the copy goes, by the device `oif` if it is given."""

    __slots__ = ("gateway", "oif")
    options = {"--gateway": 1, "--oif": 1}
    undecided = "the copy is not followed"

    def __init__(self, gateway: int, oif: str) -> None:
        self.gateway, self.oif = gateway, oif

    @classmethod
    def build(cls, given: Options, where: Where) -> Tee:
        gateway = inet_aton(given["--gateway"].words[0]) if "--gateway" in given else 0
        if not gateway:
            raise InputError("TEE has no gateway", expected="--gateway ADDRESS")
        oif = given["--oif"].words[0] if "--oif" in given else ""
        if len(oif) > 15:
            raise InputError(f"{oif!r} is not a device name", expected="1 to 15 characters")
        return cls(gateway, oif)

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if from_dumps(state):
            raise Undecided(f"-j TEE: {self.undecided} (to {ip4_text(self.gateway)})")
        state.family.duplicate(frame, self.gateway, self.oif, state.hook)
        return CONTINUE

    def spec(self) -> str:
        return f"-j TEE --gateway {ip4_text(self.gateway)}{f' --oif {self.oif}' if self.oif else ''}"
