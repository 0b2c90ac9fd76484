"""`-m esp`: the security parameter index of an encapsulated payload (xt_esp.c).

Must not know IPsec: no packet is decrypted.
"""

from __future__ import annotations

from dataclasses import dataclass

from emu.kernel.netfilter.matches import matches
from emu.kernel.netfilter.matches.spi import SpiMatch
from emu.wire.proto import PROTOCOLS


@matches.add("esp")
@dataclass(frozen=True, slots=True)
class Esp(SpiMatch):
    """The index is the header's first word."""

    options = {"--espspi": 1}
    protocol = PROTOCOLS["esp"]
    option = "--espspi"
    place, header = 0, 8
