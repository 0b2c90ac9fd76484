"""The part of a rule that security groups and network ACLs share: which protocol and ports. Must not know addresses."""

from __future__ import annotations

from dataclasses import dataclass

from emu.errors import InputError
from emu.wire.addr import decimal
from emu.wire.frame import ICMP, SCTP, TCP, UDP, Frame

PROTOCOLS = {"all": 0, "icmp": ICMP, "tcp": TCP, "udp": UDP, "sctp": SCTP}
_EXPECTED = "all, icmp, or tcp, udp or sctp with a port (80) or a range (30000-32767)"


@dataclass(frozen=True, slots=True)
class Traffic:
    """`proto` 0 is every protocol; `ports` (first, last) are compared with the destination port; ICMP has none."""

    proto: int = 0
    ports: tuple[int, int] = (0, 65535)

    def __contains__(self, frame: object) -> bool:
        if not isinstance(frame, Frame) or self.proto not in (0, frame.proto):
            return False
        return self.proto in (0, ICMP) or self.ports[0] <= frame.dport <= self.ports[1]

    def __str__(self) -> str:
        name = next(name for name, number in PROTOCOLS.items() if number == self.proto)
        first, last = self.ports
        if self.ports == (0, 65535):
            return name
        return f"{name} {first}" + (f"-{last}" if last != first else "")


def parse_traffic(words: list[str]) -> Traffic:
    """`all`, `icmp`, `tcp 80`, `udp 1024-65535`: takes its words off the list. Raises InputError."""
    name = words.pop(0) if words else ""
    if name not in PROTOCOLS:
        raise InputError(f"{name!r} is no traffic of a rule", expected=_EXPECTED)
    bounds = words[0].split("-") if words else []
    numbers = [decimal(each) for each in bounds]
    if name in ("all", "icmp") or not bounds or None in numbers:
        return Traffic(PROTOCOLS[name])
    del words[0]
    first, last = numbers[0] or 0, numbers[-1] or 0
    if len(numbers) > 2 or not 0 <= first <= last <= 65535:
        raise InputError(f"{'-'.join(bounds)!r} are no ports", expected=_EXPECTED)
    return Traffic(PROTOCOLS[name], (first, last))
