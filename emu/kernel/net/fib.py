"""Routes: tables with longest-prefix match, a dict for each prefix length (net/ipv4/fib_trie.c's answer, not its trie).

A lookup walks the policy rules' tables in order; with the usual three rules that is local, main,
default. Must not know frames or neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from emu.errors import InputError
from emu.kernel.net.fib_rules import (
    DEFAULT_RULES,
    DEFAULT_TABLE,
    GOTO,
    LOCAL_TABLE,
    MAIN_TABLE,
    NO_FLOW,
    NOP,
    TOS_MASK,
    VERDICTS,
    Flow,
    IpRule,
)
from emu.kernel.net.fib_semantics import (
    FAILING,
    NO_NETWORK,
    NO_ROUTES,
    SCOPES,
    UNDECIDED,
    Route,
    alike,
    refusal,
    usable,
)
from emu.trail import ROUTES, Recorder
from emu.wire.addr import Prefix, ip4_kind, mask

MOST_KNOWN = 1024  # the destinations, or packets' addresses, whose routes a Fib remembers


class Owner(Protocol):
    """Whose table it is."""

    def forget(self) -> None:
        """A route was added or removed."""

    def compile(self) -> None:
        """A prefix length has come into use, or out of use."""


class FibTable:
    """The routes of one table. `lookup` costs one dict look-up for each prefix length in use."""

    __slots__ = ("_owner", "_routes", "_width", "levels")

    def __init__(self, owner: Owner, width: int = 32) -> None:
        self._width = width
        self._routes: dict[Prefix, list[Route]] = {}
        self._owner = owner
        self.levels: list[tuple[int, dict[int, Route]]] = []

    def add(self, route: Route, *, append: bool = False, prepend: bool = False) -> None:
        """Add a route; of one prefix a TOS goes before none, then the lowest metric, then the oldest. Raises InputError if
        prefix, TOS and metric are taken; with `append` or `prepend` (before the others) only if the same route is there
        (fib_table_insert)."""
        same = self._routes.get(route.prefix)
        if same is None:
            same = self._routes[route.prefix] = [route]
            self._put(route.prefix, same)
            return
        taken = [old for old in same if (old.tos, old.metric) == (route.tos, route.metric)]
        if any(not (append or prepend) or alike(old, route) for old in taken):
            raise InputError(f"route {route.text()}: File exists", expected="another prefix or metric")
        all_of_it = [route, *same] if prepend else [*same, route]
        same = self._routes[route.prefix] = sorted(all_of_it, key=lambda each: (-each.tos, each.metric))
        self._put(route.prefix, same)

    def remove(self, route: Route) -> None:
        same = self._routes[route.prefix]
        same.remove(route)
        if not same:
            del self._routes[route.prefix]
        self._put(route.prefix, same)

    def replace(self, old: Route, new: Route) -> None:
        """Put a route of the same prefix, TOS and metric in the place of another."""
        same = self._routes[old.prefix]
        same[same.index(old)] = new
        self._put(old.prefix, same)

    def _put(self, prefix: Prefix, routes: list[Route]) -> None:
        self._owner.forget()
        netmask = mask(prefix.length, prefix.width)
        level = _level(self.levels, netmask)
        if level is None:
            level = {}
            self.levels.append((netmask, level))
            self.levels.sort(key=lambda each: -each[0])
            self._owner.compile()
        if routes:
            level[prefix.net] = routes[0]
        else:
            level.pop(prefix.net, None)
            if not level:
                self.levels.remove((netmask, level))
                self._owner.compile()

    def of(self, prefix: Prefix) -> list[Route]:
        """The routes of one prefix, in the order in which they are tried."""
        return self._routes.get(prefix, [])

    def lookup(self, dst: int) -> Route | None:
        """The longest match of any kind, whatever its TOS and state; None if no route matches."""
        for netmask, routes in self.levels:
            route = routes.get(dst & netmask)
            if route is not None:
                return route
        return None

    def find(
        self, dst: int, tos: int = 0, oif: Any = None, skips: Callable[[Any], bool] | None = None, scope: int = 0
    ) -> Route | None:
        """fib_table_lookup: the longest match that can be used; None if there is none.

        With `oif` only routes out of one device count. `skips(device)`: are its routes left out while it has no carrier?
        A `scope` above 0 leaves out routes of a wider one, as the look-up of a gateway does.
        """
        for netmask, routes in self.levels:
            if dst & netmask in routes:
                route = self.first(dst & netmask, netmask, tos, oif, skips, scope)
                if route is not None:
                    return route
        return None

    def first(
        self, net: int, netmask: int, tos: int, oif: Any, skips: Callable[[Any], bool] | None, scope: int
    ) -> Route | None:
        """The first route of one prefix that can be used, as for `find`."""
        for route in self._routes[Prefix(net, netmask.bit_count(), self._width)]:
            if (route.tos and route.tos != tos & TOS_MASK) or SCOPES.get(route.scope, 0) < scope:
                continue
            if route.device is None and not route.hops:
                return route
            for hop in route.hops or (route,):
                if usable(hop, skips) and (oif is None or hop.device is oif):
                    return hop if oif is not None else route
        return None

    def __iter__(self) -> Iterator[Route]:
        """Most general first, then by address, as `ip route` lists."""
        for prefix in sorted(self._routes, key=lambda each: (each.length != 0, each.net, each.length)):
            yield from self._routes[prefix]

    def __len__(self) -> int:
        return sum(len(routes) for routes in self._routes.values())


def _no_vrf(iif: str, oif: Any) -> int:
    return 0


class Fib:
    """The tables and rules of one family. `own` holds the addresses of devices (their local routes by the kernel).

    `generation` counts the changes of routes and rules. `merged`: until the first change of its rules a namespace keeps local
    and main in one trie, and a look-up in either sees both (fib_trie_unmerge). `custom`: rules or local routes were added
    (fib4_has_custom_rules, fib_has_custom_local_routes).

    `kind_of(addr)` gives MULTICAST or BROADCAST where the address alone decides that, else "". `known[dst]` is the result of
    `lookup` for a destination, kept while the default rules hold and nothing else counts; any change empties it, and `inputs`:
    the routes of packets that came in, by source, destination and index of the device, where `known` and sysctls alone decide;
    and `outputs`: route and source address of what sockets send, by destination and the address that the socket is bound to.
    What was `put_off` is done before the first look-up that it may concern.
    `asks_flow`: rules or routes compare more of a packet than addresses, mark and device, or there is a choice of next hops.
    """

    __slots__ = (
        "_levels", "_particular", "_put_off", "_rules", "_several", "_skips", "_together", "asks_flow", "custom", "generation", "inputs", "kind_of", "known", "l3_table", "local", "main",
        "merged", "outputs", "own", "recorder", "tables", "width",
    )  # fmt: skip

    def __init__(self, width: int = 32, kind_of: Callable[[int], str] = ip4_kind) -> None:
        self.l3_table: Callable[[str, Any], int] = _no_vrf  # the table of the VRF of a device, by name, or of `oif`
        self.width, self.kind_of = width, kind_of
        self.recorder: Recorder | None = None
        self.tables: dict[int, FibTable] = {}
        self._put_off: list[tuple[Prefix, Callable[[], object]]] = []
        self.own: set[int] = set()
        self.merged, self.custom, self.generation = True, False, 0
        self.known: dict[int, Route] = {}
        self.inputs: dict[tuple[int, int, int], Route] = {}
        self.outputs: dict[tuple[int, int], tuple[Route, int]] = {}
        # the routes that not every packet to their prefix takes (throw, with a TOS, dead), and those with several next hops
        self._particular: frozenset[Route] = NO_ROUTES
        self._several: frozenset[Route] = NO_ROUTES
        self._skips: Callable[[Any], bool] | None = None
        self.asks_flow = False
        self._rules = [*DEFAULT_RULES]
        # with the default rules: the prefix lengths of local, main and default, in that order; else None
        self._levels: list[tuple[int, dict[int, Route]]] | None = None
        # those of what a look-up in local sees, each with its table; None: both are made at the next look-up
        self._together: list[tuple[int, dict[int, Route], FibTable]] | None = None
        self.local, self.main = self.table(LOCAL_TABLE), self.table(MAIN_TABLE)
        self.table(DEFAULT_TABLE)

    @property
    def rules(self) -> tuple[IpRule, ...]:
        return tuple(self._rules)

    def add_rule(self, rule: IpRule) -> None:
        """Insert by priority; equal priorities keep their order."""
        self._rules.append(rule)
        self._rules.sort(key=lambda each: each.priority)
        self.merged, self.custom = False, True
        self.compile()

    def remove_rule(self, rule: IpRule) -> None:
        self._rules.remove(rule)
        self.merged, self.custom = False, True
        self.compile()

    def skip_without_carrier(self, skips: Callable[[Any], bool] | None) -> None:
        """Leave out routes of devices without a carrier for which `skips(device)` holds; None: of no device."""
        self._skips = skips
        self.compile()

    def compile(self) -> None:
        """Make what look-ups read anew, at the next one: a namespace that no packet comes to does without."""
        self.forget()
        self._levels = self._together = None
        self.asks_flow = bool(self._several) or any(each.asks_flow for each in self._rules)
        self.asks_flow = self.asks_flow or any(each.tos for each in self._particular)

    def put_off(self, within: Prefix, call: Callable[[], object]) -> None:
        """Make a call that adds routes to addresses `within` a prefix before the first look-up of such an address, or before
        `settle`; at once where a recorder notes changes."""
        self._put_off.append((within, call))
        if self.recorder is not None:
            self.settle()
        else:
            self.forget()

    @property
    def waits(self) -> bool:
        """Was something put off?"""
        return bool(self._put_off)

    def settle(self) -> None:
        """Do what was put off, in its order."""
        while self._put_off:
            calls, self._put_off = self._put_off, []
            for _, call in calls:
                call()

    def _settle_for(self, addr: int) -> None:
        if any(addr in within for within, _ in self._put_off):
            self.settle()

    def _made(self) -> list[tuple[int, dict[int, Route], FibTable]]:
        seen = [self.tables[number] for number in (LOCAL_TABLE, MAIN_TABLE)[: 1 + self.merged] if number in self.tables]
        made = self._together = [(*level, table) for table in seen for level in table.levels]
        made.sort(key=lambda each: -each[0])
        if self._particular or self._skips is not None or not all(rule.always for rule in self._rules):
            return made
        tables = [self.tables[rule.table] for rule in self._rules if rule.table in self.tables]
        self._levels = [level for table in tables for level in table.levels]
        if self.merged:
            together = [(netmask, routes) for netmask, routes, _ in made]
            self._levels = [*together, *self.table(DEFAULT_TABLE).levels]
        return made

    def forget(self) -> None:
        self.known.clear()
        self.inputs.clear()
        self.outputs.clear()
        self.generation += 1
        if self.recorder is not None:
            self.recorder.reread(ROUTES)

    def table(self, number: int) -> FibTable:
        if number not in self.tables:
            self.tables[number] = FibTable(self, self.width)
        return self.tables[number]

    def add(self, route: Route, *, append: bool = False, prepend: bool = False) -> None:
        """Raises InputError if the route's prefix, TOS and metric are taken in its table; with `append` or `prepend` only for
        a route that is there."""
        self.table(route.table).add(route, append=append, prepend=prepend)
        if route.kind == "local" and route.proto != "kernel":
            self.custom = True
        elif route.kind == "local" and route.prefix.length == self.width:
            self.own.add(route.prefix.net)
        self._consider(route)

    def remove(self, route: Route) -> None:
        self.table(route.table).remove(route)
        if route.kind == "local" and route.prefix.length == self.width:
            # another device may hold the address too, or another table
            held = (each for table in self.tables.values() for each in table.of(route.prefix))
            if not any(each.kind == "local" and each.proto == "kernel" for each in held):
                self.own.discard(route.prefix.net)
        self._ignore(route)

    def append(self, route: Route) -> None:
        """fib_magic: add a route of the kernel's own behind others of its prefix, unless it is there."""
        if not any(alike(old, route) for old in self.table(route.table).of(route.prefix)):
            self.add(route, append=True)

    def withdraw(self, route: Route) -> None:
        """fib_magic: remove a route of the kernel's own, if it is there."""
        for old in [each for each in self.table(route.table).of(route.prefix) if alike(each, route)]:
            self.remove(old)

    def _consider(self, route: Route) -> None:
        if route.hops:
            self._several |= {route}
        if route.kind == "throw" or route.tos or route.dead or (route.hops and all(hop.dead for hop in route.hops)):
            self._particular |= {route}
        if route.hops or route in self._particular:
            self.compile()

    def _ignore(self, route: Route) -> None:
        if route.hops or route in self._particular:
            self._several -= {route}
            self._particular -= {route}
            self.compile()

    def remove_device(self, device: Any) -> None:
        """Remove every route out of a device (fib_sync_down_dev). Its addresses stay local until they are removed. A route
        with next hops elsewhere stays, and those out of the device are dead."""
        for table in self.tables.values():
            for route in [each for each in table if each.uses(device) and each.kind != "local"]:
                self._change(table, route, device, dead=True)

    def revive(self, device: Any) -> None:
        """fib_sync_up: the next hops out of a device that is up again are used again."""
        for table in self.tables.values():
            for route in [each for each in table if each.hops and each.uses(device)]:
                self._change(table, route, device, dead=False)

    def _change(self, table: FibTable, route: Route, device: Any, *, dead: bool) -> None:
        hops = tuple(replace(hop, dead=dead) if hop.device is device else hop for hop in route.hops)
        if all(hop.dead for hop in hops):
            self.remove(route)
            return
        new = replace(route, hops=hops)
        table.replace(route, new)
        self._ignore(route)
        self._consider(new)

    def lookup(
        self, dst: int, src: int = 0, mark: int = 0, iif: str = "", oif: Any = None, flow: Flow = NO_FLOW
    ) -> Route | None:
        """fib_lookup: the route of the first rule whose table has one; None is "Network is unreachable".

        `oif` restricts to routes out of one device, as SO_BINDTODEVICE does. `flow` counts while `asks_flow`. A route may
        have several next hops (`hops`); `multipath.py` chooses.
        """
        if self._put_off:
            self._settle_for(dst)
        if self._together is None:
            self._made()
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
        return self._by_rules(dst, src, mark, iif, oif, flow)

    def _by_rules(self, dst: int, src: int, mark: int, iif: str, oif: Any, flow: Flow, scope: int = 0) -> Route | None:
        """fib_rules_lookup."""
        if self._put_off:
            self._settle_for(dst)
        at, rules = 0, self._rules
        while at < len(rules):
            rule = rules[at]
            at += 1
            held = rule.matches(dst, src, mark, iif, "" if oif is None else oif.name, flow)
            if held is None:
                what = " ".join(each for each in (rule.unknown_in, rule.unknown) if each)
                return refusal(UNDECIDED, f"rule {rule.text()}: {what} is not modelled")
            if not held or rule.action == NOP:
                continue
            number = self.l3_table(iif, oif) if rule.l3mdev else rule.table
            if rule.l3mdev and not number:
                continue
            if rule.action == GOTO:
                at = next((number for number, each in enumerate(rules) if each.priority == rule.target), at)
                continue
            if rule.action in VERDICTS:
                return refusal(NO_NETWORK if rule.action == "unreachable" else rule.action, f"rule {rule.text()}")
            out = None if oif is not None and oif.kind == "vrf" else oif  # l3mdev_update_flow
            route = self._find(number, dst, flow.tos, out, scope)
            if route is not None and route.kind != "throw" and not _suppressed(rule, route):
                return route
        return None

    def _find(self, number: int, dst: int, tos: int, oif: Any, scope: int) -> Route | None:
        table = self.tables.get(number)
        if table is None:
            return None
        if not self.merged or number not in (LOCAL_TABLE, MAIN_TABLE):
            return table.find(dst, tos, oif, self._skips, scope)
        for netmask, routes, table in self._together or self._made():
            if dst & netmask in routes:
                route = table.first(dst & netmask, netmask, tos, oif, self._skips, scope)
                if route is not None:
                    return route
        return None

    def local_lookup(self, addr: int) -> Route | None:
        """The longest match that a look-up in the local table sees, of any kind."""
        if self._put_off:
            self._settle_for(addr)
        for netmask, routes, _ in self._together or self._made():
            route = routes.get(addr & netmask)
            if route is not None:
                return route
        return None

    def gateway_route(self, gateway: int, table: int, oif: Any = None) -> Route | None:
        """fib_check_nh_v4_gw: the route that a gateway of a route in `table` is reached by, None if it is on no link.

        First the table itself, if it is not main, then all rules; routes of global scope do not count."""
        if self._put_off:
            self._settle_for(gateway)
        scope, found = SCOPES["link"], None
        if table != MAIN_TABLE and table in self.tables:
            found = self.tables[table].find(gateway, 0, oif, None, scope)
        elif self.merged and oif is None:
            found = self._find(MAIN_TABLE, gateway, 0, None, scope)  # what the default rules find first
            if found is not None and found.kind == "throw":
                found = None
        if found is None or found.kind in FAILING:
            found = self._by_rules(gateway, 0, 0, "", oif, NO_FLOW, scope)
        return found if found is not None and found.kind in ("unicast", "local") else None

    def addr_type(self, addr: int) -> str:
        """inet_addr_type: the type of an address by the local table, in upper case as `-m addrtype` spells it."""
        kind = self.kind_of(addr)
        if kind:
            return kind
        route = self.local_lookup(addr)
        return "UNICAST" if route is None or route.kind in FAILING or route.kind == "throw" else route.kind.upper()


def _level(levels: Sequence[tuple[int, dict[int, Route]]], netmask: int) -> dict[int, Route] | None:
    for wanted, level in levels:
        if wanted == netmask:
            return level
    return None


def _suppressed(rule: IpRule, route: Route) -> bool:
    """fib4_rule_suppress: does the rule take no such route? Every device is of the group 0; a route that ends a lookup is
    always taken (rules do not suppress errors)."""
    if route.kind in FAILING:
        return False
    return route.prefix.length <= rule.suppress_length or (rule.suppress_group == 0 and route.device is not None)
