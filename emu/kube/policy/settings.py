"""What the policy agents of a cluster are configured with. Must not know agents."""

from __future__ import annotations

from dataclasses import dataclass, field

from emu.wire.addr import Prefix


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """`service_subnet`: the addresses of Services."""

    service_subnet: Prefix = field(default_factory=lambda: Prefix.parse("10.96.0.0/12"))
