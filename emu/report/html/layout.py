"""The map of a flow: which interfaces it has, in which order, and the boxes, cables, bridges and kernels around them.

Each interface is one column, above in the map and below in the ladder. The source's node comes first, then the network between
nodes, other nodes, and the hosts outside; other nodes are the mirror image of the first. Must not know pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from emu.report.html.model import Box, Bridge, Column, Lane, Layout, Namespace, Port

FOLDED = 2  # pods of a node that got nothing but flooded frames are one column from this many on
SPECIAL = ("bridge", "loopback", "drop")
TUNNELS = ("vxlan", "ipip")
STAGES = {
    "node": ["ct", "pre", "route", "fwd", "post"],
    "router": ["ct", "pre", "route", "fwd", "post"],
    "underlay": ["route"],
    "pod": ["socket"],
    "outside": ["socket"],
    "host": ["socket"],
}
_RANK = {"underlay": 1, "outside": 3}  # the others: 2; the source's own: 0


class Sight(NamedTuple):
    """What the map uses of a frame. `flooded`: one of ARP that came in: a pod that has no others is a bystander."""

    number: int
    flooded: bool


class Planner:
    """Makes the layouts of one scene."""

    def __init__(self, ports: Sequence[Port], roles: Iterable[Namespace]) -> None:
        self.ports = ports
        self.roles = {each.name: each for each in roles}

    def layout(self, flow: dict[str, Any], sights: Sequence[Sight]) -> Layout:
        """The map of a flow whose frames are `sights`."""
        columns = _Way(self, flow, sights).columns()
        places = {each.n: place for place, each in enumerate(columns) if not each.fold}
        return Layout(
            flow["flow"], columns, self._boxes(columns),
            [(place, places[peer]) for place, each in enumerate(columns) if (peer := self.peer(each.n)) in places and place < places[peer]],
            _bridges(columns), self._lanes(columns),
        )  # fmt: skip

    def peer(self, number: int) -> int:
        """The interface at the other end of a cable; -1: there is none."""
        peer = self.ports[number].peer if number >= 0 else None
        return -1 if peer is None else peer

    def role(self, ns: str) -> Namespace:
        return self.roles.get(ns) or Namespace(ns, "host")

    def machine(self, ns: str) -> str:
        """The namespace whose box a namespace is in: a pod's node, else itself."""
        return self.role(ns).node or ns

    def _boxes(self, columns: Sequence[Column]) -> list[Box]:
        spans: dict[str, list[int]] = {}
        inner: dict[str, list[int]] = {}
        for place, each in enumerate(columns):
            spans.setdefault(self.machine(each.ns), []).append(place)
            if self.role(each.ns).role == "pod":
                inner.setdefault(each.ns, []).append(place)
        found = [
            Box(ns, self.role(ns).role, min(places), max(places), self._address(ns)) for ns, places in spans.items()
        ]
        pods = [
            Box(ns, "pod", min(places), max(places), self._address(ns), self.machine(ns))
            for ns, places in inner.items()
        ]
        return [each for each in found if each.role != "pod" or each.ns not in inner] + pods

    def _address(self, ns: str) -> str:
        """The first address of a namespace's own interfaces, without its length."""
        own = (each for each in self.ports if each.ns == ns and each.kind not in SPECIAL and each.addrs)
        return next((each.addrs[0].partition("/")[0] for each in own), "")

    def _lanes(self, columns: Sequence[Column]) -> list[Lane]:
        found = []
        for ns in dict.fromkeys(each.ns for each in columns):
            mine = [place for place, each in enumerate(columns) if each.ns == ns and not each.fold]
            if not mine:
                continue
            role = self.role(ns).role
            part = mine if role == "pod" else _longest(mine, columns)
            ports = [place for place in mine if not columns[place].master and columns[place].kind != "loopback"]
            found.append(Lane(ns, part[0], part[-1], STAGES[role], ports))
        return found


