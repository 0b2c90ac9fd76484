"""`-m ah`: the security parameter index of an authentication header (ipt_ah.c).

Must not know IPsec: no packet is authenticated.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.kernel.netfilter.matches import matches
from emu.kernel.netfilter.matches.spi import SpiMatch
from emu.wire.proto import PROTOCOLS


@matches.add("ah")
@dataclass(frozen=True, slots=True)
class Ah(SpiMatch):
    """The index stands after next header, length and two reserved bytes."""

    options = {"--ahspi": 1}
    protocol = PROTOCOLS["ah"]
    option = "--ahspi"
    place, header = 4, 12
