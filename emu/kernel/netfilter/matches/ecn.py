"""`-m ecn`: the ECN bits of the IP header and ECE and CWR of a TCP header (xt_ecn.c, RFC 3168).

Must not change them: the target ECN does.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number, ports
from emu.wire.frame import TCP, Frame
from emu.wire.tcp import CWR, ECE, header_length
from emu.wire.tcp import flags_of as tcp_flags

_TCP = (("--ecn-tcp-ece", ECE), ("--ecn-tcp-cwr", CWR))


@matches.add("ecn")
@dataclass(frozen=True, slots=True)
class Ecn(Match):
    """`flags`: (option, bit, negated) of each that was asked; `ect`: (value, negated) or None."""

    options = {"--ecn-tcp-ece": 0, "--ecn-tcp-cwr": 0, "--ecn-ip-ect": 1}
    flags: tuple[tuple[str, int, bool], ...]
    ect: tuple[int, bool] | None

    @classmethod
    def build(cls, given: Options, where: Where) -> Ecn:
        if not given:
            raise InputError("-m ecn has no option", expected="--ecn-tcp-ece, --ecn-tcp-cwr or --ecn-ip-ect")
        flags = tuple((option, bit, given[option].negated) for option, bit in _TCP if option in given)
        if flags:
            ports.demand(TCP, where)
        ect = given.get("--ecn-ip-ect")
        return cls(flags, None if ect is None else (number(ect.words[0], "ECN value", 0, 3), ect.negated))

    def matches(self, frame: Frame, state: HookState) -> bool:
        if self.ect is not None and (frame.tos & 3 == self.ect[0]) is self.ect[1]:
            return False
        if not self.flags:
            return True
        seen = tcp_flags(frame) if header_length(frame) else -1
        return seen >= 0 and all((seen & bit != 0) is not negated for _, bit, negated in self.flags)

    def spec(self) -> str:
        words = [f"{'! ' if negated else ''}{option}" for option, _, negated in self.flags]
        if self.ect is not None:
            words.append(f"{'! ' if self.ect[1] else ''}--ecn-ip-ect {self.ect[0]}")
        return " ".join(words)
