"""Routes and rules of `ip rule` of a dump: compared where a packet of the cluster would go another way, and put in place.

The addresses that count are those of pods, of nodes and of the outside: what the pod network makes beside them is its own matter.
Must not know rules of iptables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from emu.errors import InputError
from emu.kernel.dumped.ip_routes import devices, read_route, with_devices
from emu.kernel.net.fib_rules import LOCAL_TABLE, MAIN_TABLE, TABLE_NAMES, IpRule
from emu.kernel.net.fib_semantics import Route
from emu.kube.dumped.links import is_tunnel, make
from emu.kube.dumped.site import Site
from emu.wire.addr import Prefix, ip4, ip4_text, mask

OUTSIDE = ip4("198.51.100.1")  # RFC 5737: stands for every address that no route but the default one holds


def routes(site: Site) -> None:
    """Compare, and put in place."""
    given = site.dump.routes
    if given is None:
        return
    found: list[Route] = []
    kept: dict[int, Route] = {}
    tunnels: dict[str, str] = {}
    ours = _default_gateway(site.routes)
    theirs = _default_gateway(_named(site))
    for item in given:
        if item.text("table", "") == "local" or item.text("type", "unicast") in ("broadcast", "multicast"):
            continue
        route = read_route(item)
        if ours and theirs and route.gateway == theirs and not site.owner(theirs):
            route = replace(route, gateway=ours)
        names = devices(route)
        if any(name not in site.devices and is_tunnel(name) for name in names):
            same = [each for each in site.routes if each.prefix == route.prefix and each.table == route.table]
            best = Lookup(site.routes, route.table).best(route.prefix.net)
            kept |= {id(each): each for each in same or ([best] if best is not None else [])}
            tunnels.setdefault(next(name for name in names if name not in site.devices), _dst(route))
            continue
        for name in names:
            if name not in site.devices:
                make(site, name)
        found.append(with_devices(route, lambda name: site.devices[name]))
    if ours and theirs and ours != theirs and not site.owner(theirs):
        site.notes.append(
            f"{site.dump.texts.file('ip-route')}: emu's router is {ip4_text(ours)}, and stands for {ip4_text(theirs)}"
        )
    for name, dst in tunnels.items():
        place = site.dump.place("ip-route", f"{dst} {name}")
        site.notes.append(
            f"{place}: {name} is a tunnel that emu's network does not have: its own routes stand for those by {name}"
        )
    found += kept.values()
    tables = {route.table for route in found} | {MAIN_TABLE}
    whole = any(item.text("table", "") == "local" for item in given)
    _compare(site, found, whole=whole)
    _put(site, found, tables if not whole else None)


def _named(site: Site) -> list[Route]:
    return [
        read_route(each)
        for each in site.dump.routes or ()
        if each.text("dst") == "default" and not each.has("table") and each.text("type", "unicast") == "unicast"
    ]


def _default_gateway(found: Iterable[Route]) -> int:
    return next((each.gateway for each in found if not each.prefix.length and each.table == MAIN_TABLE), 0)


class Lookup:
    """The routes of one table, to find the one that a packet to an address takes. Those of a TOS are left out."""

    def __init__(self, found: Iterable[Route], table: int = MAIN_TABLE) -> None:
        self._by_length: dict[int, dict[int, Route]] = {}
        for each in found:
            if each.table == table and not each.tos:
                nets = self._by_length.setdefault(each.prefix.length, {})
                known = nets.get(each.prefix.net)
                if known is None or each.metric < known.metric:
                    nets[each.prefix.net] = each
        self._lengths = sorted(self._by_length, reverse=True)

    def best(self, addr: int) -> Route | None:
        for length in self._lengths:
            found = self._by_length[length].get(addr & mask(length))
            if found is not None:
                return found
        return None


def _wanted(site: Site) -> Iterator[tuple[int, str]]:
    """The addresses that the node must reach, and whose they are."""
    for pod in sorted(site.pods.values(), key=lambda each: each.node is not site.node):
        if not pod.host_network and pod.ip:
            yield int(pod.ip), f"pod/{pod.name}"
    for node in site.nodes.values():
        if node is not site.node:
            yield node.ip, f"node/{node.name}"
            if node.pod_cidr is not None and site.pod_subnet.overlaps(node.pod_cidr):
                own = [each for each in site.routes if each.prefix == node.pod_cidr]
                if own:
                    yield node.pod_cidr.net + 1, f"the pods of node/{node.name}"
    yield OUTSIDE, "the outside"


def _compare(site: Site, found: list[Route], *, whole: bool) -> None:
    named: set[tuple[int, Prefix]] = set()
    file = site.dump.texts.file("ip-route")
    ours, theirs = Lookup(site.routes), Lookup(found)
    for addr, whose in _wanted(site):
        expected = ours.best(addr)
        if expected is None or (expected.table, expected.prefix) in named:
            continue
        other = theirs.best(addr)
        if other is not None and _alike(site, expected, other):
            continue
        named.add((expected.table, expected.prefix))
        shown = expected.text()
        if other is None or (other.prefix.length < expected.prefix.length and other.kind != "local"):
            what = f"there is no route to {_what(expected.prefix, whose)}"
            by = other.text() if other is not None else ""
            site.differs("route-missing", what, file, shown, by, addr=addr, prefix=expected.prefix)
        else:
            place = site.dump.place("ip-route", _own_words(other))
            what = f"the route to {_what(expected.prefix, whose)} has another next hop"
            site.differs("route-differs", what, place, shown, other.text(), addr=addr, prefix=expected.prefix)
    if whole:
        _compare_tables(site, found, file)


def _what(prefix: Prefix, whose: str) -> str:
    """`10.244.3.0/24 (pod/shop/web-1)`, or whose address it is."""
    return f"{prefix} ({whose})" if 0 < prefix.length < 32 else whose


def _compare_tables(site: Site, found: list[Route], file: str) -> None:
    """Further tables, such as those of a second interface: each default route that emu has."""
    asked = {each.table for each in (site.dump.rules or site.net.ipv4.fib.rules)}
    for route in site.routes:
        if route.table in (MAIN_TABLE, LOCAL_TABLE) or route.prefix.length or route.table not in asked:
            continue
        if not any(each.table == route.table and not each.prefix.length for each in found):
            name = TABLE_NAMES.get(route.table, str(route.table))
            site.differs(
                "route-missing", f"table {name} has no default route", file, f"{route.text()} table {name}", device=route.device.name
            )  # fmt: skip


def _dst(route: Route) -> str:
    return "default" if not route.prefix.length else str(route.prefix).removesuffix("/32")


def _own_words(route: Route) -> str:
    """What of a route stands in its line in any case."""
    return f"{_dst(route)} {route.device.name if route.device is not None else route.kind}"


def _alike(site: Site, expected: Route, other: Route) -> bool:
    """Whether packets go to the same next hop. Where the dump has a tunnel between the nodes' own addresses, the node behind it counts."""
    if expected.kind != other.kind and {expected.kind, other.kind} & {"blackhole", "unreachable", "prohibit", "throw"}:
        return False
    if other.hops or expected.hops:
        mine, theirs = expected.hops or (expected,), other.hops or (other,)
        return {(each.device, each.gateway) for each in mine} == {(each.device, each.gateway) for each in theirs}
    return expected.device is other.device and expected.gateway == other.gateway


