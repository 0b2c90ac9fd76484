"""Routes: tables with longest-prefix match, a dict for each prefix length (net/ipv4/fib_trie.c's answer, not its trie).

A lookup walks the policy rules' tables in order; with the usual three rules that is local, main,
default. Must not know frames or neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from emu.errors import InputError
from emu.kernel.net.fib_rules import DEFAULT_TABLE, LOCAL_TABLE, MAIN_TABLE, TABLE_NAMES, IpRule
from emu.wire.addr import Prefix, addr_text, ip4, ip4_kind, mask

# RTN_* that end a lookup without a way out, and the errno a local sender gets (net/ipv4/fib_semantics.c fib_props)
FAILING = {"unreachable": "EHOSTUNREACH", "blackhole": "EINVAL", "prohibit": "EACCES"}
KINDS = ("unicast", "local", "broadcast", "multicast", *FAILING, "throw")
MOST_KNOWN = 1024  # the destinations whose routes a Fib remembers


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One route. `device` is the link it leaves by (None where `kind` has none); addresses are ints, 0 for none.

    `kind` is RTN_* in lower case, `mtu` 0 or the bytes it allows. As a trail entry it says: this route was taken.
    `cached` is not empty for a route as one destination has it (route.py): what was learned, in words; `mtu_locked`
    says that a packet to it may be cut all the same.
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

    def text(self) -> str:
        """As `ip route show` prints it."""
        width = self.prefix.width
        prefix = "default" if self.prefix.length == 0 else str(self.prefix).removesuffix(f"/{width}")
        words = [prefix] if self.kind == "unicast" else [self.kind, prefix]
        if self.gateway:
            words += ["via", addr_text(self.gateway, width)]
        if self.device is not None:
            words += ["dev", self.device.name]
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
        if self.onlink:
            words.append("onlink")
        if self.cached:
            words += ["cache", self.cached]
        return " ".join(words)


class FibTable:
    """The routes of one table. `lookup` costs one dict look-up for each prefix length in use."""

    __slots__ = ("_changed", "_forget", "_routes", "_width", "levels")

    def __init__(self, changed: Callable[[], None], forget: Callable[[], None], width: int = 32) -> None:
        self._width = width
        self._routes: dict[Prefix, list[Route]] = {}
        self._changed = changed  # called when a prefix length comes or goes
        self._forget = forget  # called when a route does
        self.levels: list[tuple[int, dict[int, Route]]] = []

    def add(self, route: Route) -> None:
        """Add a route; the lowest metric of a prefix wins. Raises InputError if prefix and metric are taken."""
        same = self._routes.get(route.prefix, [])
        if any(old.metric == route.metric for old in same):
            raise InputError(f"route {route.text()}: File exists", expected="another prefix or metric")
        same = self._routes[route.prefix] = sorted([*same, route], key=lambda each: each.metric)
        self._put(route.prefix, same)

    def remove(self, route: Route) -> None:
        same = self._routes[route.prefix]
        same.remove(route)
        if not same:
            del self._routes[route.prefix]
        self._put(route.prefix, same)

    def _put(self, prefix: Prefix, routes: list[Route]) -> None:
        self._forget()
        netmask = mask(prefix.length, prefix.width)
        level = next((each for wanted, each in self.levels if wanted == netmask), None)
        if level is None:
            level = {}
            self.levels.append((netmask, level))
            self.levels.sort(key=lambda each: -each[0])
            self._changed()
        if routes:
            level[prefix.net] = routes[0]
        else:
            level.pop(prefix.net, None)
            if not level:
                self.levels.remove((netmask, level))
                self._changed()

    def of(self, prefix: Prefix) -> list[Route]:
        """The routes of one prefix, the lowest metric first."""
        return self._routes.get(prefix, [])

    def lookup(self, dst: int) -> Route | None:
        """The longest match, whatever its kind; None if no route matches."""
        for netmask, routes in self.levels:
            route = routes.get(dst & netmask)
            if route is not None:
                return route
        return None

    def lookup_out(self, dst: int, oif: Any) -> Route | None:
        """As `lookup`, of routes out of one device: others of the prefix, and longer ones, do not hide it."""
        for netmask, routes in self.levels:
            if dst & netmask in routes:
                for route in self._routes[Prefix(dst & netmask, netmask.bit_count(), self._width)]:
                    if route.device in (oif, None):
                        return route
        return None

    def __iter__(self) -> Iterator[Route]:
        """Most general first, then by address, as `ip route` lists."""
        for prefix in sorted(self._routes, key=lambda each: (each.length != 0, each.net, each.length)):
            yield from self._routes[prefix]

    def __len__(self) -> int:
        return sum(len(routes) for routes in self._routes.values())


class Fib:
    """The tables and rules of one family. `own` holds the local addresses that have a route of their own (all `width` bits).

    `kind_of(addr)` gives MULTICAST or BROADCAST for what an address is by itself, else "". `known[dst]` is what `lookup`
    found for a destination, while with the usual rules nothing else counts; any change empties it.
    """

    __slots__ = ("_levels", "_rules", "_throws", "kind_of", "known", "local", "main", "own", "tables", "width")

    def __init__(self, width: int = 32, kind_of: Callable[[int], str] = ip4_kind) -> None:
        self.width, self.kind_of = width, kind_of
        self.tables: dict[int, FibTable] = {}
        self.own: set[int] = set()
        self.known: dict[int, Route] = {}
        self._throws = 0
        self._rules = [IpRule(0, LOCAL_TABLE), IpRule(32766, MAIN_TABLE), IpRule(32767, DEFAULT_TABLE)]
        # with the usual rules: the levels of local, main and default, one after the other; else None
        self._levels: list[tuple[int, dict[int, Route]]] | None = []
        self.local, self.main = self.table(LOCAL_TABLE), self.table(MAIN_TABLE)
        self.table(DEFAULT_TABLE)

    @property
    def rules(self) -> tuple[IpRule, ...]:
        return tuple(self._rules)

    def add_rule(self, rule: IpRule) -> None:
        """Insert by priority; equal priorities keep their order."""
        self._rules.append(rule)
        self._rules.sort(key=lambda each: each.priority)
        self._compile()

    def remove_rule(self, rule: IpRule) -> None:
        self._rules.remove(rule)
        self._compile()

    def _compile(self) -> None:
        self.known.clear()
        if self._throws or not all(rule.always for rule in self._rules):
            self._levels = None
            return
        tables = [self.tables[rule.table] for rule in self._rules if rule.table in self.tables]
        self._levels = [level for table in tables for level in table.levels]

    def table(self, number: int) -> FibTable:
        if number not in self.tables:
            self.tables[number] = FibTable(self._compile, self.known.clear, self.width)
        return self.tables[number]

    def add(self, route: Route) -> None:
        """Raises InputError if the route's prefix and metric are taken in its table."""
        self.table(route.table).add(route)
        if route.kind == "local" and route.prefix.length == self.width:
            self.own.add(route.prefix.net)
        elif route.kind == "throw":
            self._throws += 1
            self._compile()

    def remove(self, route: Route) -> None:
        self.table(route.table).remove(route)
        if route.kind == "local" and route.prefix.length == self.width:
            # another table, or metric, may have the address too
            if not any(each.kind == "local" for table in self.tables.values() for each in table.of(route.prefix)):
                self.own.discard(route.prefix.net)
        elif route.kind == "throw":
            self._throws -= 1
            self._compile()

    def remove_device(self, device: Any) -> None:
        """Forget every route that leaves by a device (fib_sync_down_dev). Its addresses stay local until they go."""
        for table in self.tables.values():
            for route in [each for each in table if each.device is device and each.kind != "local"]:
                self.remove(route)

    def lookup(self, dst: int, src: int = 0, mark: int = 0, iif: str = "", oif: Any = None) -> Route | None:
        """fib_lookup: the route of the first rule whose table has one; None is "Network is unreachable".

        `oif` restricts to routes out of one device, as SO_BINDTODEVICE does.
        """
        if self._levels is not None and oif is None:
            route = self.known.get(dst)
            if route is not None:
                return route
            for netmask, routes in self._levels:
                route = routes.get(dst & netmask)
                if route is not None:
                    if len(self.known) >= MOST_KNOWN:
                        self.known.clear()
                    self.known[dst] = route
                    return route
            return None
        for rule in self._rules:
            if rule.table in self.tables and rule.matches(dst, src, mark, iif):
                table = self.tables[rule.table]
                route = table.lookup(dst) if oif is None else table.lookup_out(dst, oif)
                if route is not None and route.kind != "throw":
                    return route
        return None

    def addr_type(self, addr: int) -> str:
        """inet_addr_type: what the local table says of an address, in upper case as `-m addrtype` spells it."""
        kind = self.kind_of(addr)
        if kind:
            return kind
        route = self.local.lookup(addr)
        if route is not None:
            return route.kind.upper()
        route = self.main.lookup(addr)
        return "UNICAST" if route is None or route.kind == "unicast" else route.kind.upper()


