"""DNAT and SNAT, and what REDIRECT, MASQUERADE and NETMAP share with them (xt_nat.c, libxt_nat.c).

Each passes a range to `nat.setup`, which chooses, writes the reply tuple and gives the verdict.
Must not know connections.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import unsigned
from emu.kernel.netfilter.matches.names import SERVICES
from emu.kernel.netfilter.matches.ports import port
from emu.kernel.netfilter.nat import setup
from emu.kernel.netfilter.nat_ports import (
    MANIP_DST,
    MANIP_SRC,
    MAP_IPS,
    PERSISTENT,
    PROTO_OFFSET,
    PROTO_RANDOM,
    PROTO_RANDOM_FULLY,
    PROTO_SPECIFIED,
    NatRange,
)
from emu.kernel.netfilter.targets import Given, Options, Outcome, Target, Where, targets
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import ICMP, Frame
from emu.wire.proto import UDPLITE, WITH_PORTS

FLAG_WORDS = {"--random": PROTO_RANDOM, "--random-fully": PROTO_RANDOM_FULLY, "--persistent": PERSISTENT}


def flags(given: Options) -> int:
    value = 0
    for word, bit in FLAG_WORDS.items():
        if word in given:
            value |= bit
    return value


def spell_flags(value: int) -> str:
    return "".join(f" {word}" for word, bit in FLAG_WORDS.items() if value & bit)


def parse_ports(text: str, where: Where) -> tuple[int, int, int]:
    """`P`, `P-Q` or `P-Q/BASE` as lowest, highest and base (0: none). A name stands alone or as the base. Raises InputError."""
    ported = where.proto in WITH_PORTS and where.proto != UDPLITE
    if not ported and where.proto != ICMP:
        raise InputError("a NAT to ports needs a protocol with ports", expected="-p tcp, udp, sctp, dccp or icmp")
    span, slash, base_text = text.partition("/")
    first, dash, last = span.partition("-")
    if text in SERVICES:
        return SERVICES[text], SERVICES[text], 0
    low = _port_number(first)
    high = _port_number(last) if dash else low
    if low > high:
        raise InputError(f"{text!r} is not a range of ports", expected="the lower port first")
    if slash and not dash:
        raise InputError(f"{text!r} shifts no range of ports", expected="PORT-PORT/BASE")
    base = port(base_text) if slash else 0
    if slash and not base:
        raise InputError(f"{base_text!r} is not the first port of a range", expected="a number from 1 to 65535")
    return low, high, base


def _port_number(text: str) -> int:
    value = unsigned(text)
    if value is None or value > 0xFFFF:
        raise InputError(f"{text!r} is not a port", expected="a number from 0 to 65535 (a name stands alone)")
    return value


def unshifted(text: str, where: Where) -> tuple[int, int]:
    """`P` or `P-Q`, for a target whose ranges are not shifted. Raises InputError."""
    low, high, base = parse_ports(text, where)
    if base:
        raise InputError(f"the range of ports {text!r} cannot be shifted here", expected="PORT or PORT-PORT")
    return low, high


def spell_ports(wanted: NatRange) -> str:
    low, high = wanted.min_port, wanted.max_port
    base = f"/{wanted.base_port}" if wanted.flags & PROTO_OFFSET else ""
    return f"{low}{base}" if low == high else f"{low}-{high}{base}"


def parse_range(given: Given, bits: int, where: Where) -> NatRange:
    """`[ADDR[-ADDR]][:PORT[-PORT]]`. Raises InputError."""
    text, colon, ports = given.words[0].partition(":")
    first, dash, last = text.partition("-")
    low = high = low_port = high_port = base = 0
    if text:
        low, bits = ip4(first), bits | MAP_IPS
        high = ip4(last) if dash else low
        if low > high:
            raise InputError(f"{text!r} is not a range of addresses", expected="the lower address first")
    if colon:
        (low_port, high_port, base), bits = parse_ports(ports, where), bits | PROTO_SPECIFIED
    return NatRange(low, high, low_port, high_port, bits | PROTO_OFFSET if base else bits, base)


def spell_range(wanted: NatRange) -> str:
    text = ""
    if wanted.flags & MAP_IPS:
        text = ip4_text(wanted.min_addr)
        if wanted.max_addr != wanted.min_addr:
            text += "-" + ip4_text(wanted.max_addr)
    if wanted.flags & PROTO_SPECIFIED:
        text += ":" + spell_ports(wanted)
    return text + spell_flags(wanted.flags)


class _Nat(Target):
    __slots__ = ("range",)
    tables = ("nat",)

    def __init__(self, range: NatRange) -> None:
        self.range = range


@targets.add("DNAT")
class Dnat(_Nat):
    __slots__ = ()
    options = {"--to-destination": 1, "--random": 0, "--persistent": 0}
    chains = ("PREROUTING", "OUTPUT")

    @classmethod
    def build(cls, given: Options, where: Where) -> Dnat:
        if "--to-destination" not in given:
            raise InputError("DNAT has no target address", expected="--to-destination ADDR[:PORT]")
        return cls(parse_range(given["--to-destination"], flags(given), where))

    def act(self, frame: Frame, state: HookState) -> Outcome:
        return setup(frame, state, MANIP_DST, self.range)

    def spec(self) -> str:
        return f"-j DNAT --to-destination {spell_range(self.range)}"


@targets.add("SNAT")
class Snat(_Nat):
    __slots__ = ()
    options = {"--to-source": 1, **dict.fromkeys(FLAG_WORDS, 0)}
    chains = ("POSTROUTING", "INPUT")

    @classmethod
    def build(cls, given: Options, where: Where) -> Snat:
        if "--to-source" not in given:
            raise InputError("SNAT has no target address", expected="--to-source ADDR[:PORT]")
        return cls(parse_range(given["--to-source"], flags(given), where))

    def act(self, frame: Frame, state: HookState) -> Outcome:
        return setup(frame, state, MANIP_SRC, self.range)

    def spec(self) -> str:
        return f"-j SNAT --to-source {spell_range(self.range)}"
