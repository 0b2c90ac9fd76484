"""IP identification: hashed counters for datagrams that may be fragmented (net/ipv4/route.c, __ip_select_ident).

TCP sockets keep their own counters; this serves UDP, ping, ICMP. Must not know frames.
"""

from __future__ import annotations

from emu.clock import Clock


class IpIdents:
    """One counter for each (destination, source, protocol); it starts at random and is never 0."""

    __slots__ = ("_clock", "_counters", "_name")

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock, self._name = clock, name
        self._counters: dict[tuple[int, int, int], int] = {}

    def next(self, dst: int, src: int, proto: int) -> int:
        key = (dst, src, proto)
        value = self._counters.get(key)
        value = (
            self._clock.random(f"ip_ident/{self._name}").randrange(1, 0x10000) if value is None else value % 0xFFFF + 1
        )
        self._counters[key] = value
        return value
