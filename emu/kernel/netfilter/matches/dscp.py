"""`-m dscp`: the upper six bits of the type of service byte (xt_dscp.c), and the names of values of that byte.

Must not change it: the targets DSCP and TOS do.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches, number
from emu.wire.frame import Frame

# RFC 2474, RFC 2597, RFC 3246 and RFC 5865
CLASSES = {
    "CS0": 0x00, "CS1": 0x08, "CS2": 0x10, "CS3": 0x18, "CS4": 0x20, "CS5": 0x28, "CS6": 0x30, "CS7": 0x38,
    "BE": 0x00, "AF11": 0x0A, "AF12": 0x0C, "AF13": 0x0E, "AF21": 0x12, "AF22": 0x14, "AF23": 0x16, "AF31": 0x1A,
    "AF32": 0x1C, "AF33": 0x1E, "AF41": 0x22, "AF42": 0x24, "AF43": 0x26, "EF": 0x2E,
}  # fmt: skip
# RFC 1349, as iptables names them
SERVICES = {
    "Minimize-Delay": 0x10, "Maximize-Throughput": 0x08, "Maximize-Reliability": 0x04, "Minimize-Cost": 0x02,
    "Normal-Service": 0x00,
}  # fmt: skip
_SYMBOL_MASK = 0x3F


def dscp_class(text: str) -> int:
    """A class's code point. Raises InputError."""
    if text.upper() not in CLASSES:
        raise InputError(f"unknown DSCP class {text!r}", expected=", ".join(CLASSES))
    return CLASSES[text.upper()]


def tos_value(text: str, plain_mask: int = 0xFF) -> tuple[int, int]:
    """`VALUE[/MASK]` or a name, as (value, mask). Raises InputError."""
    for name, service in SERVICES.items():
        if name.lower() == text.lower():
            return service, _SYMBOL_MASK
    value, slash, mask = text.partition("/")
    return number(value, "TOS", 0, 255), number(mask, "TOS mask", 0, 255) if slash else plain_mask


@matches.add("dscp")
@dataclass(frozen=True, slots=True)
class Dscp(Match):
    options = {"--dscp": 1, "--dscp-class": 1}
    value: int
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Dscp:
        if len(given) != 1:
            raise InputError("-m dscp needs one value", expected="--dscp VALUE or --dscp-class CLASS")
        option = next(iter(given.values()))
        text = option.words[0]
        return cls(dscp_class(text) if "class" in option.name else number(text, "DSCP", 0, 63), option.negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return (frame.tos >> 2 == self.value) is not self.negated

    def spec(self) -> str:
        return f"{'! ' if self.negated else ''}--dscp 0x{self.value:02x}"