class _Way:
    """The columns of one flow, found in the order of its way."""

    def __init__(self, plan: Planner, flow: dict[str, Any], sights: Sequence[Sight]) -> None:
        self.plan, self.ports = plan, plan.ports
        self.source, self.at = flow["source"], flow["at"]
        seen = [self.ports[each.number] for each in sights]
        self.used = dict.fromkeys(each.n for each in seen if each.kind != "drop")
        for each in seen:
            if each.kind == "drop" and not self._own(each.ns):
                first = next((p for p in self.ports if p.ns == each.ns and p.kind not in ("drop", "loopback")), None)
                self.used |= {first.n: None} if first is not None else {}
        self.bystanders = {each.ns for each in seen} - {self.ports[s.number].ns for s in sights if not s.flooded}
        home = plan.machine(self.source)
        machines = dict.fromkeys(plan.machine(each.ns) for each in seen)
        self.machines = sorted(machines, key=lambda ns: 0 if ns == home else _RANK.get(plan.role(ns).role, 2))
        self.home = home

    def columns(self) -> list[Column]:
        found: list[Column] = []
        for ns in self.machines:
            if self.plan.role(ns).role == "node":
                found += self._node(ns)
            else:
                order = {each.n: place for place, each in enumerate(found)}
                found += [
                    self._column(each)
                    for each in sorted(self._own(ns), key=lambda p: order.get(self.plan.peer(p.n), len(self.ports)))
                ]
        there = {number for each in found for number in (each.n, *each.fold)}
        return found + [self._column(self.ports[number]) for number in self.used if number not in there]

    def _own(self, ns: str) -> list[Port]:
        return [self.ports[number] for number in sorted(self.used) if self.ports[number].ns == ns]

    def _node(self, ns: str) -> list[Column]:
        """A node: on the source's own its pods stand left, on others right."""
        pods = [
            each.name
            for each in self.plan.roles.values()
            if each.role == "pod" and each.node == ns and self._own(each.name)
        ]
        aside = [name for name in pods if name in self.bystanders and name not in (self.source, self.at)]
        aside = aside if len(aside) >= FOLDED else []
        shown = [name for name in pods if name not in aside]
        of_pods = {port.n for name in pods for port in self._pod(name)}
        rest = [port for port in self._own(ns) if port.n not in of_pods]
        bridges = [port for port in rest if port.kind == "bridge"]
        loops = [port for port in rest if port.kind == "loopback"]
        cards = sorted((port for port in rest if port.kind not in SPECIAL), key=lambda port: port.kind not in TUNNELS)
        fold = [self._folded(ns, aside)] if aside else []
        source = [name for name in shown if name == self.source] if ns == self.home else []
        mirrored = [port for name in shown if name not in source for port in reversed(self._pod(name))]
        column = self._column
        if ns != self.home:
            return [*map(column, [*reversed(cards), *loops, *bridges, *mirrored]), *fold]
        if source:
            first = [*self._pod(source[0]), *bridges, *mirrored]
            return [*map(column, first), *fold, *map(column, [*loops, *cards])]
        first = [*loops, *([] if cards else bridges), *mirrored]
        return [*map(column, first), *fold, *map(column, [*(bridges if cards else []), *cards])]

    def _pod(self, name: str) -> list[Port]:
        """A pod's interfaces, its loopback first, and the node's ends of their cables."""
        own = self._own(name)
        inner = [port for port in own if port.kind != "loopback"]
        ends = [self.ports[peer] for port in inner if (peer := self.plan.peer(port.n)) >= 0]
        return [*(port for port in own if port.kind == "loopback"), *inner, *ends]

    def _column(self, port: Port) -> Column:
        return Column(port.n, port.ns, port.dev, port.kind, port.master)

    def _folded(self, ns: str, pods: Sequence[str]) -> Column:
        ports = [port for name in pods for port in self._pod(name)]
        master = next((port.master for port in ports if port.master), "")
        return Column(-1, ns, f"{len(pods)} pods", "fold", master, ", ".join(pods), [port.n for port in ports])


def _bridges(columns: Sequence[Column]) -> list[Bridge]:
    found: dict[tuple[str, str], list[int]] = {}
    for place, each in enumerate(columns):
        if each.master:
            found.setdefault((each.ns, each.master), []).append(place)
    own = {(each.ns, each.dev): place for place, each in enumerate(columns) if each.kind == "bridge"}
    return [Bridge(*key, sorted([*places, *([own[key]] if key in own else [])])) for key, places in found.items()]


def _longest(places: Sequence[int], columns: Sequence[Column]) -> list[int]:
    """The columns beside each other where a namespace's kernel is drawn: those with a bridge, else the longest row."""
    rows: list[list[int]] = []
    for place in places:
        if rows and rows[-1][-1] == place - 1:
            rows[-1].append(place)
        else:
            rows.append([place])
    with_bridge = [row for row in rows if any(columns[place].kind == "bridge" for place in row)]
    return max(with_bridge or rows, key=len)
