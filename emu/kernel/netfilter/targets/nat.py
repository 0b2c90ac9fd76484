"""DNAT and SNAT, and what REDIRECT, MASQUERADE and NETMAP share with them (xt_nat.c, libxt_nat.c).

Each passes a range to `nat.setup`, which chooses, writes the reply tuple and gives the verdict.
Must not know connections.
"""

from __future__ import annotations

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches.ports import port
from emu.kernel.netfilter.nat import setup
from emu.kernel.netfilter.nat_ports import (
    MANIP_DST,
    MANIP_SRC,
    MAP_IPS,
    PERSISTENT,
    PROTO_RANDOM,
    PROTO_RANDOM_FULLY,
    PROTO_SPECIFIED,
    NatRange,
)
from emu.kernel.netfilter.targets import Given, Options, Outcome, Target, Where, targets
from emu.wire.addr import ip4, ip4_text
from emu.wire.frame import Frame
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


def parse_ports(text: str, where: Where) -> tuple[int, int]:
    """`P` or `P-Q`. Raises InputError."""
    if where.proto not in WITH_PORTS or where.proto == UDPLITE or where.proto_negated:
        raise InputError("a NAT to ports needs a protocol with ports", expected="-p tcp, udp, sctp or dccp")
    if "/" in text:
        raise InputError(f"shifted port ranges are not modelled: {text!r}", expected="PORT or PORT-PORT")
    first, dash, last = text.partition("-")
    low = port(first)
    high = port(last) if dash else low
    if low > high:
        raise InputError(f"{text!r} is not a range of ports", expected="the lower port first")
    return low, high


def spell_ports(wanted: NatRange) -> str:
    low, high = wanted.min_port, wanted.max_port
    return str(low) if low == high else f"{low}-{high}"


def parse_range(given: Given, bits: int, where: Where) -> NatRange:
    """`[ADDR[-ADDR]][:PORT[-PORT]]`. Raises InputError."""
    text, colon, ports = given.words[0].partition(":")
    first, dash, last = text.partition("-")
    low = high = low_port = high_port = 0
    if text:
        low, bits = ip4(first), bits | MAP_IPS
        high = ip4(last) if dash else low
        if low > high:
            raise InputError(f"{text!r} is not a range of addresses", expected="the lower address first")
    if colon:
        (low_port, high_port), bits = parse_ports(ports, where), bits | PROTO_SPECIFIED
    return NatRange(low, high, low_port, high_port, bits)


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
