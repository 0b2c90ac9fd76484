"""A namespace's routes, as `ip route show table all` lists them, and the one that a packet takes, as `ip route get`
prints it. Must not know where they come from.
"""

from __future__ import annotations

from typing import Any

from emu.kernel.net.fib import Route
from emu.kernel.net.fib_rules import MAIN_TABLE, TABLE_NAMES
from emu.kernel.net.netns import Netns
from emu.kernel.net.route_get import route_get
from emu.report import Report, views
from emu.wire.addr import ip4, ip4_text


@views.add("routes")
def routes(net: Netns) -> Report:
    """The routes, as `ip route show table all` lists them. The main table is first; other lines name their table."""
    data, lines = [], []
    for number in sorted(net.ipv4.fib.tables, key=lambda each: (each != MAIN_TABLE, each)):
        name = TABLE_NAMES.get(number, str(number))
        for route in net.ipv4.fib.tables[number]:
            data.append(
                {
                    "table": name,
                    "type": route.kind,
                    "dst": "default" if not route.prefix.length else str(route.prefix),
                    "gateway": ip4_text(route.gateway) if route.gateway else None,
                    "dev": route.device.name if route.device is not None else None,
                    "protocol": route.proto,
                    "scope": route.scope,
                    "prefsrc": ip4_text(route.prefsrc) if route.prefsrc else None,
                    "metric": route.metric,
                    **_more(route),
                }
            )
            first, *hops = route.text().split(" nexthop ")
            lines.append(first + ("" if number == MAIN_TABLE else f" table {name}") + _state(route))
            lines += [f"\tnexthop {text}{_state(hop)}" for text, hop in zip(hops, route.hops, strict=True)]
    return Report(data, "\n".join(lines))


def _more(route: Route) -> dict[str, Any]:
    """What few routes have."""
    more: dict[str, Any] = {"tos": f"{route.tos:#04x}"} if route.tos else {}
    if route.hops:
        more["nexthops"] = [
            {"gateway": ip4_text(hop.gateway) if hop.gateway else None, "dev": hop.device.name, "weight": hop.weight}
            for hop in route.hops
        ]
        more |= {"gateway": None, "dev": None}
    return more


def _state(route: Route) -> str:
    """` linkdown` for a way over a device without carrier."""
    down = not route.hops and route.kind != "local" and route.device is not None and not route.device.carrier
    return " linkdown" if down and not route.linkdown else ""


def route_to(net: Netns, destination: str, source: str = "", mark: int = 0) -> Report:
    """The route of a packet that the namespace itself sends, exceptions (PMTU, redirects) included. Raises InputError."""
    first, *cache = route_get(net, ip4(destination), ip4(source) if source else 0, mark)
    if not cache:
        return Report({"dst": destination, "error": first}, first)
    words = first.removeprefix("local ").split()
    keys: dict[str, Any] = dict(zip(words[1::2], words[2::2], strict=True))
    names = {"via": "gateway", "src": "prefsrc"}
    data = {"dst": words[0], "local": first.startswith("local "), **{names.get(k, k): v for k, v in keys.items()}}
    return Report(data | {"cache": cache[0].removeprefix("cache").strip()}, f"{first}\n    {cache[0]}")