def _put(site: Site, found: Sequence[Route], tables: set[int] | None) -> None:
    """`tables` None: all of them are stated, but the local one's routes of addresses."""
    fib = site.net.ipv4.fib
    for number in [*fib.tables]:
        if number != LOCAL_TABLE and (tables is None or number in tables):
            for old in list(fib.table(number)):
                fib.remove(old)
    for route in found:
        try:
            if route.table != LOCAL_TABLE:
                fib.add(route, append=True)
        except InputError as error:
            site.notes.append(f"{site.dump.place('ip-route', _own_words(route))}: {error.what}: left out")


def ip_rules(site: Site) -> None:
    """The rules of `ip rule`: compare, and put in place."""
    given = site.dump.rules
    if given is None:
        return
    fib = site.net.ipv4.fib
    expected = fib.rules
    file = site.dump.texts.file("ip-rule")
    there = {_plain(each) for each in given}
    agree = _agree(expected, given)
    for rule in expected:
        if _plain(rule) in there or (_of_pod(rule) and not agree):
            continue
        addr = rule.src.net if rule.src.length == 32 else rule.dst.net if rule.dst.length == 32 else 0
        whose = f" for {site.owner(addr)}" if addr and site.owner(addr) else ""
        site.differs("ip-rule-missing", f"no rule of ip rule{whose}: {rule.text()}", file, rule.text(), addr=addr)
    for old in expected:
        fib.remove_rule(old)
    for rule in given:
        fib.add_rule(rule)


def _plain(rule: IpRule) -> tuple[object, ...]:
    """What a rule asks and does, without its priority and marks' spelling."""
    return rule.src, rule.dst, rule.mark, rule.mask, rule.iif, rule.oif, rule.invert, rule.action, rule.table


def _of_pod(rule: IpRule) -> bool:
    """Whether a rule sends one pod's packets by a table of their own: which interface that is, emu can only guess."""
    return rule.src.length == 32 and rule.table != MAIN_TABLE


def _agree(expected: Sequence[IpRule], given: Sequence[IpRule]) -> bool:
    """Whether every pod that both name has the same table in both."""
    own = {rule.src: rule.table for rule in expected if _of_pod(rule)}
    theirs = {rule.src: rule.table for rule in given if _of_pod(rule)}
    return all(own[src] == theirs[src] for src in own.keys() & theirs.keys()) and theirs.keys() <= own.keys()
