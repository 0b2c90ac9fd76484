"""What a route is, and which next hop may be taken (net/ipv4/fib_semantics.c). Must not know tables, frames or neighbours.

A route is a constant: who changes one puts another in its place. It is also a trail entry, which means that it was taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emu.kernel.net.fib_rules import ANY, MAIN_TABLE
from emu.wire.addr import Prefix, addr_text

# RTN_* that end a lookup without a device, and the errno a local sender gets (net/ipv4/fib_semantics.c fib_props)
FAILING = {"unreachable": "EHOSTUNREACH", "blackhole": "EINVAL", "prohibit": "EACCES"}
KINDS = ("unicast", "local", "broadcast", "multicast", *FAILING, "throw")
# what a lookup may also give: a rule's `unreachable`, and what emu cannot decide. Neither is in a table that people make
NO_NETWORK, UNDECIDED = "no_network", "undecided"
ENDING = FAILING | {NO_NETWORK: "ENETUNREACH", UNDECIDED: "UNDECIDED"}
SCOPES = {"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Route:
    """One route. `device` is the outgoing device (None where `kind` has none); addresses are ints, 0 for none.

    `kind` is RTN_* in lower case, `mtu` 0 or the largest packet, bytes. As a trail entry it means: this route was taken.
    `cached` is not empty for a route with an exception for one destination (route.py): the exception as text;
    `mtu_locked`: packets to it may be fragmented in spite of DF. `tos` is compared with the packet's, 0 with none.
    A route with several next hops has each in `hops`, as a route of its own with a `weight`; its own device and gateway
    are those of the first. `dead`: not used, for its device is down. `why` is not empty where no route was found but a
    reason: which rule ended the lookup, or what is not modelled.
    """

    prefix: Prefix
    kind: str = "unicast"
    device: Any = None
    gateway: int = 0
    prefsrc: int = 0
    scope: str = "global"
    metric: int = 0
    mtu: int = 0
    proto: str = "boot"
    table: int = MAIN_TABLE
    onlink: bool = False
    cached: str = ""
    mtu_locked: bool = False
    tos: int = 0
    hops: tuple[Route, ...] = ()
    weight: int = 0
    dead: bool = False
    linkdown: bool = False
    why: str = ""

    def uses(self, device: Any) -> bool:
        """Is it a next hop's device (fib_info_nh_uses_dev)?"""
        return self.device is device or any(hop.device is device for hop in self.hops)

    def __repr__(self) -> str:
        return f"<route {self.text()}>"

    def text(self) -> str:
        """As `ip route show` prints it, several next hops on one line as `ip route add` takes them."""
        if self.why:
            return self.why
        width = self.prefix.width
        prefix = "default" if self.prefix.length == 0 else str(self.prefix).removesuffix(f"/{width}")
        words = [prefix] if self.kind == "unicast" else [self.kind, prefix]
        if self.tos:
            words += ["tos", f"{self.tos:#04x}"]
        if self.weight:
            words.append("nexthop")
        if not self.hops:
            words += self._way()
        if self.proto != "boot":
            words += ["proto", self.proto]
        if self.scope != "global":
            words += ["scope", self.scope]
        if self.prefsrc:
            words += ["src", addr_text(self.prefsrc, width)]
        if self.metric:
            words += ["metric", str(self.metric)]
        if self.mtu:
            words += ["mtu", str(self.mtu)]
        if not self.hops:
            words += self._state()
        for hop in self.hops:
            words += ["nexthop", *hop._way(), *hop._state()]
        if self.cached:
            words += ["cache", self.cached]
        return " ".join(words)

    def _way(self) -> list[str]:
        words = ["via", addr_text(self.gateway, self.prefix.width)] if self.gateway else []
        if self.device is not None:
            words += ["dev", self.device.name]
        return [*words, "weight", str(self.weight)] if self.weight else words

    def _state(self) -> list[str]:
        return [word for word in ("dead", "linkdown", "onlink") if getattr(self, word)]


NO_ROUTES: frozenset[Route] = frozenset()


def out_of(device: Any, route: Route) -> Route:
    """The same route out of another device. `dataclasses.replace` takes several times as long, and each route between nodes passes here."""
    return Route(
        route.prefix, route.kind, device, route.gateway, route.prefsrc, route.scope, route.metric, route.mtu, route.proto,
        route.table, route.onlink, route.cached, route.mtu_locked, route.tos, route.hops, route.weight, route.dead,
        route.linkdown, route.why,
    )  # fmt: skip


def refusal(kind: str, why: str) -> Route:
    """What a lookup gives in place of a route: `kind` is one of ENDING."""
    return Route(ANY, kind, why=why)


def alike(one: Route, other: Route) -> bool:
    """The same type, scope and next hops?"""
    names = ("kind", "scope", "prefsrc", "proto", "mtu", "device", "gateway", "onlink")
    if any(getattr(one, name) != getattr(other, name) for name in names) or len(one.hops) != len(other.hops):
        return False
    return all(alike(a, b) and a.weight == b.weight for a, b in zip(one.hops, other.hops, strict=True))


def usable(hop: Route, skips: Callable[[Any], bool] | None) -> bool:
    """fib_lookup_good_nhc: may this next hop be taken? `skips` as in `FibTable.find`."""
    if hop.dead:
        return False
    if skips is None or hop.kind == "local":
        return True
    return not ((hop.linkdown or not hop.device.carrier) and skips(hop.device))
