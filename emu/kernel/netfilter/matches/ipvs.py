"""`-m ipvs`: what IPVS does with the packet's connection (xt_ipvs.c).

IPVS is not modelled: the packet is undecided. Must not know virtual servers.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError, Undecided
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number
from emu.kernel.netfilter.matches.ip import inet_aton, parse_address, protocol
from emu.kernel.netfilter.matches.ports import port
from emu.wire.addr import ip4_text
from emu.wire.frame import Frame

_CHOICES = {"--vdir": ("ORIGINAL", "REPLY"), "--vmethod": ("GATE", "IPIP", "MASQ")}


@matches.add("ipvs")
@dataclass(frozen=True, slots=True)
class Ipvs(Match):
    """The options as iptables-save spells them."""

    options = {"--ipvs": 0, "--vproto": 1, "--vaddr": 1, "--vport": 1, "--vdir": 1, "--vmethod": 1, "--vportctl": 1}
    not_negated = frozenset(("--vdir",))
    pure = False
    undecided = "IPVS is not modelled"
    words: tuple[str, ...]

    @classmethod
    def build(cls, given: Options, where: Where) -> Ipvs:
        if not given:
            raise InputError("-m ipvs has no option", expected="--ipvs or another of its options")
        order = [option for option in cls.options if option in given]
        return cls(tuple(given[option].spell(_value(option, given[option].words)) for option in order))

    def matches(self, frame: Frame, state: HookState) -> bool:
        raise Undecided(f"-m ipvs: {self.undecided}")

    def spec(self) -> str:
        return " ".join(self.words)


def _value(option: str, words: tuple[str, ...]) -> str:
    """An option's word as iptables-save has it. Raises InputError."""
    if not words:
        return ""
    word = words[0]
    if option == "--vproto":
        return str(number(str(protocol(word)), "protocol", 1, 255))
    if option == "--vaddr":
        host, slash, _length = word.partition("/")
        bits = parse_address(word).mask.bit_count()
        return ip4_text(inet_aton(host)) + (f"/{bits}" if slash and bits < 32 else "")
    if option in _CHOICES:
        if word.upper() not in _CHOICES[option]:
            raise InputError(f"unknown {option} {word!r}", expected=" or ".join(_CHOICES[option]))
        return word.upper()
    return str(port(word))
