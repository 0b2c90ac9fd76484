"""`-m sctp`: ports (xt_sctp.c).

Chunk types are not modelled; must not read past the ports.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.kernel.netfilter.matches import matches, ports
from emu.wire.frame import SCTP


@matches.add("sctp")
@dataclass(frozen=True, slots=True)
class Sctp(ports.PortMatch):
    """The ports of an SCTP packet."""

    protocol = SCTP
