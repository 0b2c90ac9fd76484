"""The tables of a namespace as text, one entry after the other: neighbours, forwarding databases, routes.

The lines of `ip neigh show`, `bridge fdb show` and `ip route show table all`. Must not know who reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emu.kernel.link.bridge import Bridge
from emu.kernel.link.vxlan import Vxlan
from emu.kernel.net.fib import Fib
from emu.kernel.net.fib_rules import MAIN_TABLE, TABLE_NAMES
from emu.kernel.net.fib_semantics import Route
from emu.kernel.net.netns import Netns

Listed = dict[Any, str]


def neighbours(net: Netns) -> Listed:
    """Each entry that `ip neigh show` lists."""
    return {entry: text for entry in net.neighbours if (text := entry.text())}


def fdb(net: Netns) -> Listed:
    """Each live entry of each bridge, and each remote of each entry of a VXLAN device, which has several lines then."""
    found: Listed = {}
    for device in net.devices.values():
        if isinstance(device, Bridge):
            found.update((entry, device.fdb_text(entry)) for entry in device.listed())
        elif isinstance(device, Vxlan):
            for entry, remote in device.entries():
                line = device.fdb_line(entry, remote)
                found[entry] = f"{found[entry]}\n{line}" if entry in found else line
    return found


def routes(fib: Fib) -> Iterator[tuple[Route, str, str]]:
    """Each route with its table's name and its lines, the main table first: a route with several next hops has a line more
    for each, behind a tab."""
    for number in sorted(fib.tables, key=lambda each: (each != MAIN_TABLE, each)):
        name = TABLE_NAMES.get(number, str(number))
        for route in fib.tables[number]:
            first, *hops = route.text().split(" nexthop ")
            lines = [first + ("" if number == MAIN_TABLE else f" table {name}") + state(route)]
            lines += [f"\tnexthop {text}{state(hop)}" for text, hop in zip(hops, route.hops, strict=True)]
            yield route, name, "\n".join(lines)


def state(route: Route) -> str:
    """` linkdown` for a way over a device without carrier."""
    down = not route.hops and route.kind != "local" and route.device is not None and not route.device.carrier
    return " linkdown" if down and not route.linkdown else ""
