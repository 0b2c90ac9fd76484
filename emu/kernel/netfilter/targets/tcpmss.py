"""TCPMSS: lower the maximum segment size that a SYN announces, and continue (xt_TCPMSS.c).

Never raises it; a SYN without the option gets one of at most 536. Must not touch other segments' data.
"""

from __future__ import annotations

from typing import Any

from emu.errors import InputError
from emu.kernel.netfilter.hooks import Drop, HookState
from emu.kernel.netfilter.matches import number
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.wire.frame import ETH_HLEN, IP_OFFSET, TCP, Frame
from emu.wire.rewrite import insert_mss, set_mss
from emu.wire.tcp import HLEN, MSS, MSS_LENGTH, header_length, mss_of, option_at

HEADERS, DEFAULT_MSS, MAX_HEADER = 40, 536, 60


@targets.add("TCPMSS")
class Tcpmss(Target):
    """`mss` 0: clamp to the smaller MTU of the two ways."""

    __slots__ = ("mss",)
    options = {"--set-mss": 1, "--clamp-mss-to-pmtu": 0}
    chains = ()

    def __init__(self, mss: int) -> None:
        self.mss = mss

    @classmethod
    def build(cls, given: Options, where: Where) -> Tcpmss:
        if len(given) != 1:
            raise InputError("TCPMSS needs one action", expected="--set-mss N or --clamp-mss-to-pmtu")
        if where.proto != TCP or where.proto_negated:
            raise InputError("TCPMSS needs the protocol", expected="-p tcp with --tcp-flags SYN,RST SYN")
        if "--set-mss" in given:
            return cls(number(given["--set-mss"].words[0], "segment size", 1, 0xFFFF - HEADERS))
        if where.chain in ("PREROUTING", "INPUT"):
            raise InputError(f"--clamp-mss-to-pmtu cannot be used in {where.chain}", expected="FORWARD, OUTPUT ..")
        return cls(0)

    def act(self, frame: Frame, state: HookState) -> Outcome:
        if frame.proto != TCP or frame.frag & IP_OFFSET:
            return CONTINUE
        header = header_length(frame)
        length = ETH_HLEN + frame.tot_len - frame.l4
        if header < HLEN or length < header:
            return Drop("NETFILTER_DROP")
        wanted = self.mss
        if not wanted:
            wanted = min(_mtu(frame.route, 0xFFFF), _way_back(frame, state)) - HEADERS
            if wanted <= 0:
                return Drop("NETFILTER_DROP")
        old = mss_of(frame)
        if old is not None and option_at(frame, MSS) + MSS_LENGTH <= frame.l4 + header:
            if old > wanted:
                set_mss(frame, old, wanted)
            return CONTINUE
        if length == header and header < MAX_HEADER:
            insert_mss(frame, min(wanted, DEFAULT_MSS))
        return CONTINUE

    def spec(self) -> str:
        return f"-j TCPMSS --set-mss {self.mss}" if self.mss else "-j TCPMSS --clamp-mss-to-pmtu"


def _mtu(route: Any, otherwise: int) -> int:
    if route is None or route.device is None:
        return otherwise
    return int(route.mtu or route.device.mtu)


def _way_back(frame: Frame, state: HookState) -> int:
    """tcpmss_reverse_mtu: the MTU of the route to where the segment came from."""
    return _mtu(state.family.route(frame.src), 0xFFFF)
