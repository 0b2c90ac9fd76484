"""`-m pkttype`: to which kind of address the frame was sent (xt_pkttype.c).

Reads the frame's `pkt_type`; must not look at MAC addresses.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches
from emu.wire.addr import ip4_kind
from emu.wire.frame import BROADCAST, HOST, LOOPBACK, MULTICAST, Frame

TYPES = {"unicast": HOST, "broadcast": BROADCAST, "multicast": MULTICAST}


@matches.add("pkttype")
@dataclass(frozen=True, slots=True)
class Pkttype(Match):
    options = {"--pkt-type": 1}
    type: str
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Pkttype:
        if "--pkt-type" not in given:
            raise InputError("-m pkttype has no option", expected="--pkt-type TYPE")
        option = given["--pkt-type"]
        if option.words[0] not in TYPES:
            raise InputError(f"unknown packet type {option.words[0]!r}", expected=", ".join(TYPES))
        return cls(option.words[0], option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        found = frame.pkt_type
        if found == LOOPBACK:  # the host's copy of its own packet
            found = MULTICAST if ip4_kind(frame.dst) == "MULTICAST" else BROADCAST
        return (found == TYPES[self.type]) is not self.negated

    def spec(self) -> str:
        return f"{'! ' if self.negated else ''}--pkt-type {self.type}"
