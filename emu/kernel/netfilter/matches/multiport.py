"""`-m multiport`: up to fifteen ports or ranges (xt_multiport.c).

For protocols with ports only; never fits a fragment after the first. Must not know services by meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, ports
from emu.wire.frame import IP_OFFSET, Frame
from emu.wire.proto import WITH_PORTS


@matches.add("multiport")
@dataclass(frozen=True, slots=True)
class Multiport(Match):
    """`which` is --sports, --dports or --ports (either side); `ranges` are (low, high)."""

    options = {"--sports": 1, "--dports": 1, "--ports": 1}
    aliases = {"--source-ports": "--sports", "--destination-ports": "--dports"}
    which: str
    ranges: tuple[tuple[int, int], ...]
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Multiport:
        if where.proto not in WITH_PORTS or where.proto_negated:
            raise InputError("-m multiport needs a protocol with ports", expected="-p tcp, udp, udplite, sctp or dccp")
        if len(given) != 1:
            raise InputError("-m multiport needs one list", expected="--sports, --dports or --ports")
        option = next(iter(given.values()))
        ranges = []
        slots = 0
        for word in option.words[0].split(","):
            first, colon, last = word.partition(":")
            low = ports.port(first)
            high = ports.port(last) if colon else low
            slots += 2 if colon else 1
            if colon and low >= high:
                raise InputError(f"{word!r} is not a range of ports", expected="the lower port first")
            ranges.append((low, high))
        if slots > 15:
            raise InputError("too many ports in -m multiport", expected="at most 15, a range counting twice")
        return cls(option.name, tuple(ranges), option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        if frame.frag & IP_OFFSET:
            return False
        sport, dport, which = frame.sport, frame.dport, self.which
        found = any(
            (which != "--dports" and low <= sport <= high) or (which != "--sports" and low <= dport <= high)
            for low, high in self.ranges
        )
        return found is not self.negated

    def spec(self) -> str:
        text = ",".join(str(low) if low == high else f"{low}:{high}" for low, high in self.ranges)
        return f"{'! ' if self.negated else ''}{self.which} {text}"
