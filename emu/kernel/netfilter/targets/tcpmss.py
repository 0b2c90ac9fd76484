"""TCPMSS: lower the maximum segment size that a SYN announces, and go on (xt_TCPMSS.c).

Never raises it; a SYN without the option gets one of at most 536. Must not touch other segments' data.
"""

from __future__ import annotations

from typing import Any

from emu.errors import InputError
from emu.kernel.netfilter.hooks import Drop, HookState
from emu.kernel.netfilter.matches import number
from emu.kernel.netfilter.matches.tcpmss import MSS, MSS_LENGTH, option_at
from emu.kernel.netfilter.targets import CONTINUE, Options, Outcome, Target, Where, targets
from emu.wire.checksum import adjust, checksum
from emu.wire.frame import IP_OFFSET, TCP, Frame
from emu.wire.rewrite import replace, set_payload

HEADERS, DEFAULT_MSS = 40, 536


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
            raise InputError("TCPMSS wants one thing to do", expected="--set-mss N or --clamp-mss-to-pmtu")
        if where.proto != TCP or where.proto_negated:
            raise InputError("TCPMSS needs the protocol", expected="-p tcp with --tcp-flags SYN,RST SYN")
        if "--set-mss" in given:
            return cls(number(given["--set-mss"].words[0], "segment size", 1, 0xFFFF - HEADERS))
        if where.chain in ("PREROUTING", "INPUT"):
            raise InputError(f"--clamp-mss-to-pmtu cannot be used in {where.chain}", expected="FORWARD, OUTPUT ..")
        return cls(0)

    def act(self, frame: Frame, state: HookState) -> Outcome:
        buf, l4 = frame.buf, frame.l4
        if frame.proto != TCP or frame.frag & IP_OFFSET:
            return CONTINUE
        header = (buf[l4 + 12] >> 4) * 4 if len(buf) >= l4 + 20 else 0
        end = 14 + frame.ip_length
        if header < 20 or end - l4 < header:
            return Drop("NETFILTER_DROP")
        wanted = self.mss
        if not wanted:
            wanted = min(_mtu(frame.route, 0xFFFF), _way_back(frame, state)) - HEADERS
            if wanted <= 0:
                return Drop("NETFILTER_DROP")
        at = option_at(frame, MSS)
        if at >= 0 and at + MSS_LENGTH <= l4 + header and buf[at + 1] == MSS_LENGTH:
            old = buf[at + 2] << 8 | buf[at + 3]
            if old > wanted:
                _write(frame, at + 2, old, wanted)
            return CONTINUE
        if end - l4 == header and header < 60:
            _insert(frame, min(wanted, DEFAULT_MSS))
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


def _write(frame: Frame, at: int, old: int, new: int) -> None:
    buf, place = frame.buf, frame.l4 + 16
    check = buf[place] << 8 | buf[place + 1]
    if (at - frame.l4) % 2:  # an odd place: each byte weighs in the other half of its word
        check = adjust(check, old >> 8, new >> 8)
        check = adjust(check, (old & 255) << 8, (new & 255) << 8)
    else:
        check = adjust(check, old, new)
    whole = bytearray(buf[place : at + 2])
    whole[0:2] = check.to_bytes(2, "big")
    whole[-2:] = new.to_bytes(2, "big")
    set_payload(frame, place, bytes(whole))


def _insert(frame: Frame, mss: int) -> None:
    """The option right after the fixed header; both lengths and both checksums follow."""
    buf, l4 = frame.buf, frame.l4
    segment = bytearray(buf[l4 : l4 + 20]) + bytes((MSS, MSS_LENGTH)) + mss.to_bytes(2, "big") + buf[l4 + 20 :]
    segment[12] += 0x10
    segment[16:18] = b"\0\0"
    pseudo = bytes(buf[26:34]) + bytes((0, TCP)) + len(segment).to_bytes(2, "big")
    segment[16:18] = checksum(pseudo + bytes(segment)).to_bytes(2, "big")
    head = bytearray(buf[14:l4])
    head[2:4] = (len(head) + len(segment)).to_bytes(2, "big")
    head[10:12] = b"\0\0"
    head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
    replace(frame, buf[:14] + head + segment)
