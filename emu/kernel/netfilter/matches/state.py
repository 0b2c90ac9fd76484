"""`-m state`: the older spelling of `-m conntrack --ctstate`, without SNAT and DNAT (xt_state.c).

Must not know anything that conntrack.py does not: it uses that match.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Test, Where, matches
from emu.kernel.netfilter.matches.conntrack import STATES, parse_states, state_bit, state_test
from emu.wire.frame import Frame

_KNOWN = {name: bit for name, bit in STATES.items() if name not in ("SNAT", "DNAT")}


@matches.add("state")
@dataclass(frozen=True, slots=True)
class State(Match):
    options = {"--state": 1}
    mask: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> State:
        if "--state" not in given:
            raise InputError("-m state has no option", expected="--state STATE,..")
        option = given["--state"]
        return cls(parse_states(option.words[0], _KNOWN, "state"), option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return bool(state_bit(frame) & self.mask) is not self.negated

    def by_state(self) -> bool:
        return True

    def tests(self) -> tuple[Test, ...]:
        return (state_test(self.mask, self.negated),)

    def spec(self) -> str:
        names = ",".join(name for name, bit in _KNOWN.items() if self.mask & bit)
        return f"{'! ' if self.negated else ''}--state {names}"
