"""TCPOPTSTRIP: write NOPs over options of the TCP header, and continue (xt_TCPOPTSTRIP.c).

A segment that is shorter than its header is dropped. Must not change a length.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.hooks import Drop, HookState
from emu.kernel.netfilter.matches import number, ports
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.wire.frame import ETH_HLEN, IP_OFFSET, TCP, Frame
from emu.wire.rewrite import strip_options
from emu.wire.tcp import HLEN, header_length

OPTIONS = {"mss": 2, "wscale": 3, "sack-permitted": 4, "sack": 5, "timestamp": 8, "md5": 19}


@targets.add("TCPOPTSTRIP")
class Tcpoptstrip(Target):
    """`kinds` of the options."""

    __slots__ = ("kinds",)
    options = {"--strip-options": 1}
    tables = ("mangle",)

    def __init__(self, kinds: frozenset[int]) -> None:
        self.kinds = kinds

    @classmethod
    def build(cls, given: Options, where: Where) -> Tcpoptstrip:
        ports.demand(TCP, where)
        kinds: set[int] = set()
        for word in given["--strip-options"].words[0].split(",") if "--strip-options" in given else ():
            kind = OPTIONS.get(word) or number(word, "TCP option", 2, 255)
            if kind in kinds:
                raise InputError(f"option {kind} twice", expected="once")
            kinds.add(kind)
        return cls(frozenset(kinds))

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if frame.frag & IP_OFFSET:
            return CONTINUE
        length = header_length(frame)
        if length < HLEN or frame.l4 + length > ETH_HLEN + frame.tot_len:
            return Drop("NETFILTER_DROP")
        strip_options(frame, self.kinds)
        return CONTINUE

    def spec(self) -> str:
        kinds = ",".join(map(str, sorted(self.kinds)))
        return f"-j TCPOPTSTRIP --strip-options {kinds}" if kinds else "-j TCPOPTSTRIP"
