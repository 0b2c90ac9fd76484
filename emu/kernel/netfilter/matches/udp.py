"""`-m udp`: ports (xt_tcpudp.c).

Must not know connections; never fits a fragment after the first.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Test, Where, matches, ports
from emu.wire.frame import UDP, Frame


@matches.add("udp")
@dataclass(frozen=True, slots=True)
class Udp(Match):
    options = ports.OPTIONS
    aliases = ports.ALIASES
    sport: ports.Ports | None
    dport: ports.Ports | None

    @classmethod
    def build(cls, given: Options, where: Where) -> Udp:
        ports.demand(UDP, where)
        return cls(ports.parse(given.get("--sport")), ports.parse(given.get("--dport")))

    def tests(self) -> tuple[Test, ...]:
        return ports.tests(self.sport, self.dport)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return all(test(frame, state) for test in self.tests())

    def spec(self) -> str:
        return " ".join(p.spell(o) for o, p in (("--sport", self.sport), ("--dport", self.dport)) if p is not None)
