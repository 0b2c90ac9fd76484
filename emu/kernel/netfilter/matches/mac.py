"""`-m mac`: the Ethernet source of a packet that came in from a device (xt_mac.c).

Must not be used in OUTPUT and POSTROUTING, where the source is not the sender's.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.kernel.netfilter.hooks import HookState
from emu.kernel.netfilter.matches import Match, Options, Where, matches
from emu.wire.addr import mac_text
from emu.wire.frame import Frame

_HEX = frozenset("0123456789abcdefABCDEF")


def octets_of(text: str) -> bytes:
    """A MAC of six hexadecimal octets, each of one or two digits. Raises InputError."""
    parts = text.split(":")
    if len(parts) != 6 or not all(0 < len(part) < 3 and set(part) <= _HEX for part in parts):
        raise InputError(f"{text!r} is not a MAC address", expected="six hexadecimal octets with colons")
    return bytes(int(part, 16) for part in parts)


@matches.add("mac")
@dataclass(frozen=True, slots=True)
class Mac(Match):
    options = {"--mac-source": 1}
    addr: bytes
    negated: bool

    @classmethod
    def build(cls, given: Options, where: Where) -> Mac:
        if "--mac-source" not in given:
            raise InputError("-m mac has no option", expected="--mac-source XX:XX:XX:XX:XX:XX")
        if where.chain in ("OUTPUT", "POSTROUTING"):
            raise InputError(f"-m mac cannot be used in {where.chain}", expected="PREROUTING, FORWARD or INPUT")
        return cls(octets_of(given["--mac-source"].words[0]), given["--mac-source"].negated)

    def matches(self, frame: Frame, state: HookState) -> bool:
        return frame.indev is not None and (frame.smac == self.addr) is not self.negated

    def spec(self) -> str:
        return f"{'! ' if self.negated else ''}--mac-source {mac_text(self.addr)}"
