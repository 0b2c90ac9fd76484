"""ECN: take the flags ECE and CWR out of a TCP header, and continue (ipt_ECN.c).

A SYN without them offers no ECN. Must not touch the IP header.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.hooks import Drop, HookState
from emu.kernel.netfilter.matches import ports
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.wire.frame import ETH_HLEN, TCP, Frame
from emu.wire.rewrite import clear_tcp_flags
from emu.wire.tcp import CWR, ECE, HLEN


@targets.add("ECN")
class Ecn(Target):
    __slots__ = ()
    options = {"--ecn-tcp-remove": 0}
    tables = ("mangle",)

    @classmethod
    def build(cls, given: Options, where: Where) -> Ecn:
        if "--ecn-tcp-remove" not in given:
            raise InputError("ECN has nothing to do", expected="--ecn-tcp-remove")
        ports.demand(TCP, where)
        return cls()

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if frame.proto != TCP:
            return CONTINUE
        if frame.l4 + HLEN > ETH_HLEN + frame.tot_len:
            return Drop("NETFILTER_DROP")
        clear_tcp_flags(frame, ECE | CWR)
        return CONTINUE

    def spec(self) -> str:
        return "-j ECN --ecn-tcp-remove"
