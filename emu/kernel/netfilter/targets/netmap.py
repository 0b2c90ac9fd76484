"""NETMAP: one subnet onto another, host bits kept (xt_NETMAP.c).

The destination in PREROUTING and OUTPUT, the source elsewhere. Must not rewrite anything itself.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.hooks import LOCAL_OUT, PRE_ROUTING, HookState
from emu.kernel.netfilter.matches.ip import Address, inet_aton, parse_address
from emu.kernel.netfilter.nat import setup
from emu.kernel.netfilter.nat_ports import MANIP_DST, MANIP_SRC, MAP_IPS, NatRange
from emu.kernel.netfilter.targets import Options, Outcome, Target, Where, targets
from emu.wire.frame import Frame


@targets.add("NETMAP")
class Netmap(Target):
    __slots__ = ("net",)
    options = {"--to": 1}
    tables = ("nat",)

    def __init__(self, net: Address) -> None:
        self.net = net

    @classmethod
    def build(cls, given: Options, where: Where) -> Netmap:
        if "--to" not in given:
            raise InputError("NETMAP has no target address", expected="--to ADDR/LEN")
        return cls(parse_address(given["--to"].words[0], read=inet_aton))

    def act(self, frame: Frame, state: HookState) -> Outcome:
        destination = state.hook in (PRE_ROUTING, LOCAL_OUT)
        old = frame.dst if destination else frame.src
        addr = self.net.addr | old & ~self.net.mask & 0xFFFFFFFF
        return setup(frame, state, MANIP_DST if destination else MANIP_SRC, NatRange(addr, addr, flags=MAP_IPS))

    def spec(self) -> str:
        return f"-j NETMAP {self.net.spell('--to')}"
