"""Routes with several next hops: which one a packet takes (net/ipv4/fib_semantics.c fib_select_multipath, route.c
fib_multipath_hash).

A keyed hash of the packet's flow chooses, so that all packets of a flow take one way; the key is drawn once for each
namespace. While the source `fib_multipath` has a script, the script chooses by the weights, once for each flow and route.
Must not know tables.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Protocol

from emu.clock import Draws
from emu.kernel.net.fib_rules import Flow
from emu.kernel.net.fib_semantics import Route, usable
from emu.kernel.sysctl import Sysctls

BITS = 31
L3, L4, INNER, CUSTOM = range(4)  # fib_multipath_hash_policy
PURPOSE = "fib_multipath"
# the fields of fib_multipath_hash_fields, in the order of a key; a packet inside a packet is not looked at
FIELDS = (0x01, 0x02, 0x04, 0x10, 0x20)


class Namespace(Protocol):
    """What the choice reads of its namespace."""

    @property
    def sysctl(self) -> Sysctls: ...

    def random(self, purpose: str) -> Draws: ...


class Multipath:
    """The choices of one family of a namespace. `resolves(hop)`: is the next hop not known to be absent? `source(hop)` is the
    address that packets from here have on it. `skips` is as in `FibTable.find`."""

    __slots__ = ("_chosen", "_key", "_net", "_resolves", "_skips", "_source")

    def __init__(
        self,
        net: Namespace,
        resolves: Callable[[Route], bool],
        source: Callable[[Route], int],
        skips: Callable[[Any], bool],
    ) -> None:
        self._net, self._resolves, self._source, self._skips = net, resolves, source, skips
        self._key = b""
        self._chosen: dict[tuple[Route, tuple[int, ...]], int] = {}

    def choose(self, route: Route, src: int, dst: int, flow: Flow, *, local: bool) -> Route:
        """The next hop of a packet. For a `local` packet with a source address a next hop of that address is preferred."""
        hops = [hop for hop in route.hops if usable(hop, self._skips)]
        if self._net.sysctl.number("net.ipv4.fib_multipath_use_neigh"):
            hops = [hop for hop in hops if self._resolves(hop)]
        if not hops:
            return next((hop for hop in route.hops if not hop.dead), route.hops[0])
        key = self._fields(src, dst, flow)
        ours = [hop for hop in hops if local and src and self._source(hop) == src]
        draws = self._net.random(PURPOSE)
        if draws.script is None:
            at = self._by_hash(hops, key, draws)
        else:
            if (route, key) not in self._chosen:
                self._chosen[route, key] = _by_weight(hops, draws)
            at = self._chosen[route, key]
        if not ours:
            return hops[at]
        # the hash is below the bounds of the chosen one and of all behind it
        return next((hop for hop in hops[at:] if hop in ours), ours[0])

    def _fields(self, src: int, dst: int, flow: Flow) -> tuple[int, ...]:
        number = self._net.sysctl.number
        policy = number("net.ipv4.fib_multipath_hash_policy")
        if policy in (L3, INNER):
            return src, dst
        wanted = number("net.ipv4.fib_multipath_hash_fields") if policy == CUSTOM else 0xFF
        values = (src, dst, flow.proto, flow.sport, flow.dport)
        return tuple(value if wanted & field else 0 for value, field in zip(values, FIELDS, strict=True))

    def _by_hash(self, hops: list[Route], key: tuple[int, ...], draws: Draws) -> int:
        """The number of the first next hop whose upper bound the hash does not pass (fib_rebalance)."""
        if not self._key:
            self._key = draws.randbytes(16)
        data = b"".join(value.to_bytes(16, "big") for value in key)
        drawn = int.from_bytes(blake2b(data, digest_size=4, key=self._key).digest(), "big") >> 1
        total, weight = sum(hop.weight for hop in hops), 0
        for number, hop in enumerate(hops):
            weight += hop.weight
            if drawn < round((weight << BITS) / total):
                return number
        return len(hops) - 1


def _by_weight(hops: list[Route], draws: Draws) -> int:
    """One draw for each next hop but the last: it, with its share of the weight that is left."""
    left = sum(hop.weight for hop in hops)
    for number, hop in enumerate(hops[:-1]):
        if draws.below(round((hop.weight << BITS) / left), BITS):
            return number
        left -= hop.weight
    return len(hops) - 1
