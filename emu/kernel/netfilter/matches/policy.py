"""`-m policy`: whether IPsec has decrypted the packet, or is going to encrypt it (xt_policy.c).

There is no IPsec here, so every packet has no policy: `--pol none` fits, and `--pol ipsec` does not. Must not know keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Given, Match, Options, Where, matches, number
from emu.kernel.netfilter.matches.ip import inet_aton, protocol
from emu.wire.addr import ip4_text
from emu.wire.frame import Frame
from emu.wire.proto import PROTOCOL_NAMES, PROTOCOLS

_ELEMENT = ("--reqid", "--spi", "--proto", "--mode", "--tunnel-dst", "--tunnel-src")
_IN, _OUT = ("OUTPUT", "POSTROUTING"), ("PREROUTING", "INPUT")
_IPSEC = (PROTOCOLS["esp"], PROTOCOLS["ah"], PROTOCOLS["ipcomp"])


@matches.add("policy")
@dataclass(frozen=True, slots=True)
class Policy(Match):
    """`elements`: the transformations asked for, one after the other, each as iptables-save spells it."""

    options = {"--dir": 1, "--pol": 1, "--strict": 0, "--next": 0, **dict.fromkeys(_ELEMENT, 1)}
    repeated = frozenset(("--next", *_ELEMENT))
    not_negated = frozenset(("--dir", "--pol", "--strict", "--next"))
    direction: str
    policy: str
    strict: bool
    elements: tuple[str, ...]

    @classmethod
    def build(cls, given: Options, where: Where) -> Policy:
        direction = given["--dir"].words[0] if "--dir" in given else ""
        if direction not in ("in", "out"):
            raise InputError("-m policy needs a direction", expected="--dir in or --dir out")
        if where.chain in (_IN if direction == "in" else _OUT):
            raise InputError(
                f"-m policy --dir {direction} cannot be used in {where.chain}", expected="another direction"
            )
        policy = given["--pol"].words[0] if "--pol" in given else "ipsec"
        if policy not in ("none", "ipsec"):
            raise InputError(f"unknown policy {policy!r}", expected="none or ipsec")
        strict, elements = "--strict" in given, _elements(given.values())
        if policy == "none" and (strict or elements):
            raise InputError("--pol none has no further options", expected="--pol ipsec")
        if strict and not all(elements or ("",)):
            raise InputError("--strict has an element without an option", expected="one of " + ", ".join(_ELEMENT))
        if len(elements) > 1 and not strict:
            raise InputError("--next needs --strict")
        return cls(direction, policy, strict, elements)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return self.policy == "none"

    def spec(self) -> str:
        words = [f"--dir {self.direction} --pol {self.policy}"]
        words += ["--strict"] if self.strict else []
        return " ".join([*words, " --next ".join(self.elements)] if self.elements else words)


def _elements(given: Iterable[Given]) -> tuple[str, ...]:
    """The elements in their order, cut at `--next`; the options of each in iptables-save's order. Raises InputError."""
    found: list[dict[str, str]] = [{}]
    for option in given:
        if option.name == "--next":
            found.append({})
        elif option.name in found[-1]:
            raise InputError(f"{option.name} twice in one element", expected="--next between them")
        elif option.name in _ELEMENT:
            found[-1][option.name] = option.spell(_value(option.name, option.words[0]))
    if found == [{}]:
        return ()
    for element in found:
        tunnel = element.get("--mode") in ("--mode tunnel", "! --mode transport")
        if not tunnel and {"--tunnel-src", "--tunnel-dst"} & element.keys():
            raise InputError("a tunnel's address without a tunnel", expected="--mode tunnel")
    return tuple(" ".join(element[name] for name in _ELEMENT if name in element) for element in found)


def _value(option: str, word: str) -> str:
    """An option's word as iptables-save has it. Raises InputError."""
    if option == "--reqid":
        return str(number(word, "request id"))
    if option == "--spi":
        return f"{number(word, 'SPI'):#x}"
    if option == "--mode":
        if word not in ("tunnel", "transport"):
            raise InputError(f"unknown mode {word!r}", expected="tunnel or transport")
        return word
    if option == "--proto":
        proto = protocol(word)
        if proto not in _IPSEC:
            raise InputError(f"{word!r} is not a protocol of IPsec", expected="esp, ah or ipcomp")
        return PROTOCOL_NAMES[proto]
    host, slash, length = word.partition("/")
    return f"{ip4_text(inet_aton(host))}/{number(length, 'prefix length', 0, 32) if slash else 32}"
