"""What a run never used: rules that counted nothing, routes that no packet took, endpoints that no Service chose.

Nodes that share a rule are one: it is hit if it was hit anywhere. Must not know steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from emu.capture.capture import Capture
from emu.kernel.net.fib_rules import LOCAL_TABLE
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.targets.nat import Dnat, spell_range
from emu.kube.node.node import Node
from emu.report import Report, run_views
from emu.scenario.record import Run
from emu.trail import Dropped


class Observed(Protocol):
    """A cluster whose nodes are looked over; what its capture holds shows which routes were taken."""

    @property
    def nodes(self) -> Mapping[str, Node]: ...
    @property
    def capture(self) -> Capture | None: ...


KINDS = ("rules", "routes", "endpoints")


@dataclass
class Item:
    """One thing that may be used; `where` are the namespaces that have it, `count` the packets that used it."""

    what: str
    where: list[str] = field(default_factory=list)
    count: int = 0


Items = dict[tuple[str, ...], Item]


@run_views.add("coverage")
def of_run(run: Run) -> Report:
    """Which rules, routes and endpoints the run never used."""
    return coverage(run.cluster)


def coverage(cluster: Observed) -> Report:
    """Of the cluster's nodes: how much was used, then what never was. Routes are known used from the captures."""
    nets = [node.net for node in cluster.nodes.values()]
    taken = _taken(cluster)
    items: dict[str, Items] = {kind: {} for kind in KINDS}
    for net in nets:
        _rules(net, items["rules"], items["endpoints"])
        _routes(net, items["routes"], taken)
    data: dict[str, Any] = {}
    lines = []
    for kind in KINDS:
        found = list(items[kind].values())
        never = [item for item in found if not item.count]
        data[kind] = {
            "total": len(found),
            "hit": len(found) - len(never),
            "never": [{"what": item.what, "where": item.where} for item in never],
        }
        lines.append(f"{kind}: {len(found) - len(never)} of {len(found)} used" + ("; never:" if never else ""))
        lines += [f"  {item.what}   ({_nodes(item.where, len(nets))})" for item in never]
    return Report(data, "\n".join(lines))


def _nodes(where: list[str], total: int) -> str:
    return f"all {total} nodes" if len(where) == total > 1 else ", ".join(where)


def _rules(net: Netns, rules: Items, endpoints: Items) -> None:
    counters = net.ipv4.tables.counters
    for rule in net.ipv4.tables.ruleset.rules():
        packets = counters.get(rule, (0, 0))[0]
        _add(rules, ("rule", rule.table, str(rule)), f"{rule.table} {rule}", net.name, packets)
        if isinstance(rule.target, Dnat):
            to = spell_range(rule.target.range)
            what = f"{rule.comment or rule.chain} -> {to}"
            _add(endpoints, ("endpoint", rule.comment or rule.chain, to), what, net.name, packets)


def _routes(net: Netns, routes: Items, taken: dict[Route, int]) -> None:
    for number, table in net.ipv4.fib.tables.items():
        for route in table if number != LOCAL_TABLE else ():
            count = sum(taken.get(each, 0) for each in (route, *route.hops))
            _add(routes, ("route", net.name, str(number), route.text()), route.text(), net.name, count)


def _add(items: Items, key: tuple[str, ...], what: str, where: str, count: int) -> None:
    item = items.setdefault(key, Item(what))
    if where not in item.where:
        item.where.append(where)
    item.count += count


def _taken(cluster: Observed) -> dict[Route, int]:
    """How many captured packets took each route, or died by it."""
    taken: dict[Route, int] = {}
    for frame in cluster.capture.frames() if cluster.capture is not None else ():
        for route in _routes_of(frame.trail):
            taken[route] = taken.get(route, 0) + 1
    return taken


def _routes_of(trail: Iterable[Any]) -> Iterable[Route]:
    for entry in trail:
        if isinstance(entry, Route):
            yield entry
        elif isinstance(entry, Dropped) and isinstance(entry.by, Route):
            yield entry.by


def never(report: Report, kind: str) -> list[str]:
    """What of a kind was never used."""
    return [each["what"] for each in report.data[kind]["never"]]


__all__ = ["KINDS", "coverage", "never"]
