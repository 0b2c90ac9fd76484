"""`-m udp`: ports (xt_tcpudp.c).

Must not know connections; never fits a fragment after the first.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.kernel.netfilter.matches import matches, ports
from emu.wire.frame import UDP


@matches.add("udp")
@dataclass(frozen=True, slots=True)
class Udp(ports.PortMatch):
    """The ports of a datagram."""

    protocol = UDP
