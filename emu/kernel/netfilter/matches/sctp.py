"""`-m sctp`: ports (xt_sctp.c).

Chunk types are not modelled; must not read past the ports.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Test, Where, matches, ports
from emu.wire.frame import Frame

SCTP = 132


@matches.add("sctp")
@dataclass(frozen=True, slots=True)
class Sctp(Match):
    options = ports.OPTIONS
    aliases = ports.ALIASES
    sport: ports.Ports | None
    dport: ports.Ports | None

    @classmethod
    def build(cls, given: Options, where: Where) -> Sctp:
        ports.demand(SCTP, where)
        return cls(ports.parse(given.get("--sport")), ports.parse(given.get("--dport")))

    def tests(self) -> tuple[Test, ...]:
        return ports.tests(self.sport, self.dport)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return all(test(frame, state) for test in self.tests())

    def spec(self) -> str:
        return " ".join(p.spell(o) for o, p in (("--sport", self.sport), ("--dport", self.dport)) if p is not None)
