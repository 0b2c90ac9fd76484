"""Policy rules: which table a packet's route comes from (net/ipv4/fib_rules.c). Must not know the tables."""

from __future__ import annotations

from dataclasses import dataclass

from emu.wire.addr import Prefix

ANY = Prefix(0, 0)


@dataclass(frozen=True, slots=True)
class IpRule:
    """One `ip rule`: lower `priority` first. `mark`/`mask` compare the packet's mark; `iif` "" means any."""

    priority: int
    table: int
    src: Prefix = ANY
    dst: Prefix = ANY
    mark: int = 0
    mask: int = 0
    iif: str = ""

    @property
    def always(self) -> bool:
        """Does the rule hold for every packet?"""
        return self.src.length == self.dst.length == self.mask == 0 and not self.iif

    def matches(self, dst: int, src: int, mark: int, iif: str) -> bool:
        return dst in self.dst and src in self.src and mark & self.mask == self.mark and self.iif in ("", iif)