def parse_route(text: str, device_by_name: Any) -> Route:
    """A route from `ip route` text: `[KIND] PREFIX [via IP] [dev NAME] [proto P] [scope S] [src IP] [metric N] [mtu N]
    [table N] [onlink]`. `device_by_name(name)` gives the device. Raises InputError."""
    words = text.split()
    kind = words.pop(0) if words and words[0] in KINDS else "unicast"
    if not words:
        raise InputError(f"route {text!r} has no prefix", expected="default or a CIDR")
    prefix = Prefix.parse(words.pop(0))
    values: dict[str, str] = {}
    onlink = False
    while words:
        key = words.pop(0)
        if key == "onlink":
            onlink = True
        elif key in ("via", "dev", "proto", "scope", "src", "metric", "mtu", "table") and words:
            values[key] = words.pop(0)
        else:
            raise InputError(f"route {text!r}: cannot read {key!r}", expected="via, dev, src, scope, metric, mtu ...")
    device = device_by_name(values["dev"]) if "dev" in values else None
    if kind == "unicast" and device is None and "via" not in values:
        raise InputError(f"route {text!r} has no way out", expected="via ADDRESS or dev NAME")
    named = {name: number for number, name in TABLE_NAMES.items()}
    table = values.get("table", "main")
    return Route(
        prefix,
        kind,
        device,
        ip4(values["via"]) if "via" in values else 0,
        ip4(values["src"]) if "src" in values else 0,
        values.get("scope", "link" if kind == "unicast" and "via" not in values else "global"),
        int(values.get("metric", 0)),
        int(values.get("mtu", 0)),
        values.get("proto", "boot"),
        named[table] if table in named else int(table),
        onlink,
    )
